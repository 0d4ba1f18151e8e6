"""Reliability before and after a temperature, and F1 against coverage, side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from mkgc_cl.metrics.calibration import Bin
from mkgc_cl.results.figures import _figure, _save

STYLES = (("#1f77b4", "-", "o"), ("#d95f02", (0, (4, 2)), "s"))
"""Color, dash and marker before and after the temperature; told apart in grey too."""


def draw_confidence(
    before: Sequence[Bin],
    after: Sequence[Bin],
    curve: Sequence[tuple[float, float]],
    stem: str | Path,
    *,
    title: str,
) -> tuple[Path, Path]:
    """Draw both.

    Returns:
        Paths of the PNG and the PDF.
    """
    with _figure(width=8.0) as (figure, axes):
        axes.remove()
        left, right = figure.subplots(1, 2)
        left.plot([0, 1], [0, 1], color="#888888", linewidth=0.8)
        for number, (name, bins) in enumerate((("before", before), ("after", after))):
            color, dash, marker = STYLES[number]
            held = [each for each in bins if each.n]
            left.plot(
                [each.confidence for each in held],
                [each.accuracy for each in held],
                color=color,
                linestyle=dash,
                marker=marker,
                label=name,
            )
        left.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), title=title)
        left.legend()
        known = [(coverage, f1) for coverage, f1 in curve if not math.isnan(f1)]
        color, dash, _ = STYLES[0]
        right.plot(*zip(*known, strict=True), color=color, linestyle=dash)
        right.set(xlabel="share of samples answered", ylabel="micro-F1 of these", xlim=(0, 1))
        return _save(figure, Path(stem))
