"""Figure 5: A after the last task against the number of exemplars of every class.

    python experiments/rehearsal_size.py --quick                     the synthetic stream
    python experiments/rehearsal_size.py --data DATA --sizes 2 6 10  real IMRE samples, blank images

By default every system that keeps exemplars, and beside them what learns in closed form. A system
that keeps none runs once and is drawn level. Finished runs are kept and not repeated, and are
shared with the tables of the same settings.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path

from mkgc_cl.experiments.imre import CONFIGS
from mkgc_cl.experiments.pipeline.cli import Script, main
from mkgc_cl.experiments.pipeline.given import own_budgets
from mkgc_cl.experiments.pipeline.run import Made
from mkgc_cl.experiments.pipeline.settings import Settings
from mkgc_cl.experiments.pipeline.sweep import write_sweep
from mkgc_cl.systems import SYSTEMS, systems_of


def variants(settings: Settings, arguments: argparse.Namespace) -> list[Settings]:
    """The settings of every size of the memory, then those of what keeps none."""
    rows, level = keepers(settings), without_memory(settings)
    sized = [replace(settings, systems=rows, exemplars=size) for size in sizes(arguments)]
    return [*sized, *([replace(settings, systems=level, exemplars=None)] if level else [])]


def finish(made: Sequence[Made], arguments: argparse.Namespace) -> None:
    """Write the sweep."""
    values = sizes(arguments)
    level = [_only(each, memory=False) for each in made[len(values) :]]
    write_sweep(
        [_only(each, memory=True) for each in made[: len(values)]],
        Path(arguments.out) / made[0].settings.name,
        stem=f"rehearsal-size-{made[0].settings.order}",
        values=[str(size) for size in values],
        setting="exemplars of every class",
        level=level[0] if level else None,
    )


def keepers(settings: Settings) -> tuple[str, ...]:
    """The rows that keep exemplars."""
    return tuple(name for name in settings.systems if SYSTEMS[name].memory)


def without_memory(settings: Settings) -> tuple[str, ...]:
    """The rows that keep none: those that are named, else what learns in closed form."""
    rows = [name for name in settings.systems if not SYSTEMS[name].memory]
    if {*settings.systems} == {*systems_of(settings.kind)}:
        rows = [name for name in rows if SYSTEMS[name].trains == "nothing"]
    return tuple(rows)


def _only(made: Made, *, memory: bool) -> Made:
    """Leave out what other tables of the same settings brought, as systems of a plugin may be."""
    rows = {name for name, system in SYSTEMS.items() if system.memory is memory}
    return replace(made, records=tuple(each for each in made.records if each.system in rows))


def problems(settings: Settings, arguments: argparse.Namespace, given: Set[str]) -> Sequence[str]:
    """Settings under which sizes of the memory cannot be compared."""
    wrong = []
    if any(not text.strip().isdecimal() for text in arguments.sizes):
        wrong.append(f"--sizes must be whole numbers of 0 or more, got {' '.join(arguments.sizes)}")
    if not keepers(settings):
        wrong.append(f"none of {list(settings.systems)} keeps exemplars; name one that does")
    if len(settings.orders) > 1:
        found = list(settings.orders)
        wrong.append(f"one order at a time, got {found}; name one, as in --orders {found[0]}")
    if settings.exemplars is None:  # else the settings have said so
        wrong += own_budgets(settings, SCRIPT.known(), "--sizes are the budgets of all")
    return wrong


def sizes(arguments: argparse.Namespace) -> list[int]:
    """The sizes, each once, in order."""
    return sorted({int(text) for text in arguments.sizes})


SCRIPT = Script(
    "rehearsal_size.py",
    str(__doc__),
    configs=CONFIGS,
    scenario="imre",
    more=lambda parser: parser.add_argument(
        "--sizes",
        nargs="+",
        default=["2", "6", "10"],
        metavar="N",
        help="exemplars of every class (2 6 10)",
    ),
    own={"exemplars": "give the sizes as in --sizes 2 6 10"},
    check=problems,
    variants=variants,
    finish=finish,
)

if __name__ == "__main__":
    sys.exit(main(SCRIPT))
