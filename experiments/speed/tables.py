"""Numbers as lines of text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def aligned(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a table under its heads; floats with two decimals, nothing for ``None``."""
    lines = [list(heads), *([_shown(entry) for entry in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    name, *others = widths
    texts = [
        "  ".join([line[0].ljust(name), *map(str.rjust, line[1:], others)]).rstrip()
        for line in lines
    ]
    return [texts[0], "-" * (sum(widths) + 2 * len(others)), *texts[1:]]


def _shown(entry: object) -> str:
    return "" if entry is None else f"{entry:.2f}" if isinstance(entry, float) else str(entry)


def line_of(row: Mapping[str, Any]) -> str:
    """One line of single numbers, each behind its name; text stands for itself."""
    forms = {str: "{1}", int: "{0} {1:,}", float: "{0} {1:,.2f}"}
    return "  ".join(forms[type(value)].format(key, value) for key, value in row.items())
