"""Several orders together: every order and seed is a pair, so that a test has enough of them."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from experiment_report import origin_words
from table_run import Made
from table_sweep import by_system, shared_stem

from mkgc_cl.results import CellRecord
from mkgc_cl.results.compared_rows import absent, compare_rows, footnotes
from mkgc_cl.results.config_words import option_notes, setting_words
from mkgc_cl.results.counted import plural
from mkgc_cl.results.files import write_atomic
from mkgc_cl.results.table_text import Row, Stat, Table, beside_the_best
from mkgc_cl.results.tables import AVERAGE, write_table

NUMBERS: Mapping[str, Callable[[CellRecord], float]] = {
    "final A": lambda record: record.A[-1],
    AVERAGE: lambda record: statistics.fmean(record.A),
}
"""The columns."""


def write_orders(made: Sequence[Made], out: Path) -> None:
    """Write and print final A and AVG over all orders, compared by pairs of order and seed.

    Systems that did not finish in every order have no row: their mean would be of other streams.

    Args:
        made: the runs, one an order, of settings that are otherwise the same.
        out: where to.
    """
    begun = by_system(made)
    runs = {
        system: [record for each in columns.values() for record in each]
        for system, columns in begun.items()
        if all(columns.values())
    }
    if not runs:
        sys.stdout.write("no system has finished in every order: there is no table over them yet\n")
        return
    table = _table(made, runs, [system for system in begun if system not in runs])
    stem = shared_stem(made, "orders")
    write_table(table, lambda name, text: write_atomic(out / name, text), stem=stem)
    sys.stdout.write(table.text() + f"written to {out / stem}.*\n")


def _table(
    made: Sequence[Made], runs: Mapping[str, Sequence[CellRecord]], left_out: Sequence[str]
) -> Table:
    settings = made[0].settings
    records = [record for each in runs.values() for record in each]
    numbers = dict(enumerate(NUMBERS.values()))
    there = settings.reference in runs
    cells = {system: dict.fromkeys(numbers, each) for system, each in runs.items()}
    compared = compare_rows(cells, settings.reference, numbers) if there else {}
    rows = tuple(
        Row(
            system,
            tuple(Stat.of([number(record) for record in each]) for number in NUMBERS.values()),
            comparisons=compared.get(system, {}),
        )
        for system, each in runs.items()
    )
    below = footnotes(rows, tuple(NUMBERS), pairs="order and seed")
    if not there and len(rows) > 1:
        below = (absent(settings.reference, where="in every order"),)
    notes = [*beside_the_best(rows), *option_notes(records)]
    if left_out:
        notes.append(f"No row, for want of a run in every order: {', '.join(left_out)}.")
    orders = ", ".join(each.settings.order for each in made)
    words = [settings.scenario, f"orders {orders}", _number_words(runs)]
    words += [*setting_words(records), *origin_words(settings.stream, records)]
    return Table(
        caption="A after the last task and mean of A over the tasks (%), micro-F1, over several "
        f"orders; {', '.join(words)}. Mean ± sample standard deviation over orders and seeds.",
        columns=tuple(NUMBERS),
        rows=rows,
        notes=tuple(notes),
        footnotes=below,
    )


def _number_words(runs: Mapping[str, Sequence[CellRecord]]) -> str:
    numbers = [len(each) for each in runs.values()]
    few, many = min(numbers), max(numbers)
    seeds = {
        tuple(sorted(record.seed for record in each if record.order == order))
        for each in runs.values()
        for order in {record.order for record in each}
    }
    if len(seeds) > 1:
        return f"n = {few} to {many}, seeds differ" if few < many else f"n = {many}, seeds differ"
    (same,) = seeds
    return f"n = {many}, {plural(len(same), 'seed')} {' '.join(map(str, same))} in each"
