"""Tables over several runs of a table: a number against a setting, and several orders together."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mkgc_cl._files import write_atomic
from mkgc_cl.experiments.pipeline.report import OWN, control_words, option_notes, setting_words
from mkgc_cl.experiments.pipeline.run import Made
from mkgc_cl.results import RunRecord
from mkgc_cl.results.compared_rows import Number, Runs, compared_rows
from mkgc_cl.results.counted import counted, plural
from mkgc_cl.results.figures import draw_sweep
from mkgc_cl.results.marks import marks, origin_words
from mkgc_cl.results.render import write_table
from mkgc_cl.results.table import Table, beside_the_best
from mkgc_cl.results.tables import AVERAGE, OVER_SEEDS
from mkgc_cl.results.undefined import mean_defined, undefined_words
from mkgc_cl.results.writing import written_to
from mkgc_cl.runs import Run


@dataclass(frozen=True)
class Measure:
    """One number of a run.

    Args:
        words: what it is, with its unit.
        of: reads it off a record; ``None`` where it cannot be measured.
    """

    words: str
    of: Number


FINAL = Measure("A after the last task (%)", lambda record: record.A[-1])
PLASTICITY = Measure("mean U over the tasks (%)", lambda record: mean_defined(record.U))
ORDERS = {"final A": FINAL.of, AVERAGE: lambda record: mean_defined(record.A)}
"""Columns of the table over several orders."""


def write_sweep(
    made: Sequence[Made],
    out: Path,
    *,
    stem: str,
    values: Sequence[str],
    setting: str,
    measure: Measure = FINAL,
    level: Made | None = None,
) -> None:
    """Write and print a number of every system against a setting, as table and figure.

    Seeds and systems of earlier calls with the same settings join, as they join the tables. Systems
    that did not finish at every value have no row: a table has no gaps. The files have the digest
    of the settings in their names, as folders of orders have: other settings have others.

    Args:
        made: the runs, one a value.
        out: where to.
        stem: name of the files, before the digest.
        values: the values in words.
        setting: what they are values of.
        measure: the number.
        level: rows that the setting does not touch. Their one run stands at every value.
    """
    stem = _stem([*made, *([level] if level else [])], stem)
    if level:
        made = [replace(each, records=(*each.records, *level.records)) for each in made]
    begun = by_system(made)
    runs = {system: columns for system, columns in begun.items() if all(columns.values())}
    if not runs:
        sys.stdout.write("no system has finished at every value: there is no table of them yet\n")
        return
    asked = _asked(made)
    drawn = {system: columns for system, columns in begun.items() if system in runs.keys() | asked}
    records = [record for columns in runs.values() for each in columns.values() for record in each]
    orders = dict.fromkeys(record.order for record in records)
    words = [made[0].settings.scenario]  # of several orders it is the order that is varied
    words += [f"order {order}" for order in orders] if len(orders) == 1 else []
    words += [_seed_words(runs, values), *_shared_words(made, runs)]
    said = f"{', '.join(words)}."
    if any(len(each) > 1 for columns in runs.values() for each in columns.values()):
        said += f" {OVER_SEEDS}"
    table = _table(
        made,
        runs,
        dict.fromkeys(range(len(values)), measure.of),
        caption=f"{measure.words}, micro-F1, against {setting}.",
        said=said,
        columns=values,
        heads=[f"at {value}:" for value in values],
        where="at every value",
        notes=_level_notes(level, runs),
    )
    _write(table, out, stem)
    with written_to(out):
        draw_sweep(
            {
                system: [[measure.of(record) for record in column] for column in columns.values()]
                for system, columns in drawn.items()
            },
            out / stem,
            values=values,
            xlabel=setting,
            ylabel=measure.words,
            reference=made[0].settings.reference,
            title=f"{made[0].settings.scenario}, {_number_words(drawn)}",
        )


def write_orders(made: Sequence[Made], out: Path) -> None:
    """Write and print final A and AVG over all orders, compared by pairs of order and seed.

    Of every system the seeds that it has in all orders: otherwise a mean would be more of one
    stream than of another. A system without any has no row, and a note says so.
    """
    made = sorted(made, key=lambda each: each.out.name)  # in whichever order they were named
    begun = by_system(made)
    shared = {system: each for system, columns in begun.items() if (each := _in_all(columns))}
    if not shared:
        sys.stdout.write("no system has finished in every order: there is no table over them yet\n")
        return
    several = len(next(iter(shared.values()))[0].tasks) > 1
    heads = tuple(ORDERS) if several else (AVERAGE,)  # else they are the same
    runs = {system: dict.fromkeys(range(len(heads)), each) for system, each in shared.items()}
    names = ", ".join(each.settings.order for each in made)
    words = [made[0].settings.scenario, f"orders {names}"]
    words += [_seed_words_of_orders(shared), *_shared_words(made, begun)]
    table = _table(
        made,
        runs,
        {column: ORDERS[head] for column, head in enumerate(heads)},
        caption="A after the last task and mean of A over the tasks (%), micro-F1, over several "
        "orders.",
        said=f"{', '.join(words)}. Mean ± sample standard deviation over orders and seeds.",
        columns=heads,
        heads=heads,
        where="in every order",
        pairs="order and seed",
        notes=[
            "Runs of one seed begin with the same weights in every order, so their pairs are less "
            "than independent."
        ],
    )
    _write(table, out, _stem(made, "orders"))


def _write(table: Table, out: Path, stem: str) -> None:
    """Write every form of a table, and print it."""
    with written_to(out):
        write_table(table, lambda name, text: write_atomic(out / name, text), stem=stem)
    sys.stdout.write(table.text() + f"written to {out / stem}.*\n")


def by_system(made: Sequence[Made]) -> dict[str, dict[int, list[RunRecord]]]:
    """Return the records of every row that has any, in the order of tables."""
    found = {
        system: {
            column: [record for record in each.records if record.system == system]
            for column, each in enumerate(made)
        }
        for system in made[0].plan.rows
    }
    return {system: columns for system, columns in found.items() if any(columns.values())}


def _table(
    made: Sequence[Made],
    runs: Runs,
    numbers: Mapping[int, Number],
    *,
    caption: str,
    said: str,
    columns: Sequence[str],
    heads: Sequence[str],
    where: str,
    notes: Sequence[str] = (),
    pairs: Literal["seed", "order and seed"] = "seed",
) -> Table:
    """Build the table of these rows, compared with that of reference in every column."""
    settings, known = made[0].settings, made[0].plan.rows
    rows, below = compared_rows(runs, numbers, settings.reference, heads, where=where, pairs=pairs)
    missing = [name for name in known if name in _asked(made) and name not in runs]
    left_out = f"No row, for want of {'a run' if 'value' in where else 'a seed'} {where}: "
    below_all = [
        *beside_the_best(rows),
        *option_notes(settings, {name: known[name] for name in runs}),
        *([f"{left_out}{', '.join(missing)}."] if missing else []),
        *notes,
    ]
    records = [record for each in runs.values() for column in each.values() for record in column]
    return Table(
        caption=caption,
        setting=f"{said} {undefined_words(records)}".rstrip(),
        marks=marks(records, own=OWN, vary=True),
        columns=tuple(columns),
        rows=rows,
        notes=tuple(below_all),
        footnotes=below,
    )


def _in_all(columns: Mapping[int, Sequence[RunRecord]]) -> list[RunRecord]:
    """Return the records of those seeds that every column has."""
    seeds = set.intersection(*({record.seed for record in each} for each in columns.values()))
    return [record for each in columns.values() for record in each if record.seed in seeds]


def _level_notes(level: Made | None, runs: Runs) -> list[str]:
    rows = {record.system for record in level.records} if level else set()
    names = [name for name in runs if name in rows]
    return [f"The same runs in every column: {', '.join(names)}."] if names else []


def _asked(made: Sequence[Made]) -> set[str]:
    return {system for each in made for system in each.settings.systems}


def _stem(made: Sequence[Made], stem: str) -> str:
    """Return the name of files on several runs: with a digest of the settings of all of them."""
    folders = {"folders": [each.out.name for each in made]}  # whose names hold their digests
    return Run("", made[0].settings.scenario, stem, 0, folders).setting


def _shared_words(made: Sequence[Made], runs: Runs) -> list[str]:
    """What the settings of all columns have in common, and what is to be known of any run.

    What is varied stands above the columns.
    """
    known = made[0].plan.rows
    columns = []
    for column, each in enumerate(made):
        records = [r for found in runs.values() for r in found.get(column, ())]
        if records:
            rows = {record.system: known[record.system] for record in records}
            columns.append(setting_words(each.settings, rows, records))
    every = [r for found in runs.values() for column in found.values() for r in column]
    shared = [word for word in columns[0] if all(word in words for words in columns)]
    marked = marks(every, own=OWN, vary=True)
    return [*shared, *control_words(made[0].settings.stream), *origin_words(every, marked)]


def _seed_words(runs: Runs, values: Sequence[str]) -> str:
    """Name the seeds: of all runs, or of most and then of those that have others."""
    seeds = {
        (system, column): " ".join(map(str, sorted(record.seed for record in each)))
        for system, columns in runs.items()
        for column, each in columns.items()
    }
    most, _ = Counter(seeds.values()).most_common(1)[0]
    if set(seeds.values()) == {most}:
        number = most.count(" ") + 1
        return f"n = {number}, {plural(number, 'seed')} {most}"
    # where to whom, from whole rows down to single runs
    others: dict[tuple[str, str], list[str]] = {}
    for system, columns in runs.items():
        own = {f"at {values[column]}": seeds[system, column] for column in columns}
        whole = len(set(own.values())) == 1
        for where, which in own.items():
            if which != most:
                systems = others.setdefault(("" if whole else where, which), [])
                systems += [system] * (system not in systems)
    said = []
    for (where, which), systems in others.items():
        names = ", ".join(systems) if not where or len(systems) < len(runs) else ""
        said.append(f"{' '.join(filter(None, (names, where)))}: {which}")
    return f"n differs, seeds {most}, but {'; '.join(said)}"


def _seed_words_of_orders(runs: Mapping[str, Sequence[RunRecord]]) -> str:
    seeds = {
        system: " ".join(map(str, sorted({record.seed for record in each})))
        for system, each in runs.items()
    }
    if len(set(seeds.values())) == 1:
        same = next(iter(seeds.values()))
        return f"{plural(len(same.split()), 'seed')} {same} in each"
    return "seeds in each " + "; ".join(f"{system}: {which}" for system, which in seeds.items())


def _number_words(runs: Runs) -> str:
    """Say how many seeds the points of the figure have."""
    numbers = [len(each) for columns in runs.values() for each in columns.values() if each]
    few, many = min(numbers), max(numbers)
    return f"{few} to {many} seeds" if few < many else counted(many, "seed")
