"""``python experiments/speed``, ``python -m mkgc_cl.experiments.speed``, ``mkgc speed``."""

from __future__ import annotations

import sys

from mkgc_cl.experiments.speed.cli import main

if __name__ == "__main__":
    sys.exit(main())
