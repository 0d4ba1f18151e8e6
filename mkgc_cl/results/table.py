"""One table: means over seeds, their comparisons, and its JSON, from which it is read back."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mkgc_cl.errors import DataError
from mkgc_cl.results.json_files import count_in, number_in, read_json, text_in, texts_in, to_json
from mkgc_cl.results.statistics import Comparison, student_interval
from mkgc_cl.results.undefined import decimal, mean_defined
from mkgc_cl.systems import SYSTEMS, UPPER_BOUNDS

PAPER = "(paper)"
MARK = "*"
"""Follows a mean that differs from the reference's."""
HEAD = '{\n "table": '
"""How the JSON of every table begins."""
_FORMAT = 1
SHOWN = ("system", "column", "mean", "sd", "low", "high", "n", "paper")
COMPARED = (
    "reference", "pairs", "left_out", "difference", "difference_low", "difference_high", "p",
    "p_corrected", "mark",
)  # fmt: skip
"""Keys of a cell, in JSON and CSV."""


@dataclass(frozen=True, slots=True)
class Stat:
    """Mean and sample standard deviation (n - 1) of one number over n seeds.

    Args:
        mean: arithmetic mean; ``None`` where no seed could measure it.
        sd: sample standard deviation; ``None`` for a single seed, which has none.
        n: number of seeds that could.
    """

    mean: float | None
    sd: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Stat:
        """Summarise the values that are defined.

        >>> Stat.of([1.0, 2.0, 3.0])
        Stat(mean=2.0, sd=1.0, n=3)
        >>> Stat.of([5.0])
        Stat(mean=5.0, sd=None, n=1)
        >>> Stat.of([None])
        Stat(mean=None, sd=None, n=0)
        """
        known = [value for value in values if value is not None]
        sd = statistics.stdev(known) if len(known) > 1 else None
        return cls(mean_defined(known), sd, len(known))

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % Student t interval of the mean; ``None`` for fewer than two seeds."""
        if self.mean is None or self.sd is None:
            return None
        return student_interval(self.mean, self.sd, self.n)

    def text(self) -> str:
        """Write with one decimal, as the paper does; a dash where there is no mean."""
        mean = decimal(self.mean)
        return mean if self.sd is None else f"{mean} ± {decimal(self.sd)}"


@dataclass(frozen=True, slots=True)
class Row:
    """One system.

    Args:
        stats: one per column.
        paper: the paper's numbers for the same columns; ``None`` where it has none.
        comparisons: by 0-based column, the comparison with the row of reference; empty where
            nothing is compared.
    """

    system: str
    stats: tuple[Stat, ...]
    paper: tuple[float | None, ...] | None = None
    comparisons: Mapping[int, Comparison] = field(default_factory=dict)

    def mark(self, column: int) -> str:
        """Return the mark of a significant difference, or nothing."""
        made = self.comparisons.get(column)
        return MARK if made is not None and made.significant else ""

    @property
    def group(self) -> str:
        """``"text"``, ``"multimodal"`` or ``"upper bound"``; empty where it is not known."""
        if self.system in UPPER_BOUNDS:
            return "upper bound"
        info = SYSTEMS.get(self.system)
        return "" if info is None else "multimodal" if info.image else "text"


def beside_the_best(rows: Iterable[Row]) -> tuple[str, ...]:
    """Say which rows are never marked as best: a note for below their table, if there are any."""
    bounds = [row.system for row in rows if row.system in UPPER_BOUNDS]
    return tuple(f"{system} is an upper bound and not marked as best." for system in bounds)


class Cell(NamedTuple):
    """A number as it is shown, whether it is the best of its column, and its mark."""

    text: str
    best: bool = False
    mark: str = ""


class Line(NamedTuple):
    """A line of a table, which is that of a system or, below it, that of the paper."""

    row: Row
    cells: tuple[Cell, ...]
    paper: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table, of which :mod:`mkgc_cl.results.render` writes every form.

    Args:
        caption: what it shows, in a sentence.
        columns: names of the number columns.
        rows: one per system.
        notes: remarks on single rows.
        footnotes: what the comparisons are and found, for below the table in every form.
        setting: all else that is needed to read it: seeds, encoders, images.
        marks: what a reader must know before believing or comparing a number, in a few words.
        label: name by which a text refers to it.
        ranked: whether more is better in every column, so that the best mean is marked.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    footnotes: tuple[str, ...] = ()
    setting: str = ""
    marks: tuple[str, ...] = ()
    label: str = ""
    ranked: bool = True

    def text(self) -> str:
        """Return it as :func:`mkgc_cl.results.render.to_text` writes it."""
        from mkgc_cl.results.render import to_text

        return to_text(self)

    def best(self) -> set[tuple[str, int]]:
        """Return (system, column) of every best mean as shown.

        Of one alone none is best, and neither is one where no mean is above zero.

        PAPER: upper bounds do not compete (caption of Table 1).
        """
        rows = [row for row in self.rows if row.system not in UPPER_BOUNDS]
        if len(rows) < 2 or not self.ranked:
            return set()
        best = set()
        for column in range(len(self.columns)):
            means = {row.system: row.stats[column].mean for row in rows}
            shown = {name: float(decimal(mean)) for name, mean in means.items() if mean is not None}
            top = max(shown.values(), default=0.0)
            if len(shown) > 1 and top > 0:
                best |= {(system, column) for system, mean in shown.items() if mean == top}
        return best

    def lines(self) -> Iterator[Line]:
        """Yield every line below the head, as all forms show it."""
        best = self.best()
        for row in self.rows:
            shown = (
                Cell(stat.text(), (row.system, column) in best, row.mark(column))
                for column, stat in enumerate(row.stats)
            )
            yield Line(row, tuple(shown))
            if row.paper is not None:
                yield Line(row, tuple(Cell(decimal(value)) for value in row.paper), paper=True)

    def cells(self) -> Iterator[dict[str, object]]:
        """Yield each number with all that is known of it, rounded to four decimals.

        ``low`` and ``high`` are the 95 % interval of the mean; ``left_out`` counts records without
        a partner. Where nothing is compared the keys of a comparison are ``None``.
        """
        for row in self.rows:
            paper = row.paper or (None,) * len(self.columns)
            columns = zip(self.columns, row.stats, paper, strict=True)
            for place, (name, stat, value) in enumerate(columns):
                spread = map(_rounded, (stat.mean, stat.sd, *(stat.interval or (None, None))))
                compared = _of_comparison(row.comparisons.get(place), row.mark(place))
                shown = (row.system, name, *spread, stat.n, value, *compared)
                yield dict(zip((*SHOWN, *COMPARED), shown, strict=True))

    def to_json(self) -> str:
        """Return an object of all that the table shows, with the cells row by row."""
        said = ("caption", "setting", "marks", "label", "ranked", "columns")
        made = {
            "table": _FORMAT,
            **{name: getattr(self, name) for name in said},
            "cells": list(self.cells()),
            "notes": self.notes,
            "footnotes": self.footnotes,
        }
        return to_json(made, sort=False)  # HEAD comes first


def read_table(path: Path) -> Table:
    """Read what :meth:`Table.to_json` wrote.

    Numbers have the four decimals of the file; how p-values were found is told by the footnotes
    alone.

    Raises:
        DataError: it cannot be read, or is no table of ours.
    """
    try:
        data: Any = read_json(path)
        if data["table"] != _FORMAT:
            raise ValueError(f"format {data['table']!r}, expected {_FORMAT}")
        columns, cells = texts_in(data["columns"]), data["cells"]
        if not columns or len(cells) % len(columns):
            raise ValueError(f"{len(cells)} cells do not fill {len(columns)} columns")
        lines = [cells[at : at + len(columns)] for at in range(0, len(cells), len(columns))]
        rows = tuple(_row(line, columns) for line in lines)
        said: dict[str, Any] = {key: text_in(data[key]) for key in ("caption", "setting", "label")}
        said |= {key: texts_in(data[key]) for key in ("notes", "footnotes", "marks")}
        return Table(columns=columns, rows=rows, ranked=bool(data["ranked"]), **said)
    except (KeyError, TypeError, ValueError) as error:
        why = error.message if isinstance(error, DataError) else f"no table of mkgc_cl ({error!r})"
        raise DataError(
            f"{why}; the same command of the experiment writes it again", path=path
        ) from error


def _row(cells: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Row:
    (system,) = {text_in(cell["system"]) for cell in cells}
    if [cell["column"] for cell in cells] != list(columns):
        raise ValueError(f"the columns of {system!r} are not those of the table")
    paper = tuple(number_in(cell["paper"]) for cell in cells)
    stats = (
        Stat(number_in(cell["mean"]), number_in(cell["sd"]), count_in(cell["n"])) for cell in cells
    )
    compared = ((n, cell) for n, cell in enumerate(cells) if cell["reference"] is not None)
    return Row(
        system,
        tuple(stats),
        paper if any(value is not None for value in paper) else None,
        {column: _comparison(system, cell) for column, cell in compared},
    )


def _comparison(system: str, cell: Mapping[str, Any]) -> Comparison:
    low, high = number_in(cell["difference_low"]), number_in(cell["difference_high"])
    return Comparison(
        reference=text_in(cell["reference"]),
        system=system,
        n=count_in(cell["pairs"]),
        left_out=count_in(cell["left_out"]),
        difference=number_in(cell["difference"]),
        interval=None if low is None or high is None else (low, high),
        p=number_in(cell["p"]),
        method="",
        p_corrected=number_in(cell["p_corrected"]),
    )


def _of_comparison(made: Comparison | None, mark: str) -> list[object]:
    if made is None:
        return [None] * len(COMPARED)
    numbers = map(_rounded, (made.difference, *(made.interval or (None, None))))
    p_values = [None if p is None else float(f"{p:.6g}") for p in (made.p, made.p_corrected)]
    return [made.reference, made.n, made.left_out, *numbers, *p_values, mark]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
