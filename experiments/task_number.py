"""Figure 6: A after the last task where the same relations come in 5, 7 or 10 tasks.

    python experiments/task_number.py --quick         the synthetic stream in 5, 3 and 2 tasks
    python experiments/task_number.py --data DATA     real IMRE samples, blank images

Finished runs are kept and not repeated, and are shared with the tables of the same settings.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path

from mkgc_cl.experiments.imre import CONFIGS
from mkgc_cl.experiments.pipeline.cli import Script, main
from mkgc_cl.experiments.pipeline.run import Made
from mkgc_cl.experiments.pipeline.settings import Settings
from mkgc_cl.experiments.pipeline.sweep import write_sweep

SPLITS = ("sep5", "sep7", "sep10")
MERGED = (3, 2, 1)


def variants(settings: Settings, arguments: argparse.Namespace) -> list[Settings]:
    """The settings of every number of tasks."""
    if settings.stream.scenario != "imre":
        streams = [replace(settings.stream, merge=size) for size in MERGED]
        return [replace(settings, stream=stream) for stream in streams]
    return [replace(settings, orders=(order,)) for order in SPLITS]


def finish(made: Sequence[Made], arguments: argparse.Namespace) -> None:
    """Write the sweep."""
    write_sweep(
        made,
        Path(arguments.out) / made[0].settings.name,
        stem="task-number",
        values=[str(len(each.plan.stream.tasks)) for each in made],
        setting="number of tasks",
    )


def problems(settings: Settings, arguments: argparse.Namespace, given: Set[str]) -> Sequence[str]:
    """Settings under which the numbers of tasks cannot be compared."""
    wrong = []
    if settings.kind != "re":
        wrong.append(
            "task_number.py is for streams of relations only, where the same classes come in "
            f"more or fewer tasks, got {settings.scenario}; give --scenario imre, or --quick "
            "for the synthetic stream"
        )
    if settings.stream.first is not None:
        wrong.append(
            f"'stream.first={settings.stream.first}' leaves every column the same number of "
            "tasks; leave it out (stream.first=null)"
        )
    # of other streams it is the order of the classes, which are then joined as they come
    if settings.stream.scenario == "imre" and "stream.order" in given:
        runs = "it runs them all: " + ", ".join(SPLITS)
        wrong.append(f"'stream.order' is set by task_number.py itself; {runs}")
    return wrong


SCRIPT = Script(
    "task_number.py",
    str(__doc__),
    configs=CONFIGS,
    scenario="imre",
    own={
        "orders": "it runs them all: sep5, sep7 and sep10, or the synthetic stream's",
        "stream.merge": "it joins the tasks by one, two and three where there is no sep5",
    },
    check=problems,
    variants=variants,
    finish=finish,
)

if __name__ == "__main__":
    sys.exit(main(SCRIPT))
