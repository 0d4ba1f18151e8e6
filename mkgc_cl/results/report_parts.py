"""Parts that sections of the report share: a table, a figure, a part that may fail."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from pathlib import Path

from mkgc_cl.regular_file import read_regular
from mkgc_cl.results.figures import DPI
from mkgc_cl.results.markup import Markup, data_image, element, joined, row, table
from mkgc_cl.results.table_text import PAPER, Table
from mkgc_cl.results.undefined import decimal

logger = logging.getLogger(__name__)

_ITEM = "- "
_LARGEST_IMAGE = 2**24
"""Bytes of a figure."""


def attempt(folder: Path, heading: str, build: Callable[[], Markup]) -> Markup:
    """Build a part below its heading; if that fails, say why in its place."""
    try:
        body = build()
    except Exception as error:  # a part that is odd must not cost the others their place
        logger.warning("%s: %s cannot be shown: %s", folder, heading, error)
        text = f"Cannot be shown: {type(error).__name__}: {error}"
        body = element("p", text, class_="problem")
    return joined([element("h3", heading), body], "\n")


def numbers(made: Table, *, best: bool = True) -> Markup:
    """Show a table with its marks, and its notes and footnotes below.

    Args:
        made: the table.
        best: set the best mean of each column in bold.
    """
    top = made.best() if best else set()
    rows = []
    for line in made.rows:
        cells = []
        for column, stat in enumerate(line.stats):
            text = stat.text()
            sign = line.mark(column)
            cells.append(
                joined(
                    [
                        element("b", text) if (line.system, column) in top else text,
                        element("span", sign, class_="mark") if sign else None,
                    ]
                )
            )
        rows.append(row(line.system, cells))
        if line.paper is not None:
            rows.append(row(f"{line.system} {PAPER}", map(decimal, line.paper), class_="paper"))
    whole = table(made.caption, ("System", *made.columns), rows, class_="numbers")
    return joined([whole, *_below((*made.notes, *made.footnotes))], "\n")


def figure(png: Path, alt: str, caption: object) -> Markup:
    """Show a PNG file over its caption."""
    image = data_image(read_regular(png, limit=_LARGEST_IMAGE), alt, dpi=DPI)
    return element("figure", image, element("figcaption", caption))


def _below(notes: tuple[str, ...]) -> list[Markup]:
    """Build the paragraphs below a table; lines that are items become a list."""
    parts = []
    for items, group in itertools.groupby(notes, key=lambda note: note.startswith(_ITEM)):
        if items:
            lines = [element("li", note.removeprefix(_ITEM)) for note in group]
            parts.append(element("ul", *lines, class_="notes"))
        else:
            parts += [element("p", note, class_="notes") for note in group]
    return parts
