"""What the systems make of pictures and of words: the same stream with one of them taken away.

    python experiments/controls.py --quick                     the demonstration, relations
    python experiments/controls.py --quick --task ner --config table-imner-quick

Shows the mean of U_k, the score on the task just learnt: what a model reads, whatever it forgets
later. By default the four multimodal models that are fine-tuned. Runs that are finished are kept.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from experiment_settings import CONTROLS
from table_cli import Script, main, run_variants
from table_run import Made
from table_settings import TableSettings
from table_sweep import PLASTICITY, write_sweep

MODELS = ("UMT", "UMGF", "MEGA", "MKGformer")


def run_controls(
    settings: TableSettings, arguments: argparse.Namespace, command: Sequence[str]
) -> list[Made]:
    """Run the table with every control."""
    systems = settings.systems or MODELS
    variants = [
        replace(settings, stream=replace(settings.stream, control=control), systems=systems)
        for control in CONTROLS
    ]
    made = run_variants(variants, arguments, command)
    write_sweep(
        made,
        Path(arguments.out) / settings.name,
        stem="controls",
        values=[control.replace("-", " ") for control in CONTROLS],
        setting="what is taken away",
        measure=PLASTICITY,
    )
    return made


SCRIPT = Script("controls.py", str(__doc__), config="table-imre", quick="table-imre-quick")

if __name__ == "__main__":
    sys.exit(main(SCRIPT, run=run_controls))
