"""Figure 4: the contribution ratio gamma over training steps, with and without modulation.

    python experiments/imbalance.py --quick                            the demonstration
    python experiments/imbalance.py --scenario imner --data DATA       real posts, blank images

The runs are rows "full" and "w/o GM" of ablation.py, whose flags and settings it takes, and are
shared with it. Prints how far each is from balance, where gamma is 1.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Sequence

import ablation

from mkgc_cl.errors import MkgcError
from mkgc_cl.results import CellRecord

ROWS = ("full", "w/o GM")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment; return the exit code of ``ablation.py``."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if "--help" in argv or "-h" in argv:
        sys.stdout.write(f"{__doc__}\nFlags and settings of ablation.py:\n\n")
    # of ablation.py the demonstration is the default: --quick says so, and no more
    arguments = ablation.parse([a for a in argv if a != "--quick"] + ["--systems", *ROWS])
    try:
        variants = ablation.settings_of_orders(arguments)
        command = ["python", "experiments/imbalance.py", *argv]
        made = [ablation.execute(settings, arguments, command) for settings in variants]
    except MkgcError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; the same command goes on from here\n")
        return ablation.INTERRUPTED
    for settings, (out, result) in zip(variants, made, strict=True):
        sys.stdout.write(f"\n{settings.scenario}, {settings.order}")
        sys.stdout.write(summary(result.records) + f"figure: {out / 'figures' / 'gamma.png'}\n")
    return max(result.exit_code for _, result in made)


def summary(records: Sequence[CellRecord]) -> str:
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


if __name__ == "__main__":
    sys.exit(main())
