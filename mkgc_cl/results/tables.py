"""Building tables of results: mean and deviation over seeds, rows compared with one of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from mkgc_cl.errors import DataError
from mkgc_cl.results.compared_rows import absent, compare_rows, footnotes
from mkgc_cl.results.counted import plural
from mkgc_cl.results.record import RunRecord
from mkgc_cl.results.statistics import Comparison
from mkgc_cl.results.table_text import PAPER, Row, Stat, Table, beside_the_best
from mkgc_cl.results.undefined import mean_defined, undefined_words

AVERAGE = "AVG"


def build_table(
    records: Sequence[RunRecord],
    *,
    measure: Literal["A", "U"] = "A",
    paper: Mapping[str, Sequence[float | None]] | None = None,
    remarks: Sequence[str] = (),
    notes: Sequence[str] = (),
    reference: str | None = None,
) -> Table:
    """Build the table of one scenario and one order: a row per system, a column per task, and AVG.

    AVG is the mean over tasks, taken per seed before it is averaged over seeds, so its deviation is
    that of the runs' averages. Tasks that cannot be measured are in no mean; the caption names
    them.

    With a ``reference``, the last task and AVG of every other row are compared with those of that
    row, paired by seed (:func:`~mkgc_cl.results.statistics.compare`). Holm's correction runs over
    all of these comparisons, and the footnotes say what was done and found. Where several rows are
    there and the reference is not, they say that nothing was compared.

    Args:
        records: records of any systems and seeds; systems keep the order of first appearance.
        measure: ``"A"`` (all tasks seen) or ``"U"`` (the task just learnt).
        paper: per system the paper's numbers, one per task, with or without its AVG.
        remarks: words for the caption, such as ``"images blank"`` or ``"synthetic stream data"``.
        notes: remarks below the table.
        reference: the system that the others are compared with; ``None`` compares nothing.

    Raises:
        DataError: if there is no record, they are not of one scenario, order and list of tasks, or
            a system has two of one seed.
    """
    if not records:
        raise DataError("a table needs at least one record; no run has finished")
    settings = {(record.scenario, record.order, record.tasks) for record in records}
    if len(settings) > 1:
        raise DataError(f"a table shows one scenario and one order, got {sorted(settings)}")
    first = records[0]
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        group = groups.setdefault(record.system, [])
        if record.seed in {other.seed for other in group}:
            raise DataError(
                f"two records of {record.system!r} with seed {record.seed}; a table shows one "
                "configuration: keep the records of one"
            )
        group.append(record)
    there = reference if reference in groups else None
    made = {} if there is None else _comparisons(groups, there, measure)
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
    below = footnotes(rows, columns)
    if reference is not None and there is None and len(rows) > 1:
        below = (absent(reference),)
    return Table(
        caption=_caption(first, groups, measure, remarks, any(row.paper for row in rows)),
        columns=columns,
        rows=rows,
        # once, where the notes of a table that was written before come back
        notes=tuple(dict.fromkeys((*beside_the_best(rows), *notes))),
        footnotes=below,
    )


def write_table(table: Table, write: Callable[[str, str], object], *, stem: str) -> None:
    """Hand every form of ``table`` to ``write(file name, text)``."""
    for suffix, text in (
        ("txt", table.text()),
        ("md", table.markdown()),
        ("tex", table.latex()),
        ("csv", table.csv()),
        ("json", table.json()),
    ):
        write(f"{stem}.{suffix}", text)


def _row(
    system: str,
    group: Sequence[RunRecord],
    measure: Literal["A", "U"],
    paper: Sequence[float | None] | None,
    comparisons: Mapping[int, Comparison],
) -> Row:
    series = [_series(record, measure) for record in group]
    columns = [*zip(*series, strict=True), [mean_defined(values) for values in series]]
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


def _series(record: RunRecord, measure: Literal["A", "U"]) -> tuple[float | None, ...]:
    return record.A if measure == "A" else record.U


def _comparisons(
    groups: Mapping[str, Sequence[RunRecord]], reference: str, measure: Literal["A", "U"]
) -> dict[str, dict[int, Comparison]]:
    """Compare the last task and AVG of each other system; by system, then by 0-based column."""
    tasks = len(groups[reference][0].tasks)
    numbers: dict[int, Callable[[RunRecord], float | None]] = {
        tasks - 1: lambda record: _series(record, measure)[-1],
        tasks: lambda record: mean_defined(_series(record, measure)),
    }
    if tasks == 1:  # AVG is the one task: one comparison, not two to correct for
        del numbers[0]
    runs = {system: dict.fromkeys(numbers, group) for system, group in groups.items()}
    return compare_rows(runs, reference, numbers)


def _caption(
    first: RunRecord,
    groups: Mapping[str, Sequence[RunRecord]],
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
        number = f"n = {len(which)}, {plural(len(which), 'seed')} {_listed(which)}"
    else:
        each = "; ".join(f"{system}: {_listed(which)}" for system, which in seeds.items())
        number = f"n differs, seeds {each}"
    spread = ""
    if any(len(which) > 1 for which in seeds.values()):
        spread = " Mean ± sample standard deviation over seeds."
    paper = f" {PAPER}: the paper's numbers, one seed." if has_paper else ""
    extra = "".join(f", {remark}" for remark in remarks)
    head = f"{what}; {first.scenario}, order {first.order}; {number}{extra}.{spread}{paper}"
    undefined = undefined_words([record for group in groups.values() for record in group])
    return f"{head} {undefined}".rstrip()


def _listed(values: Sequence[int]) -> str:
    return " ".join(map(str, values))
