"""The folder of the downloads, and names that are of none."""

from __future__ import annotations

from pathlib import Path

import pytest

from mkgc_cl.data.locate import data_root
from mkgc_cl.errors import MissingDataError


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("~no-such-user/data", "found no name of a folder (Could not determine home directory"),
        ("x" * 5000, "found no name of a folder (File name too long)"),
        ("a\0b", "found no such folder"),
        ("/dev/null", "found a file"),
    ],
)
def test_what_is_no_folder_is_told_in_words(name: str, reason: str) -> None:
    with pytest.raises(MissingDataError) as caught:
        data_root(name)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_folder_of_the_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data" / "MRE").mkdir(parents=True)
    assert data_root("~/data", "MRE") == tmp_path / "data"
