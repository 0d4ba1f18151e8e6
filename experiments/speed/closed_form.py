"""What learning in closed form costs beside the encoder: time by step, and memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from mkgc_cl.models import GaussianOptions, GaussianReadout
from mkgc_cl.seeds import generator

SAMPLES = 1000
SIZES = ((21, 1024), (21, 4096), (1000, 1024), (1000, 4096))
"""Numbers of classes and of features."""
COLUMNS = {
    "learn_s": "learn 1,000 (s)",
    "solve_s": "solve (s)",
    "score_s": "score 1,000 (s)",
    "merge_s": "merge (s)",
    "class_s": "one more class (s)",
    "statistics_mb": "statistics (MB)",
}


def measure_closed_form(sizes: Sequence[tuple[int, int]] = SIZES) -> list[dict[str, Any]]:
    """Measure a readout of every size on drawn features.

    Returns:
        Of each: ``classes``, ``width``; seconds to learn 1,000 samples, to solve, to score 1,000
        samples, to merge another readout, and to bring one more class (20 samples, and solving
        anew); megabytes of the statistics.
    """
    return [_measured(classes, width) for classes, width in sizes]


def closed_form_text(found: Sequence[dict[str, Any]]) -> str:
    """The same as a table."""
    heads = ("classes", "features", *COLUMNS.values())
    lines = ["  ".join(heads)]
    for each in found:
        numbers = (each["classes"], each["width"], *(f"{each[name]:.2f}" for name in COLUMNS))
        pairs = zip(numbers, heads, strict=True)
        lines.append("  ".join(str(number).rjust(len(head)) for number, head in pairs))
    return "\n".join(lines) + "\n"


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
    learn = _seconds(lambda: one.add(rows, labels))
    first = _seconds(lambda: one.log_posterior(rows[:1]))
    score = _seconds(lambda: one.log_posterior(rows))
    merge = _seconds(lambda: one.merge(other))
    late = torch.full((20,), classes - 1)

    def another() -> None:
        one.add(rows[:20], late)
        one.log_posterior(rows[:1])

    tensors = (one.counts, one.means, one.scatter)
    return {
        "classes": classes,
        "width": width,
        "learn_s": learn,
        "solve_s": first,
        "score_s": score,
        "merge_s": merge,
        "class_s": _seconds(another),
        "statistics_mb": sum(t.numel() * t.element_size() for t in tensors) / 1e6,
    }


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
