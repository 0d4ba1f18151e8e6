"""Figure 3: U_k, the score on the task just learnt, after each task.

    python experiments/plasticity.py --quick          the synthetic stream
    python experiments/plasticity.py --data DATA      real IMRE samples, blank images

The runs are those of imre.py (or with --scenario imner of imner.py) and are shared with it.
"""

from __future__ import annotations

import sys

from mkgc_cl.experiments.imre import CONFIGS
from mkgc_cl.experiments.pipeline.cli import Script, main
from mkgc_cl.experiments.pipeline.run import Made


def shown(made: Made) -> str:
    """The table of U_k of an order, and where its figure is."""
    if not made.records:
        return ""
    return f"{made.tables['U']}figure: {made.out / 'figures' / 'U.png'}\n"


SCRIPT = Script("plasticity.py", str(__doc__), configs=CONFIGS, scenario="imre", show=shown)

if __name__ == "__main__":
    sys.exit(main(SCRIPT))
