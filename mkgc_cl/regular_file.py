"""Whole files that somebody else made: regular ones only, of bounded size."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

from mkgc_cl._patience import patiently
from mkgc_cl.errors import DataError, MissingDataError

_OTHER_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def regular_size(path: str | Path, *, limit: int) -> int:
    """Return the number of bytes of a file that other programs read by its name.

    Args:
        path: the file; links are followed.
        limit: most bytes it may have.

    Raises:
        DataError: it is no regular file, or larger than ``limit``.
        OSError: it is not there, or cannot be looked at.
    """
    # looked at before it is opened: to open a device can be an act of its own
    found = os.stat(path)
    _require_regular(found, path)
    if found.st_size > limit:
        raise DataError(
            f"expected at most {limit:,} bytes, found {found.st_size:,}; give a smaller file",
            path=path,
        )
    return found.st_size


def open_regular(path: str | Path, *, limit: int) -> BufferedReader:
    """Open a file for reading, without waiting for what may have come in its place.

    Args:
        path: the file; links are followed.
        limit: most bytes it may have.

    Raises:
        DataError: it is no regular file, or larger than ``limit``.
        OSError: it is not there, or cannot be opened.
    """
    regular_size(path, limit=limit)
    return _opened(path)


def _opened(path: str | Path) -> BufferedReader:
    file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115  # the caller's to close
    try:
        _require_regular(os.fstat(file.fileno()), path)
    except BaseException:
        file.close()
        raise
    return file


def read_regular(path: str | Path, *, limit: int) -> bytes:
    """Return the bytes of a file.

    A pipe would stop the program, and a device without an end fill its memory.

    Args:
        path: the file; links are followed.
        limit: most bytes it may have.

    Raises:
        MissingDataError: there is no such file.
        DataError: it is no regular file, larger than ``limit``, or cannot be read.
    """
    try:
        size = regular_size(path, limit=limit)
        with _opened(path) as file:
            data = file.read(size + 1)
    except DataError:
        raise
    except FileNotFoundError as error:
        raise MissingDataError("expected a file, found none; put it there", path=path) from error
    except (OSError, ValueError) as error:  # ValueError: no file can have such a name
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"cannot be read ({reason}); it must be a readable file", path=path) from (
            error
        )
    if len(data) != size:
        raise DataError(
            f"changed while it was read (it had {size:,} bytes); try again when it is complete",
            path=path,
        )
    return data


def _require_regular(found: os.stat_result, path: str | Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = _OTHER_KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise DataError(
            f"expected a regular file, found {kind}; it must be a readable file", path=path
        )


def _open_without_waiting(path: str, flags: int) -> int:
    # What was a file a moment ago may be a pipe by now.
    return patiently(lambda: os.open(path, flags | getattr(os, "O_NONBLOCK", 0)))
