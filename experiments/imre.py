"""Table 1: A_1 .. A_10 of every system on IMRE, beside the paper's rows, and Figure 1.

    python experiments/imre.py --quick                      the synthetic stream, every row
    python experiments/imre.py --data DATA                  real samples, blank images
    python experiments/imre.py --data DATA --systems Vanilla,EWC,MSPT --seeds 0,1,2 --jobs 2

Runs that are finished are kept and not made again: the same command goes on where it was stopped.
"""

from __future__ import annotations

import sys

from mkgc_cl.experiments.table_cli import Script, main

SCRIPT = Script("imre.py", str(__doc__), config="table-imre", quick="table-imre-quick")

if __name__ == "__main__":
    sys.exit(main(SCRIPT))
