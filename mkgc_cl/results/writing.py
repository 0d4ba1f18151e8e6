"""Whether results can be written: asked before anything runs, and told in words when it fails."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mkgc_cl._files import PREFIX, SUFFIX
from mkgc_cl.errors import OutputError

ROOM = 2**20
"""Bytes: more than the record and the history of a run, and the tables of a setting."""
LONGEST = "x" * 100
"""A name longer than that of any file of results."""


def check_writable(folder: str | Path, *, room: int = ROOM) -> None:
    """Write a file of ``room`` bytes to a folder and remove it again.

    Where the folder is not there yet, the file goes to the first folder above it that is: nothing
    is left behind, whatever is found out. Names that would be too long are refused, too.

    Raises:
        OutputError: results cannot go there, and why.
    """
    try:
        whole = Path(folder).absolute()
        place = next((there for there in (whole, *whole.parents) if os.path.lexists(there)), whole)
        parts = whole.relative_to(place).parts
        # A system that refuses a name for its length refuses to look for it, too.
        for path in (*(place / part for part in parts), whole / LONGEST):
            with suppress(FileNotFoundError, NotADirectoryError):
                path.lstat()
        with tempfile.NamedTemporaryFile(dir=place, prefix=PREFIX, suffix=SUFFIX) as file:
            file.write(os.urandom(room))  # zeros would take no room on some file systems
            file.flush()
            os.fsync(file.fileno())
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        shown = str(folder)[:200]
        raise OutputError(
            f"{shown}: results cannot be kept there ({reason_of(error)}); choose another folder, "
            "or make room in it"
        ) from error


@contextmanager
def written_to(folder: Path) -> Iterator[None]:
    """Turn what the system refuses while files of ``folder`` are written into words.

    Raises:
        OutputError: a file cannot be written.
    """
    try:
        yield
    except OSError as error:
        name = error.filename or folder
        raise OutputError(
            f"{name}: cannot be written ({reason_of(error)}); finished runs are whole: make room, "
            "and the same command writes the rest"
        ) from error


def reason_of(error: Exception) -> str:
    """The system's words without its number and the name of the file."""
    return str(getattr(error, "strerror", None) or error)
