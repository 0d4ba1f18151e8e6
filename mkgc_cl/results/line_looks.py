"""How the lines of many systems are told apart: without colour, and without a legend."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mkgc_cl.systems import UPPER_BOUNDS

# Every line has a marker and a dash that no other one has, and its name beside its end: nothing
# depends on colour. Dashes alone ("--") belong to upper bounds.
DASHES: tuple[Any, ...] = ("-", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)), (0, (3, 1, 1, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
COLORS = ("#0072B2", "#B04A00", "#00785A", "#A0527F", "#8A6500", "#3A7CA5", "#555555")
LABEL_HEIGHT = 0.17
"""Inches from one name beside a figure to the next."""


class Look(NamedTuple):
    """How a line is drawn, in matplotlib's words, and the weight of its name."""

    line: dict[str, Any]
    weight: str = "normal"
    layer: int = 3


def line_looks(means: Mapping[str, Sequence[float]], reference: str | None) -> dict[str, Look]:
    """Return how each system's line is drawn; no two have the same dash and marker."""
    averages = {
        system: statistics.fmean(known)
        for system, each in means.items()
        if (known := [mean for mean in each if not math.isnan(mean)])
        and system != reference
        and system not in UPPER_BOUNDS
    }
    best = max(averages, key=averages.__getitem__) if len(averages) > 1 else None
    looks = {}
    for number, system in enumerate(means):
        line: dict[str, Any] = {
            "color": COLORS[number % len(COLORS)],
            "linestyle": DASHES[number % len(DASHES)],
            "linewidth": 1.1,
            # its step has no factor in common with that of dashes: 66 pairs before one returns
            "marker": _MARKERS[number % len(_MARKERS)],
            "ms": 4.0,
        }
        if system in UPPER_BOUNDS:
            line |= {"color": "#444444", "linestyle": "--", "linewidth": 1.4}
            looks[system] = Look(line, layer=4)
        elif system == reference:
            line |= {"color": "#000000", "linestyle": "-", "linewidth": 2.6, "ms": 6.0}
            looks[system] = Look(line, "bold", 6)
        elif system == best:
            looks[system] = Look(line | {"linewidth": 2.2, "ms": 5.5}, "bold", 5)
        else:
            looks[system] = Look(line)
    return looks


def name_lines(
    axes: Any, means: Mapping[str, Sequence[float]], looks: Mapping[str, Look], *, gap: float
) -> None:
    """Write every system's name to the right, as near to the end of its line as there is room."""
    top = axes.get_ylim()[1]
    ends = {}
    for system, mean in means.items():
        known = [(place, value) for place, value in enumerate(mean, 1) if not math.isnan(value)]
        ends[system] = known[-1] if known else (len(mean), 0.0)
    order = sorted(ends, key=lambda system: ends[system][1])
    heights = _spread([ends[system][1] / top for system in order], gap)
    right = max(len(mean) for mean in means.values()) + 0.2
    beside = {"transform": axes.transAxes}
    arrow = {"arrowstyle": "-", "color": "0.7", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4}
    for system, height in zip(order, heights, strict=True):
        look, (place, value) = looks[system], ends[system]
        axes.annotate(
            "",
            (place, value / top),
            (1.03, height),
            xycoords=("data", "axes fraction"),
            textcoords="axes fraction",
            arrowprops=arrow,
            annotation_clip=False,
            zorder=1,
        )
        key = {"markevery": [1], "clip_on": False, "label": f"_{system}"}
        axes.plot([1.035, 1.11], [height, height], **beside, **look.line, **key)
        name = {"va": "center", "fontsize": 8, "fontweight": look.weight}
        axes.text(1.13, height, verbatim(system), **beside, **name)
    axes.set_xlim(right=right)


def _spread(heights: Sequence[float], gap: float) -> list[float]:
    """Move rising heights apart until each two have ``gap`` between them, within 0 and 1.

    Those that are too near share the room about their middle: less the gaps, the nearest heights
    that do not fall.

    >>> _spread([0.5, 0.5, 0.9], 0.25)
    [0.375, 0.625, 0.9]
    """
    from scipy.optimize import isotonic_regression

    room = max(0.0, 1 - gap * (len(heights) - 1))
    free = isotonic_regression([height - gap * n for n, height in enumerate(heights)]).x
    return [min(max(0.0, float(low)), room) + gap * n for n, low in enumerate(free)]


def verbatim(text: str) -> str:
    """Keep ``$`` from beginning a formula."""
    return text.replace("$", r"\$")
