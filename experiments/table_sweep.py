"""A number against a setting: several tables of systems, one column each."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mkgc_cl._files import write_atomic
from mkgc_cl.experiments.experiment_report import control_words
from mkgc_cl.experiments.setting_words import OWN, option_notes, setting_words
from mkgc_cl.experiments.table_run import Made
from mkgc_cl.results import Run, RunRecord
from mkgc_cl.results.compared_rows import absent, compare_rows, footnotes
from mkgc_cl.results.counted import counted, plural
from mkgc_cl.results.figures import draw_sweep
from mkgc_cl.results.marks import marks, origin_words
from mkgc_cl.results.table import Row, Stat, Table, beside_the_best
from mkgc_cl.results.tables import write_table
from mkgc_cl.results.undefined import mean_defined, undefined_words
from mkgc_cl.results.writing import written_to
from mkgc_cl.systems import SYSTEMS

Runs = Mapping[str, Mapping[int, Sequence[RunRecord]]]
"""By system and 0-based column, the records of all seeds."""


@dataclass(frozen=True)
class Measure:
    """One number of a run.

    Args:
        words: what it is, with its unit.
        of: reads it off a record; ``None`` where it cannot be measured.
    """

    words: str
    of: Callable[[RunRecord], float | None]


FINAL = Measure("A after the last task (%)", lambda record: record.A[-1])
PLASTICITY = Measure("mean U over the tasks (%)", lambda record: mean_defined(record.U))


def write_sweep(
    made: Sequence[Made],
    out: Path,
    *,
    stem: str,
    values: Sequence[str],
    setting: str,
    measure: Measure = FINAL,
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
    """
    begun = by_system(made)
    runs = {system: columns for system, columns in begun.items() if all(columns.values())}
    asked = {system for each in made for system in each.settings.rows}
    if not runs:
        sys.stdout.write("no system has finished at every value: there is no table of them yet\n")
        return
    stem = shared_stem(made, stem)
    left_out = [system for system in SYSTEMS if system in asked and system not in runs]
    table = _table(made, runs, left_out, values=values, setting=setting, measure=measure)
    drawn = {system: columns for system, columns in begun.items() if system in runs.keys() | asked}
    with written_to(out):
        write_table(table, lambda name, text: write_atomic(out / name, text), stem=stem)
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
    sys.stdout.write(table.text() + f"written to {out / stem}.*\n")


def shared_stem(made: Sequence[Made], stem: str) -> str:
    """Return the name of files on several runs: with a digest of the settings of all of them."""
    folders = {"folders": [each.out.name for each in made]}  # whose names hold their digests
    return Run("", made[0].settings.scenario, stem, 0, folders).setting


def by_system(made: Sequence[Made]) -> dict[str, dict[int, list[RunRecord]]]:
    """Return the records of every system that has any, in the order of tables."""
    found = {
        system: {
            column: [record for record in each.records if record.system == system]
            for column, each in enumerate(made)
        }
        for system in SYSTEMS
    }
    return {system: columns for system, columns in found.items() if any(columns.values())}


def _table(
    made: Sequence[Made],
    runs: Runs,
    left_out: Sequence[str],
    *,
    values: Sequence[str],
    setting: str,
    measure: Measure,
) -> Table:
    """Build the table of these rows, compared with that of reference in every column."""
    settings = made[0].settings
    records = [record for columns in runs.values() for each in columns.values() for record in each]
    numbers = dict.fromkeys(range(len(values)), measure.of)
    there = settings.reference in runs
    compared = compare_rows(runs, settings.reference, numbers) if there else {}
    rows = tuple(
        Row(
            system,
            tuple(Stat.of([measure.of(record) for record in each]) for each in columns.values()),
            comparisons=compared.get(system, {}),
        )
        for system, columns in runs.items()
    )
    below = footnotes(rows, [f"at {value}:" for value in values])
    if not there and len(rows) > 1:
        below = (absent(settings.reference, where="at every value"),)
    notes = [*beside_the_best(rows), *option_notes(records)]
    if left_out:
        notes.append(f"No row, for want of a run at every value: {', '.join(left_out)}.")
    words = [settings.scenario, *_order_words(records), _seed_words(runs, values)]
    marked = marks(records, own=OWN, vary=True)
    words += [*_shared_words(runs), *control_words(settings.stream)]
    words += origin_words(records, marked)
    said = [f"{', '.join(words)}."]
    if any(stat.n > 1 for row in rows for stat in row.stats):
        said.append("Mean ± sample standard deviation over seeds.")
    if undefined := undefined_words(records):
        said.append(undefined)
    return Table(
        caption=f"{measure.words}, micro-F1, against {setting}.",
        setting=" ".join(said),
        marks=marked,
        columns=tuple(values),
        rows=rows,
        notes=tuple(notes),
        footnotes=below,
    )


def _order_words(records: Sequence[RunRecord]) -> list[str]:
    """Name the order; where the columns are of several, it is what is varied."""
    orders = {record.order for record in records}
    return [f"order {order}" for order in orders] if len(orders) == 1 else []


def _shared_words(runs: Runs) -> list[str]:
    """What the settings of all columns have in common; what is varied stands above them."""
    columns = [
        setting_words([record for each in runs.values() for record in each[column]])
        for column in next(iter(runs.values()))
    ]
    return [word for word in columns[0] if all(word in words for words in columns)]


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


def _number_words(runs: Runs) -> str:
    """Say how many seeds the points of the figure have."""
    numbers = [len(each) for columns in runs.values() for each in columns.values() if each]
    few, many = min(numbers), max(numbers)
    return f"{few} to {many} seeds" if few < many else counted(many, "seed")
