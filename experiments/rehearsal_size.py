"""Figure 5: A after the last task against the number of exemplars of every class.

    python experiments/rehearsal_size.py --quick                     the synthetic stream
    python experiments/rehearsal_size.py --data DATA --sizes 2,6,10  real IMRE samples, blank images

By default every system that keeps exemplars. Runs that are finished are kept and not made again,
and are shared with the tables of the same settings.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path

from mkgc_cl.experiments.table_cli import Script, main, run_variants
from mkgc_cl.experiments.table_run import Made
from mkgc_cl.experiments.table_settings import TableSettings
from mkgc_cl.experiments.table_sweep import write_sweep
from mkgc_cl.systems import SYSTEMS


def run_sizes(
    settings: TableSettings, arguments: argparse.Namespace, command: Sequence[str]
) -> list[Made]:
    """Run the table once for every size of the memory."""
    rows = keepers(settings)
    sizes = arguments.sizes
    variants = [replace(settings, systems=rows, exemplars=size) for size in sizes]
    made = run_variants(variants, arguments, command)
    write_sweep(
        made,
        Path(arguments.out) / settings.name,
        stem=f"rehearsal-size-{made[0].settings.order}",
        values=[str(size) for size in sizes],
        setting="exemplars of every class",
    )
    return made


def keepers(settings: TableSettings) -> tuple[str, ...]:
    """The rows that keep exemplars."""
    return tuple(name for name in settings.rows if SYSTEMS[name].memory)


def problems(
    settings: TableSettings, arguments: argparse.Namespace, given: Set[str]
) -> Sequence[str]:
    """Settings under which sizes of the memory cannot be compared."""
    wrong = []
    if not keepers(settings):
        wrong.append(f"none of {list(settings.rows)} keeps exemplars; name one that does")
    if len(settings.orders) > 1:
        found = list(settings.orders)
        wrong.append(f"one order at a time, got {found}; name one, as in --orders {found[0]}")
    if settings.exemplars is None:  # else the settings have said so
        wrong += settings.own_budgets("--sizes are the budgets of all")
    return wrong


def numbers(text: str) -> list[int]:
    """Read whole numbers of 0 or more from "2,6,10"; argparse reports what is none."""
    sizes = sorted({int(size) for size in text.split(",")})
    if sizes[0] < 0:
        raise ValueError(f"a memory of {sizes[0]}")
    return sizes


SCRIPT = Script(
    "rehearsal_size.py",
    str(__doc__),
    config="table-imre",
    quick="table-imre-quick",
    more=lambda parser: parser.add_argument(
        "--sizes",
        type=numbers,
        default=[2, 6, 10],
        metavar="N,N",
        help="exemplars of every class (2,6,10)",
    ),
    own={"exemplars": "give the sizes as in --sizes 2,6,10"},
    check=problems,
)

if __name__ == "__main__":
    sys.exit(main(SCRIPT, run=run_sizes))
