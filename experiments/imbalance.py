"""Figure 4: the contribution ratio gamma over training steps, with and without modulation.

    python experiments/imbalance.py --quick                            the synthetic stream
    python experiments/imbalance.py --scenario imner --data DATA       real samples, blank images

The runs are rows "full" and "w/o GM" of ablation.py, whose flags and settings it takes, and are
shared with it. Prints how far each is from balance, where gamma is 1.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Sequence

from mkgc_cl.experiments.ablation import ABLATION, CONFIGS
from mkgc_cl.experiments.pipeline.cli import Script, main
from mkgc_cl.experiments.pipeline.run import Made
from mkgc_cl.results import RunRecord

ROWS = ("full", "w/o GM")


def shown(made: Made) -> str:
    """What follows the tables of an order."""
    head = f"\n{made.settings.scenario}, {made.settings.order}"
    return f"{head}{summary(made.records)}figure: {made.out / 'figures' / 'gamma.png'}\n"


def summary(records: Sequence[RunRecord]) -> str:
    """Say how far from balance each row is: mean gamma and mean distance of log2 gamma from 0."""
    lines = ["", f"{'':<10}{'seed':>5}{'gamma':>9}{'|log2 gamma|':>14}"]
    for record in records:
        ratios = [r for r in record.traces.get("gamma", ()) if 0 < r < math.inf]
        if record.system in ROWS and ratios:
            logs = [math.log2(ratio) for ratio in ratios]
            middle = 2 ** statistics.fmean(logs)
            away = statistics.fmean(map(abs, logs))
            lines.append(f"{record.system:<10}{record.seed:>5}{middle:>9.2f}{away:>14.2f}")
    lines.append("gamma: geometric mean of text over vision, over all steps; 1 is balance")
    return "\n".join(lines) + "\n"


SCRIPT = Script(
    "imbalance.py",
    str(__doc__),
    configs=CONFIGS,
    scenario="demo-re",
    rows=ABLATION,
    default=ROWS,
    reference="full",
    own={"systems": f"it runs {' and '.join(ROWS)}; ablation.py runs other rows"},
    show=shown,
)

if __name__ == "__main__":
    sys.exit(main(SCRIPT))
