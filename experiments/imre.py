"""Table 1: A_1 .. A_10 of every system on IMRE, beside the paper's rows, and Figure 1.

    python experiments/imre.py --quick                      the synthetic stream, every row
    python experiments/imre.py --data DATA                  real samples, blank images
    python experiments/imre.py --data DATA --systems Vanilla EWC MSPT --seeds 0 1 2 --jobs 2
    python experiments/imre.py --quick MSPT.alpha=0.1 EWC.weight=10

Finished runs are kept and not repeated: the same command resumes where it was stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from mkgc_cl.experiments.pipeline.cli import Script, main

CONFIGS: Mapping[str, str] = {
    "imre": "table-imre",
    "imner": "table-imner",
    "files": "table-files",
    "demo-re": "table-imre-quick",
    "demo-ner": "table-imner-quick",
}
"""Settings of the tables of systems, by scenario."""

SCRIPT = Script("imre.py", str(__doc__), configs=CONFIGS, scenario="imre")

if __name__ == "__main__":
    sys.exit(main(SCRIPT))
