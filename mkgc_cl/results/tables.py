"""Building tables of records: mean and deviation over seeds, rows compared with one of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mkgc_cl.errors import DataError
from mkgc_cl.results.compared_rows import compared_rows
from mkgc_cl.results.counted import plural
from mkgc_cl.results.escapes import slug
from mkgc_cl.results.record import RunRecord, by_system
from mkgc_cl.results.table import PAPER, Table, beside_the_best
from mkgc_cl.results.undefined import DASH, mean_defined, undefined_words

AVERAGE = "AVG"
OVER_SEEDS = "Mean ± sample standard deviation over seeds."
Measure = Literal["A", "U", "forgetting"]
Numbers = tuple[float | None, ...]


@dataclass(frozen=True)
class _Kind:
    """What a table shows of a record.

    Args:
        words: for the caption.
        columns: names of the columns, from those of the tasks.
        numbers: one per column.
        compared: 0-based columns whose numbers are compared, from the number of tasks.
        details: for the settings.
        ranked: whether more is better in every column.
    """

    words: str
    columns: Callable[[Sequence[str]], tuple[str, ...]]
    numbers: Callable[[RunRecord], Numbers]
    compared: Callable[[int], tuple[int, ...]]
    details: str = ""
    ranked: bool = True


def _after_each_task(words: str, numbers: Callable[[RunRecord], Numbers]) -> _Kind:
    return _Kind(
        words,
        columns=lambda tasks: (*tasks, AVERAGE),
        numbers=lambda record: (*numbers(record), mean_defined(numbers(record))),
        # AVG of one task is that task: one comparison, not two to correct for
        compared=lambda tasks: (tasks - 1, tasks) if tasks > 1 else (tasks,),
    )


MEASURES: Mapping[Measure, _Kind] = {
    "A": _after_each_task(
        "A_k, micro-F1 (%) on all tasks seen so far, after each task", lambda record: record.A
    ),
    "U": _after_each_task(
        "U_k, micro-F1 (%) on the task just learnt, after each task", lambda record: record.U
    ),
    "forgetting": _Kind(
        "Forgetting and backward transfer, points of micro-F1, after the last task",
        lambda tasks: ("Forgetting", "Backward transfer", *tasks[:-1]),
        lambda record: (record.forgetting, record.backward_transfer, *record.forgetting_per_task),
        lambda tasks: (0, 1) if tasks > 1 else (),
        details="Mean loss of the earlier tasks against their best (less is better), their mean "
        "change since they were learnt (more is better), then the loss of each of them.",
        ranked=False,  # who learns nothing forgets nothing
    ),
}


def build_table(
    records: Sequence[RunRecord],
    *,
    measure: Measure = "A",
    paper: Mapping[str, Sequence[float | None]] | None = None,
    remarks: Sequence[str] = (),
    notes: Sequence[str] = (),
    reference: str | None = None,
    marks: Sequence[str] = (),
) -> Table:
    """Build the table of one scenario and one order: a row per system.

    A and U have a column per task and AVG, the mean over tasks. That is taken per seed before it is
    averaged over seeds, so its deviation is that of the runs' averages. Tasks that cannot be
    measured are in no mean; the settings below the caption name them.

    With a ``reference``, the last task and AVG of every other row (forgetting and backward
    transfer) are compared with those of that row, paired by seed
    (:func:`~mkgc_cl.results.statistics.compare`). Holm's correction runs over all of these
    comparisons, and the footnotes say what was done and found. Where several rows are there and
    the reference is not, they say that nothing was compared.

    Args:
        records: records of any systems and seeds; systems keep the order of first appearance.
        measure: ``"A"`` (all tasks seen), ``"U"`` (the task just learnt) or ``"forgetting"``.
        paper: per system the paper's numbers, one per task, with or without its AVG.
        remarks: words for the settings, such as ``"images blank"``.
        notes: remarks below the table.
        reference: the system that the others are compared with; ``None`` compares nothing.
        marks: of :attr:`Table.marks`.

    Raises:
        DataError: if there is no record, they are not of one scenario, order and list of tasks, or
            a system has two of one seed.
    """
    if not records:
        raise DataError("a table needs at least one record; no run has finished")
    settings = {(record.scenario, record.order, record.tasks) for record in records}
    if len(settings) > 1:
        raise DataError(f"a table shows one scenario and one order, got {sorted(settings)}")
    kind, first = MEASURES[measure], records[0]
    groups = by_system(records)
    for system, group in groups.items():
        seeds = [record.seed for record in group]
        if twice := [seed for seed in dict.fromkeys(seeds) if seeds.count(seed) > 1]:
            raise DataError(
                f"two records of {system!r} with seed {twice[0]}; a table shows one configuration: "
                "keep the records of one"
            )
    columns, tasks = kind.columns(first.tasks), len(first.tasks)
    numbers = {
        column: lambda record, column=column: kind.numbers(record)[column]
        for column in range(len(columns))
    }
    rows, below = compared_rows(
        {system: dict.fromkeys(numbers, group) for system, group in groups.items()},
        numbers,
        reference,
        columns,
        compare=kind.compared(tasks),
    )
    rows = tuple(
        replace(row, paper=_paper_row(row.system, paper[row.system], tasks))
        if paper and row.system in paper
        else row
        for row in rows
    )
    return Table(
        caption=f"{kind.words}; {first.scenario}, order {first.order}.",
        setting=_setting(kind, groups, remarks, has_paper=any(row.paper for row in rows)),
        columns=columns,
        rows=rows,
        notes=(*(beside_the_best(rows) if kind.ranked else ()), *notes),
        footnotes=below,
        marks=tuple(marks),
        label=f"{slug(f'{first.scenario}-{first.order}')}-{measure}",
        ranked=kind.ranked,
    )


def _paper_row(system: str, paper: Sequence[float | None], tasks: int) -> Numbers:
    """Return the paper's numbers with the mean over tasks, where it gives all of them."""
    if len(paper) not in (tasks, tasks + 1):
        raise DataError(f"the paper's row of {system!r} has {len(paper)} numbers for {tasks} tasks")
    known = [value for value in paper[:tasks] if value is not None]
    mean = round(statistics.fmean(known), 1) if len(known) == tasks else None
    return tuple(paper) if len(paper) == tasks + 1 else (*paper, mean)


def _setting(
    kind: _Kind,
    groups: Mapping[str, Sequence[RunRecord]],
    remarks: Sequence[str],
    *,
    has_paper: bool,
) -> str:
    seeds = {
        system: " ".join(str(seed) for seed in sorted(record.seed for record in group))
        for system, group in groups.items()
    }
    if len(set(seeds.values())) == 1:
        which = next(iter(seeds.values()))
        number = which.count(" ") + 1
        said = f"n = {number}, {plural(number, 'seed')} {which}"
    else:
        said = "n differs, seeds " + "; ".join(f"{name}: {which}" for name, which in seeds.items())
    records = [record for group in groups.values() for record in group]
    nothing = kind.details and len(records[0].tasks) == 1
    sentences = (
        kind.details,
        f"{', '.join([said, *remarks])}.",
        OVER_SEEDS if len(records) > len(groups) else "",
        f"{PAPER}: the paper's numbers, one seed." if has_paper else "",
        undefined_words(records),
        f"Of one task there is nothing to be forgotten: {DASH}." if nothing else "",
    )
    return " ".join(filter(None, sentences))
