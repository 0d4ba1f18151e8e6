"""Figure 3: U_k, the score on the task just learnt, after each task.

    python experiments/plasticity.py --quick          the synthetic stream
    python experiments/plasticity.py --data DATA      real IMRE samples, blank images

The runs are those of imre.py (or with --config table-imner of imner.py) and are shared with it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mkgc_cl.experiments.table_cli import Script, main, run_variants
from mkgc_cl.experiments.table_run import Made
from mkgc_cl.experiments.table_settings import TableSettings


def run_and_show(
    settings: TableSettings, arguments: argparse.Namespace, command: Sequence[str]
) -> list[Made]:
    """Run the tables, then print those of U_k."""
    made = run_variants([settings], arguments, command)
    for each in made:
        if each.records:
            sys.stdout.write((each.out / "table-U.txt").read_text(encoding="utf-8"))
            sys.stdout.write(f"figure: {each.out / 'figures' / 'U.png'}\n")
    return made


SCRIPT = Script("plasticity.py", str(__doc__), config="table-imre", quick="table-imre-quick")

if __name__ == "__main__":
    sys.exit(main(SCRIPT, run=run_and_show))
