"""One table of bad input: what is wrong, which error, and what its message must tell."""

from __future__ import annotations

from pathlib import Path

import pytest
from broken_files import Payload
from call_cases import CALL_CASES
from cases import Case
from file_cases import FILE_CASES

from mkgc_cl.errors import ConfigError, DataError

CASES = [*FILE_CASES, *CALL_CASES]


def everything_below(folder: Path) -> dict[Path, int]:
    """Time of every file; of a folder only that it is there."""
    return {p: p.stat().st_mtime_ns if p.is_file() else 0 for p in folder.rglob("*")}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input(
    case: Case, download: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, cache = tmp_path / "work", tmp_path / "cache"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("MKGC_CACHE", str(cache))
    monkeypatch.delenv("MKGC_DATA", raising=False)
    path = download / case.file
    if case.file and case.change is None:
        path.unlink()
    elif case.change is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(case.change(path.read_bytes() if path.exists() else b""))
    before = everything_below(tmp_path)
    with pytest.raises(case.error) as caught:
        case.act(download)
    message = str(caught.value)
    assert all(part in message for part in case.says), message
    assert type(caught.value) is case.error
    if not isinstance(caught.value, ConfigError):
        assert "; " in message, "expected advice behind what was found"
        assert message.isprintable()  # one line, without a library's escape codes
    if case.file:
        assert isinstance(caught.value, DataError)
        assert message.startswith(f"{download}/")
    assert not (work / "PWNED").exists()
    left = everything_below(tmp_path)
    written = {path for path in left if cache in path.parents and path.is_file()}
    assert {path.name for path in written} <= {"lock"}  # of the cache's folder, always empty
    assert {path: left[path] for path in left if cache not in (path, *path.parents)} == before


def test_the_payload_would_run_if_it_were_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table's payload is live: without this, the rows above would prove nothing."""
    monkeypatch.chdir(tmp_path)
    function, arguments = Payload().__reduce__()
    function(*arguments)  # type: ignore[operator,misc]
    assert (tmp_path / "PWNED").is_dir()
