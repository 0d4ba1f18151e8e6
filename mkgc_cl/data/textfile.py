"""Text files of the downloads: decoded strictly, split into lines, fingerprinted."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard, cast

from mkgc_cl.data.images import fingerprint_bytes
from mkgc_cl.errors import DataError, MissingDataError
from mkgc_cl.regular_file import read_regular

#: Most bytes of a data file: a hundred times the largest of the downloads.
MAX_BYTES = 2**29

#: What a reader does with a problem: a stream raises it, the checker collects it and goes on.
Report = Callable[[DataError], None]

_MARKS = {
    codecs.BOM_UTF8: "UTF-8",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def raise_first(error: DataError) -> None:
    """Report a problem by raising it."""
    raise error


@dataclass(frozen=True, slots=True)
class TextFile:
    """A text file in memory; two are equal when path and content are.

    Args:
        path: the file.
        digest: short sha256 of its bytes.
        lines: its lines without line ends (``LF`` or ``CRLF``).
    """

    path: Path
    digest: str
    lines: tuple[str, ...] = field(compare=False, repr=False)


def user_path(path: str | Path) -> Path:
    """Return a path that a user wrote, ``~`` and ``~name`` spelled out.

    Raises:
        MissingDataError: there is no such user, or no home.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise MissingDataError(
            f"expected a data file, found no name of one ({error}); write the path out", path=path
        ) from error


def read_bytes(path: Path) -> bytes:
    """Read a file that must be there and must not be empty.

    Raises:
        MissingDataError: there is no such file.
        DataError: it is empty, no regular file, too large, or cannot be read.
    """
    try:
        data = read_regular(path, limit=MAX_BYTES)
    except MissingDataError as error:
        raise MissingDataError(
            "expected a data file, found none; put it there or correct the path (`mkgc data check` "
            "lists everything that is missing)",
            path=path,
        ) from error
    if not data:
        raise DataError("expected data, found an empty file; fetch the file again", path=path)
    return data


def read_text(path: Path) -> TextFile:
    r"""Read a UTF-8 text file, strictly.

    Lines end at ``\n`` only (``\r\n`` accepted): ``str.splitlines`` would also cut at the exotic
    separators that samples contain.

    Raises:
        MissingDataError: there is no such file.
        DataError: empty, a byte-order mark, or not UTF-8 (with the line).
    """
    data = read_bytes(path)
    for mark, name in _MARKS.items():
        if data.startswith(mark):
            raise DataError(
                f"expected UTF-8 without a byte-order mark (BOM), found one of {name}; "
                "save the file as plain UTF-8",
                path=path,
                line=1,
            )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"expected UTF-8, found byte 0x{data[error.start]:02x}; save the file as UTF-8",
            path=path,
            line=data.count(b"\n", 0, error.start) + 1,
        ) from error
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return TextFile(path, fingerprint_bytes(data), tuple(line.removesuffix("\r") for line in lines))


def is_text(value: str) -> bool:
    r"""Whether UTF-8 can write ``value``: it cannot write one half of a surrogate pair.

    >>> is_text("\U0001f600"), is_text("\ud83d")
    (True, False)
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def are_words(tokens: Iterable[object]) -> TypeGuard[Iterable[str]]:
    """Whether all of ``tokens`` are text that UTF-8 can write; looked at in one piece.

    >>> are_words(["Ann", "left"]), are_words(["Ann", 7])
    (True, False)
    """
    try:
        return is_text("".join(cast(Iterable[str], tokens)))
    except TypeError:
        return False


def shown(value: object, limit: int = 60) -> str:
    """Return ``repr(value)`` cut to ``limit`` characters, for error messages.

    >>> shown("a" * 100, 10)
    "'aaaaaa..."
    """
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, a deep nest
        text = f"{type(value).__name__} too large to show"
    return text if len(text) <= limit else text[: limit - 3] + "..."
