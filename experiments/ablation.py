"""The ablation of MSPT (Table 3): what each part of the method brings, on any of the streams.

    python experiments/ablation.py --quick                            the synthetic stream, 3 seeds
    python experiments/ablation.py --scenario imner --data DATA       real samples, blank images
    python experiments/ablation.py --config ablation-imner-paper --data DATA
    python experiments/ablation.py --seeds 0 --epochs 2 MSPT.alpha=0.1
    python experiments/ablation.py --scenario imre --data DATA --orders sep5,sep10
    python experiments/ablation.py --systems full "w/o GM" "w/o GM (same rates)" "w/o GM (one rate)"

Finished runs are cached: the same command resumes where it was stopped.
One setting has one folder, <out>/<name>/<setting>: other seeds and systems join its tables.
"""

from __future__ import annotations

import sys

from mkgc_cl.experiments.pipeline.cli import Script, main
from mkgc_cl.experiments.pipeline.plan import Row

ABLATION = {
    "w/o MI": Row("MSPT", interaction="self"),
    "w/o AD": Row("MSPT", distillation=False),
    "w/o GM": Row("MSPT", modulation=False),
    "w/o GM (same rates)": Row("MSPT", rates="same rates"),
    "w/o GM (one rate)": Row("MSPT", rates="one rate"),
    "w/o MM": Row("MSPT", memory=False),
    "full": Row("MSPT"),
    "fine-tuning": Row(
        "MSPT", interaction="self", distillation=False, modulation=False, memory=False
    ),
}
"""Rows of Table 3 in its order, then plain fine-tuning of the same encoders, no part of MSPT.

Beside "w/o GM", which trains at full rates, stand its two controls at the rates of "full"; they are
no rows of the paper.
"""

CONFIGS = {
    "demo-re": "ablation-demo",
    "demo-ner": "ablation-demo-ner",
    "imner": "ablation-imner",
    "imre": "ablation-imre",
    "files": "ablation-files",
}
"""Settings of the ablation, by scenario."""

SCRIPT = Script(
    "ablation.py",
    str(__doc__),
    configs=CONFIGS,
    scenario="demo-re",
    rows=ABLATION,
    default=("w/o MI", "w/o AD", "w/o GM", "w/o MM", "full"),
    reference="full",
)

if __name__ == "__main__":
    sys.exit(main(SCRIPT))
