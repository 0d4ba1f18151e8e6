"""Table 2: A_k of every system on IMNER in both orders of the types, beside the paper's rows.

    python experiments/imner.py --quick                     the synthetic stream, every row
    python experiments/imner.py --data DATA                 real samples, blank images, both orders
    python experiments/imner.py --data DATA --orders PER-LOC-ORG-MISC --systems Vanilla MSPT

Finished runs are kept and not repeated: the same command resumes where it was stopped.
"""

from __future__ import annotations

import sys

from mkgc_cl.experiments.imre import CONFIGS
from mkgc_cl.experiments.pipeline.cli import Script, main

SCRIPT = Script("imner.py", str(__doc__), configs=CONFIGS, scenario="imner")

if __name__ == "__main__":
    sys.exit(main(SCRIPT))
