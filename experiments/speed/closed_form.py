"""What learning in closed form costs beside the encoder: time by step, and memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from mkgc_cl.experiments.speed.tables import aligned
from mkgc_cl.inference.speed import timed
from mkgc_cl.models import GaussianOptions, GaussianReadout
from mkgc_cl.seeds import generator

SAMPLES = 1000
SIZES = ((21, 1024), (21, 4096), (1000, 1024), (1000, 4096))
"""Numbers of classes and of features."""
COLUMNS = {
    "classes": "classes",
    "width": "features",
    "learn_s": "learn 1,000 (s)",
    "solve_s": "solve (s)",
    "score_s": "score 1,000 (s)",
    "merge_s": "merge (s)",
    "class_s": "one more class (s)",
    "statistics_mb": "statistics (MB)",
}


def measure_closed_form(
    sizes: Sequence[tuple[int, int]] = SIZES,
) -> tuple[dict[str, list[dict[str, Any]]], str]:
    """Measure a readout of every size on drawn features.

    Returns:
        The report and its text. Of each size: ``classes``, ``width``; seconds to learn 1,000
        samples, to solve, to score 1,000 samples, to merge another readout, and to bring one more
        class (20 samples, and solving anew); megabytes of the statistics.
    """
    found = [_measured(classes, width) for classes, width in sizes]
    table = aligned(tuple(COLUMNS.values()), ([each[key] for key in COLUMNS] for each in found))
    return {"closed_form": found}, "\n".join(table) + "\n"


def _measured(classes: int, width: int) -> dict[str, Any]:
    source = generator(0, f"closed-form/{classes}/{width}")
    rows = torch.randn(SAMPLES, width, generator=source)
    # the last class comes later
    labels = torch.randint(classes - 1, (SAMPLES,), generator=source)
    names = [str(name) for name in range(classes)]
    one, other = (
        GaussianReadout(names, width=width, options=GaussianOptions(shrinkage=0.3))
        for _ in range(2)
    )
    other.add(rows[:100], labels[:100])
    late = torch.full((20,), classes - 1)

    def another() -> None:
        one.add(rows[:20], late)
        one.log_posterior(rows[:1])

    steps: dict[str, Callable[[], object]] = {
        "learn_s": lambda: one.add(rows, labels),
        "solve_s": lambda: one.log_posterior(rows[:1]),
        "score_s": lambda: one.log_posterior(rows),
        "merge_s": lambda: one.merge(other),
        "class_s": another,
    }
    seconds = {name: timed(step)[1] for name, step in steps.items()}  # in this order
    held = sum(tensor.nbytes for tensor in (one.counts, one.means, one.scatter))
    return {"classes": classes, "width": width, **seconds, "statistics_mb": held / 1e6}
