"""Several orders together: every order and seed is a pair, so that a test has enough of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mkgc_cl._files import write_atomic
from mkgc_cl.experiments.experiment_report import control_words
from mkgc_cl.experiments.setting_words import OWN, option_notes, setting_words
from mkgc_cl.experiments.table_run import Made
from mkgc_cl.experiments.table_sweep import by_system, shared_stem
from mkgc_cl.results import RunRecord
from mkgc_cl.results.compared_rows import absent, compare_rows, footnotes
from mkgc_cl.results.counted import plural
from mkgc_cl.results.marks import marks, origin_words
from mkgc_cl.results.table import Row, Stat, Table, beside_the_best
from mkgc_cl.results.tables import AVERAGE, write_table
from mkgc_cl.results.undefined import mean_defined, undefined_words
from mkgc_cl.results.writing import written_to
from mkgc_cl.systems import SYSTEMS

FINAL = "final A"
NUMBERS: Mapping[str, Callable[[RunRecord], float | None]] = {
    FINAL: lambda record: record.A[-1],
    AVERAGE: lambda record: mean_defined(record.A),
}
"""The columns."""


def write_orders(made: Sequence[Made], out: Path) -> None:
    """Write and print final A and AVG over all orders, compared by pairs of order and seed.

    Of every system the seeds that it has in all orders: otherwise a mean would be more of one
    stream than of another. A system without any has no row, and a note says so.

    Args:
        made: the runs, one an order, of settings that are otherwise the same.
        out: where to.
    """
    made = sorted(made, key=lambda each: each.out.name)  # in whichever order they were named
    runs = {system: _in_all(columns) for system, columns in by_system(made).items()}
    runs = {system: records for system, records in runs.items() if records}
    if not runs:
        sys.stdout.write("no system has finished in every order: there is no table over them yet\n")
        return
    asked = {system for each in made for system in each.settings.rows}
    table = _table(made, runs, [name for name in SYSTEMS if name in asked and name not in runs])
    stem = shared_stem(made, "orders")
    with written_to(out):
        write_table(table, lambda name, text: write_atomic(out / name, text), stem=stem)
    sys.stdout.write(table.text() + f"written to {out / stem}.*\n")


def _in_all(columns: Mapping[int, Sequence[RunRecord]]) -> list[RunRecord]:
    """Return the records of those seeds that every column has."""
    seeds = set.intersection(*({record.seed for record in each} for each in columns.values()))
    return [record for each in columns.values() for record in each if record.seed in seeds]


def _table(
    made: Sequence[Made], runs: Mapping[str, Sequence[RunRecord]], left_out: Sequence[str]
) -> Table:
    settings = made[0].settings
    records = [record for each in runs.values() for record in each]
    names = tuple(NUMBERS) if len(records[0].tasks) > 1 else (AVERAGE,)  # else they are the same
    numbers = {column: NUMBERS[name] for column, name in enumerate(names)}
    there = settings.reference in runs
    behind = {system: dict.fromkeys(numbers, each) for system, each in runs.items()}
    compared = compare_rows(behind, settings.reference, numbers) if there else {}
    rows = tuple(
        Row(
            system,
            tuple(Stat.of([number(record) for record in each]) for number in numbers.values()),
            comparisons=compared.get(system, {}),
        )
        for system, each in runs.items()
    )
    below = footnotes(rows, names, pairs="order and seed")
    if not there and len(rows) > 1:
        below = (absent(settings.reference, where="in every order"),)
    notes = [*beside_the_best(rows), *option_notes(records)]
    if left_out:
        notes.append(f"No row, for want of a seed in every order: {', '.join(left_out)}.")
    notes.append(
        "Runs of one seed begin with the same weights in every order, so their pairs are less than "
        "independent."
    )
    orders = ", ".join(each.settings.order for each in made)
    words = [settings.scenario, f"orders {orders}", _seed_words(runs)]
    marked = marks(records, own=OWN, vary=True)
    words += [*setting_words(records), *control_words(settings.stream)]
    words += origin_words(records, marked)
    return Table(
        caption="A after the last task and mean of A over the tasks (%), micro-F1, over several "
        "orders.",
        setting=(
            f"{', '.join(words)}. Mean ± sample standard deviation over orders and seeds. "
            f"{undefined_words(records)}"
        ).rstrip(),
        marks=marked,
        columns=names,
        rows=rows,
        notes=tuple(notes),
        footnotes=below,
    )


def _seed_words(runs: Mapping[str, Sequence[RunRecord]]) -> str:
    seeds = {
        system: " ".join(map(str, sorted({record.seed for record in each})))
        for system, each in runs.items()
    }
    if len(set(seeds.values())) == 1:
        same = next(iter(seeds.values()))
        return f"{plural(len(same.split()), 'seed')} {same} in each"
    return "seeds in each " + "; ".join(f"{system}: {which}" for system, which in seeds.items())
