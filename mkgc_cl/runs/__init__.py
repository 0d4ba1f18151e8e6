"""Making runs: each once, each safely on disk, in one process, several, or a cluster.

What they leave is read by :mod:`mkgc_cl.results`, which knows nothing of this package.
"""

from mkgc_cl.runs.grid import GridResult, RunFailure, run_grid
from mkgc_cl.runs.run import Run

__all__ = ["GridResult", "Run", "RunFailure", "run_grid"]
