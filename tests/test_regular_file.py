"""Reading whole files: what comes back, and what is refused without waiting for it."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from mkgc_cl.errors import DataError, MissingDataError
from mkgc_cl.regular_file import open_regular, read_regular


def test_a_file_up_to_the_limit_is_read_and_links_are_followed(tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"12345")
    link.symlink_to(path)
    assert read_regular(path, limit=5) == read_regular(link, limit=5) == b"12345"
    with pytest.raises(DataError, match="expected at most 4 bytes, found 5") as caught:
        read_regular(path, limit=4)
    assert caught.value.path == path


def test_what_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError) as caught:
        read_regular(tmp_path / "gone", limit=1)
    assert caught.value.path == tmp_path / "gone"


@pytest.mark.parametrize("kind", ["a folder", "a named pipe", "a socket", "a device"])
@pytest.mark.timeout(60)
def test_only_regular_files_are_read(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    path = Path("odd")
    if kind == "a folder":
        path.mkdir()
    elif kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    with pytest.raises(DataError, match=f"expected a regular file, found {kind}"):
        read_regular(path, limit=10)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("x" * 300, "File name too long", id="too long"),
        pytest.param("a\0b", "null", id="NUL"),
        pytest.param("\ud800", "surrogates", id="half a surrogate pair"),
        pytest.param("loop", "symbolic links", id="a link to itself"),
    ],
)
def test_names_that_no_file_has(name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(DataError, match=reason):
        read_regular(tmp_path / name, limit=10)


def test_a_file_that_grows_meanwhile_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    before = os.stat(path)
    path.write_bytes(b"1234567")
    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", lambda _: before)
        with pytest.raises(DataError, match="changed while it was read"):
            read_regular(path, limit=10)


@pytest.mark.parametrize("read", [read_regular, open_regular])
@pytest.mark.timeout(60)
def test_a_pipe_that_comes_in_its_place_is_not_waited_for(
    read: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    before = os.stat(path)
    path.unlink()
    os.mkfifo(path)
    with monkeypatch.context() as patched:  # no longer than that: pytest asks too
        patched.setattr(os, "stat", lambda _: before)
        with pytest.raises(DataError, match="expected a regular file, found a named pipe"):
            read(path, limit=10)
