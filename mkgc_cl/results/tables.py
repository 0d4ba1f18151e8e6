"""Tables of results: mean and deviation over seeds, as text, Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import statistics
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mkgc_cl.errors import DataError
from mkgc_cl.results.record import CellRecord

AVERAGE = "AVG"
PAPER = "(paper)"


@dataclass(frozen=True, slots=True)
class Stat:
    """Mean and sample standard deviation (n - 1) of one number over n seeds.

    Args:
        mean: arithmetic mean.
        sd: sample standard deviation; ``None`` for a single seed, which has none.
        n: number of seeds.
    """

    mean: float
    sd: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Stat:
        """Summarise at least one value.

        >>> Stat.of([1.0, 2.0, 3.0])
        Stat(mean=2.0, sd=1.0, n=3)
        >>> Stat.of([5.0])
        Stat(mean=5.0, sd=None, n=1)
        """
        sd = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.fmean(values), sd, len(values))

    def text(self, sign: str = "±") -> str:
        """Write with one decimal, as the paper does."""
        mean = _decimal(self.mean)
        return mean if self.sd is None else f"{mean} {sign} {_decimal(self.sd)}"


@dataclass(frozen=True, slots=True)
class Row:
    """One system.

    Args:
        system: its name.
        stats: one per column.
        paper: the paper's numbers for the same columns; ``None`` where it has none.
    """

    system: str
    stats: tuple[Stat, ...]
    paper: tuple[float | None, ...] | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table that knows how to write itself.

    Args:
        caption: what it shows, and all that is needed to read it.
        columns: names of the number columns.
        rows: one per system.
        notes: remarks on single rows.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """Aligned plain text, caption and notes wrapped at 88 columns."""
        lines = [["", *self.columns]]
        for row in self.rows:
            lines.append([row.system, *(stat.text() for stat in row.stats)])
            if row.paper is not None:
                lines.append([f"  {PAPER}", *map(_or_dash, row.paper)])
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        body = [
            "  ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        rule = "-" * (sum(widths) + 2 * len(self.columns))
        caption, notes = _wrapped([self.caption]), _wrapped(self.notes)
        return "\n".join([*caption, rule, body[0], rule, *body[1:], rule, *notes]) + "\n"

    def markdown(self) -> str:
        """GitHub Markdown; the best mean of a column is bold."""
        best = self.best()
        lines = [
            "| System | " + " | ".join(self.columns) + " |",
            "|:--|" + "--:|" * len(self.columns),
        ]
        for row in self.rows:
            cells = [
                f"**{stat.text()}**" if (row.system, column) in best else stat.text()
                for column, stat in enumerate(row.stats)
            ]
            lines.append(f"| {row.system} | " + " | ".join(cells) + " |")
            if row.paper is not None:
                lines.append(f"| *{PAPER}* | " + " | ".join(map(_or_dash, row.paper)) + " |")
        notes = [f"\n{note}" for note in self.notes]
        return "\n".join([self.caption, "", *lines, *notes]) + "\n"

    def latex(self) -> str:
        r"""A booktabs table environment (needs ``\usepackage{booktabs}``); best means are bold."""
        best = self.best()
        lines = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_tex(' '.join([self.caption, *self.notes]))}}}",
            rf"\begin{{tabular}}{{l{'r' * len(self.columns)}}}",
            r"\toprule",
            "System & " + " & ".join(map(_tex, self.columns)) + r" \\",
            r"\midrule",
        ]
        for row in self.rows:
            cells = [
                rf"\textbf{{{_tex_stat(stat)}}}"
                if (row.system, column) in best
                else _tex_stat(stat)
                for column, stat in enumerate(row.stats)
            ]
            lines.append(f"{_tex(row.system)} & " + " & ".join(cells) + r" \\")
            if row.paper is not None:
                cells = [rf"\textit{{{_or_dash(value)}}}" for value in row.paper]
                lines.append(rf"\quad\textit{{{PAPER}}} & " + " & ".join(cells) + r" \\")
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"

    def csv(self) -> str:
        """One line per system and column, full precision: system, column, mean, sd, n, paper."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["system", "column", "mean", "sd", "n", "paper"])
        for row in self.rows:
            paper = row.paper or (None,) * len(self.columns)
            for column, stat, value in zip(self.columns, row.stats, paper, strict=True):
                sd = "" if stat.sd is None else round(stat.sd, 4)
                said = "" if value is None else value
                writer.writerow([row.system, column, round(stat.mean, 4), sd, stat.n, said])
        return file.getvalue()

    def best(self) -> set[tuple[str, int]]:
        """Return (system, column) of every best mean as shown; of one row alone none is best."""
        if len(self.rows) < 2:
            return set()
        best = set()
        for column in range(len(self.columns)):
            shown = {row.system: _decimal(row.stats[column].mean) for row in self.rows}
            top = max(map(float, shown.values()))
            best |= {(system, column) for system, mean in shown.items() if float(mean) == top}
        return best


