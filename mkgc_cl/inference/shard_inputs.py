"""The files that shards are read from: regular ones, of UTF-8, known by their digests."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mkgc_cl.errors import DataError, gathered
from mkgc_cl.inference.json_lines import LONGEST
from mkgc_cl.regular_file import open_regular, regular_size

_BLOCK = 2**20


def check_files(paths: Sequence[Path]) -> None:
    """Raise a :class:`DataError` that names all that is no file: a pipe can be read but once."""
    problems: list[DataError] = []
    for path in paths:
        try:
            with readable(path):
                regular_size(path, limit=sys.maxsize)
        except DataError as error:
            problems.append(error)
    if problems:
        raise gathered(problems)


def described(path: Path) -> dict[str, Any]:
    """Name, size and digest of a file."""
    digest, size = hashlib.sha256(), 0
    with readable(path), open_regular(path, limit=sys.maxsize) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return {"name": path.name, "bytes": size, "sha256": digest.hexdigest()}


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Say of a file what keeps the block from reading it.

    Raises:
        DataError: the system refuses, or it is not UTF-8, and in which line.
    """
    try:
        yield
    except OSError as error:
        raise DataError(f"cannot be read ({error})", path=path) from error
    except UnicodeDecodeError as error:
        line = _undecodable(path)
        raise DataError(
            f"expected UTF-8 ({error.reason}); save the file as UTF-8, not compressed",
            path=path,
            line=line,
        ) from error


def _undecodable(path: Path) -> int | None:
    """Line of the first byte that is no UTF-8."""
    with path.open("rb") as file:
        # a line is never read whole whose length is a mistake of its own; a character has 4 bytes
        for number, line in enumerate(iter(lambda: file.readline(4 * LONGEST + 4), b""), 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return None
