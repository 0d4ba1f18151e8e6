"""A number against a setting: several tables of systems, one column each."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from table_report import conditions
from table_run import Made

from mkgc_cl.results import Cell, CellRecord
from mkgc_cl.results.figures import draw_sweep
from mkgc_cl.results.files import write_atomic
from mkgc_cl.results.table_text import Row, Stat, Table
from mkgc_cl.results.tables import write_table
from mkgc_cl.systems import SYSTEMS


@dataclass(frozen=True)
class Measure:
    """One number of a run.

    Args:
        words: what it is, with its unit.
        of: reads it off a record.
    """

    words: str
    of: Callable[[CellRecord], float]


FINAL = Measure("A after the last task (%)", lambda record: record.A[-1])
PLASTICITY = Measure("mean U over the tasks (%)", lambda record: statistics.fmean(record.U))


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

    Systems that did not finish at every value have no row: a table has no gaps. The files have the
    digest of the settings in their names, as folders of orders have: other settings have others.

    Args:
        made: the runs, one a value.
        out: where to.
        stem: name of the files, before the digest.
        values: the values in words.
        setting: what they are values of.
        measure: the number.
    """
    found = {
        system: [[measure.of(r) for r in each.records if r.system == system] for each in made]
        for system in SYSTEMS
        if any(system in each.settings.rows for each in made)
    }
    found = {system: columns for system, columns in found.items() if any(columns)}
    if not found:
        sys.stdout.write("no cell has finished\n")
        return
    first = made[0]
    # the folders' names hold the digests of all settings, of those in the columns too
    folders = {"folders": [each.out.name for each in made]}
    stem = Cell("", first.settings.scenario, stem, 0, folders).setting
    records = [record for each in made for record in each.records]
    seeds = sorted({record.seed for record in records})
    # what is varied stands in the columns
    fixed = replace(first.settings, exemplars=None)
    words = [f"seeds {' '.join(map(str, seeds))}", *conditions(fixed, first.records)]
    table = Table(
        caption=f"{measure.words}, micro-F1, against {setting}; "
        f"{first.settings.scenario}, {', '.join(words)}. "
        "Mean ± sample standard deviation over seeds.",
        columns=tuple(values),
        rows=tuple(
            Row(system, tuple(Stat.of(column) for column in columns))
            for system, columns in found.items()
            if all(columns)
        ),
    )
    write_table(table, lambda name, text: write_atomic(out / name, text), stem=stem)
    draw_sweep(
        found,
        out / stem,
        values=values,
        xlabel=setting,
        ylabel=measure.words,
        title=f"{first.settings.scenario}, {len(seeds)} seed(s)",
    )
    sys.stdout.write(table.text() + f"written to {out / stem}.*\n")
