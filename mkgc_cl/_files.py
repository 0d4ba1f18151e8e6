"""The one way this package writes a file: a reader sees the old one or the new one, never half."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from mkgc_cl._patience import patiently

#: A temporary file that nobody wrote to for so many seconds was left by a process that is dead: a
#: write takes seconds. Process numbers would not tell, as several machines may share a folder.
ABANDONED = 24 * 3600.0

#: How the names of temporary files begin and end, by which those left behind are known.
PREFIX, SUFFIX = ".mkgc-", ".tmp"


def write_atomic(path: Path, data: str | bytes | memoryview) -> None:
    """Write ``data`` to ``path`` in one step, whatever happens in between.

    Args:
        path: the file; its folder is made.
        data: text is written as UTF-8, line ends as they are.

    Raises:
        OSError: it cannot be written; the error names ``path`` or the folder that is missing.
    """
    with atomic_file(path) as file:
        file.write(data.encode("utf-8") if isinstance(data, str) else data)


@contextmanager
def atomic_file(path: Path, *, new: bool = False) -> Iterator[BinaryIO]:
    """Open a file that becomes ``path`` at the end of the block, or not at all if that fails.

    The data goes to a temporary file in the same folder, is forced to disk and then takes the place
    of ``path``. Any number of processes and threads may write the same path: each has a temporary
    file of its own, and the last one wins. A process that is killed leaves the old file, and
    perhaps its temporary one, which a write to the same folder removes after a day.

    Args:
        path: the file; its folder is made.
        new: of processes that write the path at once the first one wins, not the last.

    Raises:
        FileExistsError: a ``new`` file is there.
        OSError: it cannot be written; the error names ``path`` or the folder that is missing.
    """
    # Not made of the file's name: that may already be as long as names can be.
    temporary = path.with_name(f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            (_link if new else _replace)(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        # The reader of the message knows the file, not its temporary name.
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    with suppress(OSError):  # the file is written: what follows is no reason to say it is not
        _remove_abandoned(path.parent, now=path.stat().st_mtime)
        _sync_folder(path.parent)


def _link(temporary: Path, path: Path) -> None:
    """Give the file its name, which nothing else may have."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        _replace(temporary, path)


def _replace(temporary: Path, path: Path) -> None:
    patiently(lambda: os.replace(temporary, path))


def _remove_abandoned(folder: Path, *, now: float) -> None:
    """Remove what dead processes left; ``now`` by the clock that stamps files in that folder."""
    for entry in os.scandir(folder):
        if entry.name.startswith(PREFIX) and entry.name.endswith(SUFFIX):
            with suppress(FileNotFoundError):
                if now - entry.stat(follow_symlinks=False).st_mtime > ABANDONED:
                    os.unlink(entry)


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut; a no-op where folders cannot be opened."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
