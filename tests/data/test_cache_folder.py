"""A folder for decoded images is found without a home, too, and never in one of somebody else's."""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mkgc_cl.data import cache_folder as module
from mkgc_cl.data.cache_folder import cache_folder
from mkgc_cl.errors import DataError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="homes are found otherwise elsewhere")


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The system's folder for temporary files; ``MKGC_CACHE`` is not set."""
    monkeypatch.delenv("MKGC_CACHE", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    module._temporary_folder.cache_clear()
    yield tmp_path
    module._temporary_folder.cache_clear()


def lose_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with ``docker --user 12345``: no HOME, and no entry in passwd."""
    import pwd

    def absent(_: int) -> None:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", absent)


def test_what_the_user_says_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "mkgc_cl"
    monkeypatch.setenv("MKGC_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"


@pytest.mark.parametrize("home", ["none", "cannot be written"])
def test_without_a_home_it_is_a_private_temporary_folder(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, home: str
) -> None:
    if home == "none":
        lose_home(monkeypatch)
    else:  # a file: of a folder without permissions, root would take no notice
        (temporary / "home").touch()
        monkeypatch.setenv("HOME", str(temporary / "home"))
    with caplog.at_level(logging.WARNING):
        folders = {cache_folder() for _ in range(3)}
    assert folders == {temporary / f"mkgc_cl-{os.getuid()}"}
    assert stat.S_IMODE(folders.pop().stat().st_mode) == 0o700
    (record,) = caplog.records
    assert "MKGC_CACHE" in record.getMessage()


@pytest.mark.parametrize("planted", ["open to all", "a link", "a file"])
def test_a_folder_that_others_may_write_is_refused(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, planted: str
) -> None:
    lose_home(monkeypatch)
    folder = temporary / f"mkgc_cl-{os.getuid()}"
    if planted == "open to all":
        folder.mkdir()
        folder.chmod(0o777)
    elif planted == "a link":
        (temporary / "theirs").mkdir()
        folder.symlink_to(temporary / "theirs")
    else:
        folder.touch()
    with pytest.raises(DataError, match="MKGC_CACHE"):
        cache_folder()
