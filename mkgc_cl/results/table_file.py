"""Reading a table back from the files written of it."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

from mkgc_cl.errors import DataError
from mkgc_cl.regular_file import read_regular
from mkgc_cl.results.compared_rows import about_comparison
from mkgc_cl.results.statistics import Comparison
from mkgc_cl.results.table_escapes import from_csv, from_markdown
from mkgc_cl.results.table_text import Row, Stat, Table

LARGEST = 2**24
"""Bytes of a file of a table."""
HEAD = "system,column,mean,sd,"
"""How the CSV form of every table begins."""


def read_table(path: Path) -> Table:
    """Read a table from its CSV form, and its caption and notes from the Markdown beside it.

    Numbers have the four decimals of the file; how p-values were found is told by the footnotes
    alone.

    Raises:
        DataError: if it is no table of ours, or the Markdown is missing.
    """
    try:
        text, markdown = (
            read_regular(file, limit=LARGEST).decode("utf-8")
            for file in (path, path.with_suffix(".md"))
        )
        lines = list(csv.DictReader(text.splitlines()))
        groups = {
            from_csv(system): list(group)
            for system, group in itertools.groupby(lines, key=lambda line: line["system"])
        }
        rows = tuple(_row(system, group) for system, group in groups.items())
        columns = {tuple(line["column"] for line in group) for group in groups.values()}
    except DataError as error:
        raise DataError(
            f"{error}; the same command of the experiment writes it again", path=path
        ) from error
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"no table of mkgc_cl ({error!r}), expected {HEAD}...", path=path
        ) from error
    if len(columns) != 1:
        raise DataError(
            f"its rows must have the same columns, got {sorted(columns)}; the same command of the "
            "experiment writes it again",
            path=path,
        )
    notes, below = notes_of(markdown)
    caption = from_markdown(markdown.partition("\n")[0])
    return Table(caption, tuple(map(from_csv, columns.pop())), rows, notes, below)


def notes_of(markdown: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return notes and footnotes from the Markdown form of a table: what follows its last row."""
    # a bar that is not the end of a row has a backslash before it, not a blank
    lines = markdown.rpartition(" |\n")[2].splitlines()
    below = [from_markdown(line) for line in lines if line.strip()]
    first = next((n for n, line in enumerate(below) if about_comparison(line)), len(below))
    return tuple(below[:first]), tuple(below[first:])


def _row(system: str, lines: Sequence[Mapping[str, str]]) -> Row:
    stats = tuple(
        Stat(_number(line["mean"]), _number(line["sd"]), int(line["n"])) for line in lines
    )
    paper = tuple(_number(line["paper"]) for line in lines)
    compared = {
        column: _comparison(system, line)
        for column, line in enumerate(lines)
        if line.get("reference")
    }
    return Row(system, stats, paper if any(v is not None for v in paper) else None, compared)


def _comparison(system: str, line: Mapping[str, str]) -> Comparison:
    low, high = _number(line["difference_low"]), _number(line["difference_high"])
    return Comparison(
        reference=from_csv(line["reference"]),
        system=system,
        n=int(line["pairs"]),
        left_out=int(line["left_out"]),
        difference=_number(line["difference"]),
        interval=None if low is None or high is None else (low, high),
        p=_number(line["p"]),
        method="",
        p_corrected=_number(line["p_corrected"]),
    )


def _number(text: str) -> float | None:
    return float(text) if text else None