def build_table(
    records: Sequence[CellRecord],
    *,
    measure: Literal["A", "U"] = "A",
    paper: Mapping[str, Sequence[float | None]] | None = None,
    remarks: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Table:
    """Build the table of one scenario and one order: a row per system, a column per task, and AVG.

    AVG is the mean over tasks, taken per seed before it is averaged over seeds, so its deviation is
    that of the runs' averages.

    Args:
        records: records of any systems and seeds; systems keep the order of first appearance.
        measure: ``"A"`` (all tasks seen) or ``"U"`` (the task just learnt).
        paper: per system the paper's numbers, one per task, with or without its AVG.
        remarks: words for the caption, such as ``"images blank"`` or ``"demonstration data"``.
        notes: remarks below the table.

    Raises:
        DataError: if there is no record, they are not of one scenario, order and list of tasks, or
            a system has two of one seed.
    """
    if not records:
        raise DataError("a table needs at least one record; no cell has finished")
    settings = {(record.scenario, record.order, record.tasks) for record in records}
    if len(settings) > 1:
        raise DataError(f"a table shows one scenario and one order, got {sorted(settings)}")
    first = records[0]
    groups: dict[str, list[CellRecord]] = {}
    for record in records:
        group = groups.setdefault(record.system, [])
        if record.seed in {other.seed for other in group}:
            raise DataError(
                f"two records of {record.system!r} with seed {record.seed}; a table shows one "
                "configuration: keep the records of one"
            )
        group.append(record)
    rows = tuple(
        _row(system, group, measure, None if paper is None else paper.get(system))
        for system, group in groups.items()
    )
    return Table(
        caption=_caption(first, groups, measure, remarks, any(row.paper for row in rows)),
        columns=(*first.tasks, AVERAGE),
        rows=rows,
        notes=tuple(notes),
    )


def write_table(table: Table, write: Callable[[str, str], object], *, stem: str) -> None:
    """Hand every form of ``table`` to ``write(file name, text)``."""
    for suffix, text in (
        ("txt", table.text()),
        ("md", table.markdown()),
        ("tex", table.latex()),
        ("csv", table.csv()),
    ):
        write(f"{stem}.{suffix}", text)


def _row(
    system: str,
    group: Sequence[CellRecord],
    measure: Literal["A", "U"],
    paper: Sequence[float | None] | None,
) -> Row:
    series = [record.A if measure == "A" else record.U for record in group]
    columns = [*zip(*series, strict=True), [statistics.fmean(values) for values in series]]
    tasks = len(series[0])
    row: tuple[float | None, ...] | None = None
    if paper is not None:
        if len(paper) not in (tasks, tasks + 1):
            raise DataError(
                f"the paper's row of {system!r} has {len(paper)} numbers for {tasks} tasks"
            )
        known = [value for value in paper[:tasks] if value is not None]
        mean = round(statistics.fmean(known), 1) if len(known) == tasks else None
        row = tuple(paper) if len(paper) == tasks + 1 else (*paper, mean)
    return Row(system, tuple(Stat.of(values) for values in columns), row)


def _caption(
    first: CellRecord,
    groups: Mapping[str, Sequence[CellRecord]],
    measure: str,
    remarks: Sequence[str],
    has_paper: bool,
) -> str:
    what = {
        "A": "A_k, micro-F1 (%) on all tasks seen so far, after each task",
        "U": "U_k, micro-F1 (%) on the task just learnt, after each task",
    }[measure]
    seeds = {system: tuple(sorted(record.seed for record in g)) for system, g in groups.items()}
    if len(set(seeds.values())) == 1:
        which = next(iter(seeds.values()))
        number = f"n = {len(which)}, seed{'s' if len(which) > 1 else ''} {_listed(which)}"
    else:
        each = "; ".join(f"{system}: {_listed(which)}" for system, which in seeds.items())
        number = f"n differs, seeds {each}"
    spread = ""
    if any(len(which) > 1 for which in seeds.values()):
        spread = " Mean ± sample standard deviation over seeds."
    paper = f" {PAPER}: the paper's numbers, one seed." if has_paper else ""
    extra = "".join(f", {remark}" for remark in remarks)
    return f"{what}; {first.scenario}, order {first.order}; {number}{extra}.{spread}{paper}"


def _wrapped(paragraphs: Sequence[str]) -> list[str]:
    return [
        line
        for text in paragraphs
        for line in textwrap.wrap(text, width=88, break_on_hyphens=False)
    ]


def _listed(values: Sequence[int]) -> str:
    return " ".join(map(str, values))


def _decimal(value: float) -> str:
    text = f"{value:.1f}"
    return "0.0" if text == "-0.0" else text


def _or_dash(value: float | None) -> str:
    return "-" if value is None else _decimal(value)


def _tex_stat(stat: Stat) -> str:
    mean = _decimal(stat.mean)
    return mean if stat.sd is None else rf"{mean} $\pm$ {_decimal(stat.sd)}"


def _tex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$"}
    # Braces: at the start of a row "[" would be an option of the row's end before it.
    special |= {"[": "{[}"} | {char: "\\" + char for char in "&%$#_{}"}
    return "".join(special.get(char, char) for char in text)
