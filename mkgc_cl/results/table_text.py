"""One table and its forms: text, Markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import statistics
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mkgc_cl.results.statistics import Comparison, student_interval
from mkgc_cl.results.table_escapes import one_line, to_csv, to_latex, to_markdown
from mkgc_cl.results.undefined import decimal, mean_defined
from mkgc_cl.systems import UPPER_BOUNDS

PAPER = "(paper)"
MARK = "*"
"""Follows a mean that differs from the reference's."""
BEST = "†"
"""Follows the best mean of a column in plain text; the other forms set it in bold."""


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

    def text(self, sign: str = "±") -> str:
        """Write with one decimal, as the paper does; a dash where there is no mean."""
        mean = decimal(self.mean)
        return mean if self.sd is None else f"{mean} {sign} {decimal(self.sd)}"


@dataclass(frozen=True, slots=True)
class Row:
    """One system.

    Args:
        system: its name.
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


def beside_the_best(rows: Iterable[Row]) -> tuple[str, ...]:
    """Say which rows are never marked as best: a note for below their table, if there are any."""
    bounds = [row.system for row in rows if row.system in UPPER_BOUNDS]
    return tuple(f"{system} is an upper bound and not marked as best." for system in bounds)


@dataclass(frozen=True, slots=True)
class Table:
    """A table that knows how to write itself.

    Args:
        caption: what it shows, and all that is needed to read it.
        columns: names of the number columns.
        rows: one per system.
        notes: remarks on single rows.
        footnotes: what the comparisons are and found, for below the table in every form.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    footnotes: tuple[str, ...] = ()

    def text(self) -> str:
        """Aligned plain text, caption and notes wrapped at 88 columns."""
        best = self.best()
        marks = [
            [
                (BEST if (row.system, column) in best else "") + row.mark(column)
                for column in range(len(self.columns))
            ]
            for row in self.rows
        ]
        # A column with marks is wider by them in all of its lines: the numbers stay aligned.
        space = [" " * max(map(len, column)) for column in zip(*marks, strict=True)]

        def spaced(cells: Iterable[str]) -> list[str]:
            return [cell + blank for cell, blank in zip(cells, space, strict=True)]

        lines = [["", *spaced(map(one_line, self.columns))]]
        for row, marked in zip(self.rows, marks, strict=True):
            cells = [
                stat.text() + mark.ljust(len(blank))
                for stat, mark, blank in zip(row.stats, marked, space, strict=True)
            ]
            lines.append([one_line(row.system), *cells])
            if row.paper is not None:
                lines.append([f"  {PAPER}", *spaced(map(decimal, row.paper))])
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        body = [
            "  ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        rule = "-" * (sum(widths) + 2 * len(self.columns))
        legend = [f"{BEST} best of its column."] if best else []
        caption = _wrapped([self.caption])
        notes = _wrapped([*legend, *self.notes, *self.footnotes])
        return "\n".join([*caption, rule, body[0], rule, *body[1:], rule, *notes]) + "\n"

    def markdown(self) -> str:
        """GitHub Markdown; the best mean of a column is bold."""
        best = self.best()
        lines = [
            "| System | " + " | ".join(map(to_markdown, self.columns)) + " |",
            "|:--|" + "--:|" * len(self.columns),
        ]
        for row in self.rows:
            cells = [
                (f"**{stat.text()}**" if (row.system, column) in best else stat.text())
                + row.mark(column).replace("*", r"\*")
                for column, stat in enumerate(row.stats)
            ]
            lines.append(f"| {to_markdown(row.system)} | " + " | ".join(cells) + " |")
            if row.paper is not None:
                lines.append(f"| *{PAPER}* | " + " | ".join(map(decimal, row.paper)) + " |")
        notes = [f"\n{to_markdown(note)}" for note in (*self.notes, *self.footnotes)]
        return "\n".join([to_markdown(self.caption), "", *lines, *notes]) + "\n"

    def latex(self) -> str:
        r"""A booktabs table environment (needs ``\usepackage{booktabs}``); best means are bold."""
        best = self.best()
        lines = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{to_latex(' '.join([self.caption, *self.notes]))}}}",
            rf"\begin{{tabular}}{{l{'r' * len(self.columns)}}}",
            r"\toprule",
            "System & " + " & ".join(map(to_latex, self.columns)) + r" \\",
            r"\midrule",
        ]
        for row in self.rows:
            shown = [stat.text(r"$\pm$") for stat in row.stats]
            cells = [
                (rf"\textbf{{{text}}}" if (row.system, column) in best else text)
                # \rlap takes no room: the numbers stay aligned.
                + (rf"\rlap{{$^{{{row.mark(column)}}}$}}" if row.mark(column) else "")
                for column, text in enumerate(shown)
            ]
            lines.append(f"{to_latex(row.system)} & " + " & ".join(cells) + r" \\")
            if row.paper is not None:
                cells = [rf"\textit{{{decimal(value)}}}" for value in row.paper]
                lines.append(rf"\quad\textit{{{PAPER}}} & " + " & ".join(cells) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}"]
        if self.footnotes:
            lines += ["", r"\smallskip", r"\parbox{\linewidth}{\footnotesize"]
            lines += [rf"{to_latex(note)}\par" for note in self.footnotes]
            lines.append("}")
        return "\n".join([*lines, r"\end{table}"]) + "\n"

    def csv(self) -> str:
        """One line per system and column, rounded to four decimals; empty where there is nothing.

        Columns: system, column, mean, sd, low and high (the 95 % interval of the mean), n, paper.
        Text that a spreadsheet would take for a formula has an apostrophe before it. A table with
        comparisons has further columns, empty where nothing is compared: reference,
        pairs, left_out (records without a partner), difference with its own low and high, p and
        p_corrected (six significant digits), mark.
        """
        file = io.StringIO()
        compared = any(row.comparisons for row in self.rows)
        head = [*_SHOWN, *_COMPARED] if compared else _SHOWN
        writer = csv.DictWriter(file, head, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for cell in self._cells():
            writer.writerow({k: to_csv(v) if isinstance(v, str) else v for k, v in cell.items()})
        return file.getvalue()

    def json(self) -> str:
        """The same cells as an object: caption, columns, cells (null for nothing), notes."""
        made = {
            "caption": self.caption,
            "columns": self.columns,
            "cells": list(self._cells()),
            "notes": self.notes,
            "footnotes": self.footnotes,
        }
        text = json.dumps(made, ensure_ascii=False, indent=1) + "\n"
        # a lone surrogate, which UTF-8 has no bytes for, as JSON spells it
        return text.encode("utf-8", "backslashreplace").decode()

    def best(self) -> set[tuple[str, int]]:
        """Return (system, column) of every best mean as shown.

        Of one alone none is best, and neither is one where no mean is above zero.

        PAPER: upper bounds do not compete (caption of Table 1).
        """
        rows = [row for row in self.rows if row.system not in UPPER_BOUNDS]
        if len(rows) < 2:
            return set()
        best = set()
        for column in range(len(self.columns)):
            means = {row.system: row.stats[column].mean for row in rows}
            shown = {name: float(decimal(mean)) for name, mean in means.items() if mean is not None}
            top = max(shown.values(), default=0.0)
            if len(shown) > 1 and top > 0:
                best |= {(system, column) for system, mean in shown.items() if mean == top}
        return best

    def _cells(self) -> Iterator[dict[str, object]]:
        for row in self.rows:
            paper = row.paper or (None,) * len(self.columns)
            for column, (name, stat, value) in enumerate(
                zip(self.columns, row.stats, paper, strict=True)
            ):
                spread = (stat.mean, stat.sd, *(stat.interval or (None, None)))
                shown = (row.system, name, *map(_rounded, spread), stat.n, value)
                compared = _compared_entries(row.comparisons.get(column), row.mark(column))
                yield dict(zip((*_SHOWN, *_COMPARED), (*shown, *compared), strict=True))


_SHOWN = ("system", "column", "mean", "sd", "low", "high", "n", "paper")
_COMPARED = (
    "reference",
    "pairs",
    "left_out",
    "difference",
    "difference_low",
    "difference_high",
    "p",
    "p_corrected",
    "mark",
)


def _compared_entries(made: Comparison | None, mark: str) -> list[object]:
    if made is None:
        return [None] * len(_COMPARED)
    low, high = made.interval or (None, None)
    numbers = [_rounded(number) for number in (made.difference, low, high)]
    p_values = [None if p is None else float(f"{p:.6g}") for p in (made.p, made.p_corrected)]
    return [made.reference, made.n, made.left_out, *numbers, *p_values, mark]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _wrapped(paragraphs: Sequence[str]) -> list[str]:
    return [
        line
        for text in paragraphs
        for line in textwrap.wrap(one_line(text), width=88, break_on_hyphens=False)
    ]
