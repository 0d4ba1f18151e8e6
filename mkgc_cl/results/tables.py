"""Building tables of results: mean and deviation over seeds, rows compared with one of them."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from mkgc_cl.errors import DataError
from mkgc_cl.results.record import CellRecord
from mkgc_cl.results.statistics import (
    ALPHA,
    FEWEST,
    TOO_SMALL,
    Comparison,
    compare,
    corrected,
    smallest_p,
)
from mkgc_cl.results.table_text import MARK, PAPER, Row, Stat, Table

AVERAGE = "AVG"


def build_table(
    records: Sequence[CellRecord],
    *,
    measure: Literal["A", "U"] = "A",
    paper: Mapping[str, Sequence[float | None]] | None = None,
    remarks: Sequence[str] = (),
    notes: Sequence[str] = (),
    reference: str | None = None,
) -> Table:
    """Build the table of one scenario and one order: a row per system, a column per task, and AVG.

    AVG is the mean over tasks, taken per seed before it is averaged over seeds, so its deviation is
    that of the runs' averages.

    With a ``reference``, the last task and AVG of every other row are compared with those of that
    row, paired by seed (:func:`~mkgc_cl.results.statistics.compare`). Holm's correction runs over
    all of these comparisons, and the footnotes say what was done and found.

    Args:
        records: records of any systems and seeds; systems keep the order of first appearance.
        measure: ``"A"`` (all tasks seen) or ``"U"`` (the task just learnt).
        paper: per system the paper's numbers, one per task, with or without its AVG.
        remarks: words for the caption, such as ``"images blank"`` or ``"demonstration data"``.
        notes: remarks below the table.
        reference: the system that the others are compared with; ``None`` compares nothing.

    Raises:
        DataError: if there is no record, they are not of one scenario, order and list of tasks, a
            system has two of one seed, or none is of the ``reference``.
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
    made = {} if reference is None else _comparisons(groups, reference, measure)
    rows = tuple(
        _row(
            system,
            group,
            measure,
            None if paper is None else paper.get(system),
            made.get(system, {}),
        )
        for system, group in groups.items()
    )
    columns = (*first.tasks, AVERAGE)
    return Table(
        caption=_caption(first, groups, measure, remarks, any(row.paper for row in rows)),
        columns=columns,
        rows=rows,
        notes=tuple(notes),
        footnotes=_footnotes(rows, columns),
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
    comparisons: Mapping[int, Comparison],
) -> Row:
    series = [_series(record, measure) for record in group]
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
    return Row(system, tuple(Stat.of(values) for values in columns), row, comparisons)


def _series(record: CellRecord, measure: Literal["A", "U"]) -> tuple[float, ...]:
    return record.A if measure == "A" else record.U


def _comparisons(
    groups: Mapping[str, Sequence[CellRecord]], reference: str, measure: Literal["A", "U"]
) -> dict[str, dict[int, Comparison]]:
    """Compare the last task and AVG of each other system; by system, then by 0-based column."""
    if reference not in groups:
        raise DataError(f"no record of the reference {reference!r}, only of {list(groups)}")
    tasks = len(groups[reference][0].tasks)
    numbers: dict[int, Callable[[CellRecord], float]] = {
        tasks - 1: lambda record: _series(record, measure)[-1],
        tasks: lambda record: statistics.fmean(_series(record, measure)),
    }
    if tasks == 1:  # AVG is the one task: one comparison, not two to correct for
        del numbers[0]
    cells = [(system, column) for system in groups if system != reference for column in numbers]
    made = corrected(
        [compare(groups[system], groups[reference], numbers[column]) for system, column in cells]
    )
    found: dict[str, dict[int, Comparison]] = {}
    for (system, column), comparison in zip(cells, made, strict=True):
        found.setdefault(system, {})[column] = comparison
    return found


def _footnotes(rows: Sequence[Row], columns: Sequence[str]) -> tuple[str, ...]:
    """Say what was compared, how, what came out, and what so few pairs could show at all."""
    made = [comparison for row in rows for comparison in row.comparisons.values()]
    if not made:
        return ()
    tested = [comparison for comparison in made if comparison.p is not None]
    head = (
        f"Compared with {made[0].reference}, paired by seed: mean difference [95 % interval, "
        "Student's t]"
    )
    if tested:
        methods = "; ".join(dict.fromkeys(comparison.method for comparison in tested))
        head += (
            f"; two-sided p of that mean ({methods}); p corrected after Holm for the {len(tested)} "
            f"tests here; {MARK} where the corrected p is below {ALPHA}"
        )
    if len(tested) < len(made):
        head += f"; {TOO_SMALL}: fewer than {FEWEST} pairs are not tested"
    notes = [head + "."]
    for row in rows:
        if row.comparisons:
            one = next(iter(row.comparisons.values()))
            pairs = f"n = {one.n}" + (f", {one.left_out} without partner" if one.left_out else "")
            results = "; ".join(
                f"{columns[column]} {_result(comparison)}"
                for column, comparison in row.comparisons.items()
            )
            notes.append(f"- {row.system} ({pairs}): {results}.")
    return (*notes, *_limits(tested))


def _result(made: Comparison) -> str:
    parts = []
    if made.difference is not None:
        interval = ", ".join(map(_signed, made.interval or ()))
        parts.append(_signed(made.difference) + (f" [{interval}]" if interval else ""))
    if made.p is None:
        parts.append(made.method)
    else:
        parts.append(f"p = {made.p:.3g}, corrected {made.p_corrected:.3g}")
    return ", ".join(parts)


def _signed(value: float) -> str:
    text = f"{value:+.1f}"
    return "+0.0" if text == "-0.0" else text


def _limits(tested: Sequence[Comparison]) -> tuple[str, ...]:
    """Say which marks so few pairs rule out, whatever the differences."""
    if not tested:
        return ()
    most = max(comparison.n for comparison in tested)
    # Holm multiplies the smallest p by the number of tests: below that no corrected p can be.
    least = min(1.0, len(tested) * smallest_p(most))
    if least >= ALPHA:
        enough = next(n for n in itertools.count(FEWEST) if len(tested) * 2 / 2**n < ALPHA)
        return (
            f"With n = {most} no p can be below 2/2^n = {smallest_p(most):.3g}, no corrected p "
            f"below {least:.3g}: nothing can be marked, however large a difference; that takes "
            f"{enough} pairs.",
        )
    if any(smallest_p(comparison.n) >= ALPHA for comparison in tested):
        return ("With n < 6 no p can be below 2/2^n > 0.05: such rows cannot be marked.",)
    return ()


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


def _listed(values: Sequence[int]) -> str:
    return " ".join(map(str, values))
