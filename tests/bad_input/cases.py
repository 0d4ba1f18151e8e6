"""The form of the table's rows, whatever part of the table they are in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from user_acts import Act, relations, tags

from mkgc_cl.errors import DataError, MissingDataError, MkgcError

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Case:
    """A row of the table.

    ``file`` of a miniature download is broken by ``change`` (bytes in, bytes out; ``None`` removes
    the file; no file, no break); ``act`` then raises ``error`` with each of ``says`` in its
    message.
    """

    name: str
    error: type[MkgcError]
    says: tuple[str, ...]
    act: Act
    file: str = ""
    change: Callable[[bytes], bytes] | None = None


def cases(
    file: str,
    *rows: Row,
    act: Act | None = None,
    error: type[MkgcError] = DataError,
    **options: object,
) -> list[Case]:
    """Rows ``(name, change, *says)`` of one file; ``None`` as change removes it."""
    read = relations if file.startswith("MRE") else tags
    found = []
    for name, change, *says in rows:
        found.append(
            Case(
                f"{Path(file).name}: {name}",
                MissingDataError if change is None else error,
                tuple(says),
                act or (lambda root: read(root, **options)),
                file,
                change,
            )
        )
    return found


def wrong(error: type[MkgcError], *rows: Row) -> list[Case]:
    """Rows ``(name, act, *says)`` in which no file is broken."""
    return [Case(name, error, tuple(says), act) for name, act, *says in rows]
