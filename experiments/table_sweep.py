"""A number against a setting: several tables of systems, one column each."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from table_report import conditions
from table_run import Made

from mkgc_cl.results.figures import draw_sweep
from mkgc_cl.results.files import write_atomic
from mkgc_cl.results.table_text import Row, Stat, Table
from mkgc_cl.results.tables import write_table
from mkgc_cl.systems import SYSTEMS


def write_sweep(
    made: Sequence[Made], out: Path, *, stem: str, values: Sequence[str], setting: str
) -> None:
    """Write and print the final A of every system against a setting, as table and figure.

    Systems that did not finish at every value have no row: a table has no gaps.

    Args:
        made: the runs, one a value.
        out: where to.
        stem: name of the files.
        values: the values in words.
        setting: what they are values of.
    """
    found = {
        system: [[r.A[-1] for r in each.records if r.system == system] for each in made]
        for system in SYSTEMS
    }
    found = {system: columns for system, columns in found.items() if any(columns)}
    if not found:
        sys.stdout.write("no cell has finished\n")
        return
    first = made[0]
    records = [record for each in made for record in each.records]
    seeds = sorted({record.seed for record in records})
    words = [f"seeds {' '.join(map(str, seeds))}", *conditions(first.settings, first.records)]
    table = Table(
        caption=f"A after the last task, micro-F1 (%), against {setting}; "
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
        ylabel="A after the last task (%)",
        title=f"{first.settings.scenario}, {len(seeds)} seed(s)",
    )
    sys.stdout.write(table.text() + f"written to {out / stem}.*\n")
