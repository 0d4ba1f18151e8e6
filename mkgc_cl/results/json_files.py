"""JSON as results are kept in it: equal data gives equal bytes, and odd files are errors in words.

Whatever reads results reads these files, and no other form of them.
"""

from __future__ import annotations

import json
from pathlib import Path

from mkgc_cl.regular_file import read_regular

TOO_DEEP = "lists within lists, too deep to be read"
LARGEST = 2**28
"""Bytes of a file: ten series of a million steps each."""


def to_json(data: object, *, sort: bool = True) -> str:
    """Return JSON with a final newline; the same data gives the same bytes.

    A lone surrogate, which UTF-8 has no bytes for, stands there as JSON spells it. Keys are in
    alphabetical order unless ``sort`` is false.

    Raises:
        ValueError: if ``data`` holds a NaN or an infinity, which JSON has no word for.
    """
    text = json.dumps(data, indent=1, sort_keys=sort, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace").decode()


def read_json(path: Path) -> object:
    """Read a file of JSON.

    Raises:
        DataError: it is no regular file of that size, or not there.
        ValueError: it is not JSON.
    """
    try:
        data: object = json.loads(read_regular(path, limit=LARGEST).decode("utf-8"))
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error
    return data


def is_number(value: object) -> bool:
    """Whether JSON holds a number that a float can, or nothing: what is undefined."""
    return value is None or isinstance(value, float) or (type(value) is int and abs(value) < 2**63)


def text_in(value: object) -> str:
    """Return ``value`` if it is text; raise ``TypeError`` if not, as those below do."""
    if not isinstance(value, str):
        raise _other(value, "text")
    return value


def texts_in(value: object) -> tuple[str, ...]:
    """Return ``value`` if it is a list of texts."""
    if not isinstance(value, list):
        raise _other(value, "a list of texts")
    return tuple(map(text_in, value))


def number_in(value: object) -> float | None:
    """Return ``value`` if it is a finite number or ``None``."""
    if not is_number(value) or (value is not None and not abs(float(str(value))) < 1e15):
        raise _other(value, "a number")
    return None if value is None else float(str(value))


def count_in(value: object) -> int:
    """Return ``value`` if it is a count."""
    if type(value) is not int or not 0 <= value < 10**9:
        raise _other(value, "a count")
    return value


def _other(value: object, expected: str) -> TypeError:
    return TypeError(f"expected {expected}, got {str(value)[:40]!r}")
