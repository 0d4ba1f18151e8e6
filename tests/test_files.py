"""The one atomic write: whole files, whoever else writes, fails or dies in between."""

from __future__ import annotations

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mkgc_cl import _files, _patience
from mkgc_cl._files import atomic_file, write_atomic
from mkgc_cl.regular_file import read_regular


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("data", ["new é\r\n", "new é\r\n".encode(), memoryview(b"new")])
def test_a_write_replaces_the_whole_file_and_leaves_nothing_else(
    tmp_path: Path, data: str | bytes | memoryview
) -> None:
    path = tmp_path / "deep" / "a.json"
    write_atomic(path, "an older and longer text")
    write_atomic(path, data)
    assert path.read_bytes() == (data.encode() if isinstance(data, str) else bytes(data))
    assert names(path.parent) == ["a.json"]


def test_a_name_as_long_as_names_can_be(tmp_path: Path) -> None:
    write_atomic(tmp_path / ("a" * 255), "text")
    assert names(tmp_path) == ["a" * 255]


def test_a_failed_write_keeps_the_old_file_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "a temporary name")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomic(path, "new")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert names(tmp_path) == ["a.json"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("links", [True, False])
def test_of_two_writes_of_a_new_file_the_first_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def without(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    if not links:  # as on exFAT
        monkeypatch.setattr(os, "link", without)
    path = tmp_path / "a.json"
    late = atomic_file(path, new=True)
    late.__enter__().write(b"second")
    with atomic_file(path, new=True) as file:
        file.write(b"first")
    with pytest.raises(FileExistsError) as caught:
        late.__exit__(None, None, None)
    assert caught.value.filename == str(path)
    assert path.read_text() == "first"
    assert names(tmp_path) == ["a.json"]


def test_a_write_in_the_middle_of_another_disturbs_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, sync, inner = tmp_path / "a.json", os.fsync, ["inner"]

    def also_write(handle: int) -> None:
        sync(handle)
        if inner:
            write_atomic(path, inner.pop())
            assert path.read_text() == "inner"

    monkeypatch.setattr(os, "fsync", also_write)
    write_atomic(path, "outer")
    assert path.read_text() == "outer"
    assert names(tmp_path) == ["a.json"]


def test_many_writers_of_one_file_all_succeed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    texts = [str(number) * 5000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda text: write_atomic(path, text), texts * 10):
            assert read_regular(path, limit=5000).decode() in texts
    assert names(tmp_path) == ["a.json"]


def test_only_what_a_dead_process_left_is_removed(tmp_path: Path) -> None:
    days_ago = time.time() - 2 * _files.ABANDONED
    for name, old in ((".mkgc-1.tmp", True), (".mkgc-2.tmp", False), ("theirs.tmp", True)):
        (tmp_path / name).write_text("half")
        if old:
            os.utime(tmp_path / name, (days_ago, days_ago))
    write_atomic(tmp_path / "a.json", "new")
    assert names(tmp_path) == [".mkgc-2.tmp", "a.json", "theirs.tmp"]


@pytest.mark.parametrize(("refusals", "written"), [(9, True), (10**6, False)])
def test_a_reader_that_has_the_file_open_is_waited_for_where_it_must_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusals: int, written: bool
) -> None:
    path, replace, refused = tmp_path / "a.json", os.replace, [None] * refusals
    write_atomic(path, "old")

    def as_windows(source: Path, target: Path) -> None:
        if refused:
            refused.pop()
            raise PermissionError(errno.EACCES, "The file is used by another process")
        replace(source, target)

    monkeypatch.setattr(os, "replace", as_windows)
    monkeypatch.setattr(_patience, "_PATIENCE", 30.0 if written else 0.05)
    if written:
        write_atomic(path, "new")
    else:
        with pytest.raises(PermissionError):
            write_atomic(path, "new")
    assert path.read_text() == ("new" if written else "old")
    assert names(tmp_path) == ["a.json"]


def test_a_file_that_is_just_being_replaced_is_read_a_moment_later_where_it_must_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, opened, refused = tmp_path / "a.json", os.open, [None] * 9
    write_atomic(path, "new")

    def as_windows(path: str, flags: int) -> int:
        if refused:
            refused.pop()
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, flags)

    monkeypatch.setattr(_patience, "_PATIENCE", 30.0)
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", as_windows)
        assert read_regular(path, limit=3) == b"new"
