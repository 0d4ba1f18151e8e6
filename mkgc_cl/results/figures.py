"""Figures of results as PNG and PDF, readable without colour; matplotlib only when one is drawn."""

from __future__ import annotations

import io
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

from mkgc_cl._files import write_atomic
from mkgc_cl.errors import DataError
from mkgc_cl.metrics.calibration import Bin
from mkgc_cl.results.line_looks import (
    COLORS,
    DASHES,
    LABEL_HEIGHT,
    line_looks,
    name_lines,
    verbatim,
)
from mkgc_cl.results.record import RunRecord, by_system
from mkgc_cl.results.undefined import decimal, mean_defined

DPI = 150
"""Pixels an inch of every PNG."""
BEFORE: dict[str, Any] = {"color": "#1f77b4", "linestyle": "-"}
AFTER: dict[str, Any] = {"color": "#d95f02", "linestyle": (0, (4, 2))}
"""Told apart in grey too."""


def draw_curves(
    records: Sequence[RunRecord],
    stem: str | Path,
    *,
    measure: Literal["A", "U"] = "A",
    reference: str | None = None,
    pdf: bool = True,
) -> tuple[Path, Path]:
    """Draw A_k or U_k over tasks, as :func:`draw_sweep` draws a number."""
    _require(records)
    groups = by_system(records)
    what = "all tasks seen" if measure == "A" else "the task just learnt"
    return draw_sweep(
        {
            system: list(zip(*(r.A if measure == "A" else r.U for r in group), strict=True))
            for system, group in groups.items()
        },
        stem,
        values=records[0].tasks,
        xlabel="task learnt last",
        ylabel=f"${measure}_k$: micro-F1 on {what} (%)",
        title=_title(groups, "band: one standard deviation over"),
        reference=reference,
        pdf=pdf,
    )


def draw_sweep(
    series: Mapping[str, Sequence[Sequence[float | None]]],
    stem: str | Path,
    *,
    values: Sequence[str],
    xlabel: str,
    ylabel: str,
    title: str = "",
    reference: str | None = None,
    pdf: bool = True,
) -> tuple[Path, Path]:
    """Draw a line per system, with a band of one sample deviation over seeds.

    The system of reference and the best of the others stand out, with their bands where there are
    many systems; upper bounds are dashed.

    Args:
        series: for every value the numbers of a system's seeds: none where it did not run, ``None``
            where one is undefined; without any the line has a gap.
        stem: path of both files, without suffix.
        values: names of the equally spaced places.
        xlabel: what they are values of; both labels may hold formulas between ``$``.
        ylabel: the number.
        title: of the figure.
        reference: the system that stands out.
        pdf: whether to write the PDF besides the PNG.

    Returns:
        Paths of the PNG and the PDF.

    Raises:
        DataError: if there is nothing to draw.
    """
    _require(series)
    columns = {
        system: [[value for value in column if value is not None] for column in each]
        for system, each in series.items()
    }
    means = {
        system: [statistics.fmean(column) if column else math.nan for column in each]
        for system, each in columns.items()
    }
    looks = line_looks(means, reference)
    places = range(1, len(values) + 1)
    height = max(3.6, 1.0 + LABEL_HEIGHT * len(series))
    with _figure(width=2.4 + 0.7 * max(len(values), 5), height=height) as (figure, axes):
        for system, mean in means.items():
            look, label = looks[system], verbatim(system)
            # Not clipped: the axis begins at 0, and half a marker at 0 would lie outside.
            axes.plot(places, mean, **look.line, label=label, clip_on=False, zorder=look.layer)
            spread = [statistics.stdev(each) if len(each) > 1 else 0.0 for each in columns[system]]
            # more bands than a few would be one grey cloud
            if any(spread) and (len(series) <= len(COLORS) or look.layer > 3):
                low = [mean - sd for mean, sd in zip(mean, spread, strict=True)]
                high = [mean + sd for mean, sd in zip(mean, spread, strict=True)]
                color = look.line["color"]
                axes.fill_between(places, low, high, color=color, alpha=0.12, linewidth=0)
        axes.set_xticks(places, map(verbatim, values), **_slant(values))
        axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(0.8, len(values) + 0.2))
        axes.set_ylim(bottom=0)
        figure.suptitle(verbatim(title), fontsize=9)
        name_lines(axes, means, looks, gap=LABEL_HEIGHT / (height - 1.0))
        return _save(figure, Path(stem), with_pdf=pdf)


def draw_matrix(
    records: Sequence[RunRecord], stem: str | Path, *, pdf: bool = True
) -> tuple[Path, Path]:
    """Draw the score matrix of one system, mean over seeds: rows after task k, columns on task j.

    A dash stands where a task seen so far cannot be measured. ``pdf`` as in :func:`draw_sweep`.

    Raises:
        DataError: if there is no record or there are several systems.
    """
    _require(records)
    groups = by_system(records)
    if len(groups) > 1:
        raise DataError(f"a score matrix shows one system, got {list(groups)}")
    tasks = records[0].tasks
    means = (
        map(mean_defined, zip(*rows, strict=True))
        for rows in zip(*(record.matrix for record in records), strict=True)
    )
    mean = [[math.nan if value is None else value for value in row] for row in means]
    side = 1.6 + 0.55 * max(len(tasks), 4)
    with _figure(width=side + 0.8, height=side) as (figure, axes):
        # Not imshow: the PDF would hold a bitmap, with seams along the empty half.
        image = axes.pcolormesh(
            mean, cmap="Greys", vmin=0, vmax=100, edgecolors="0.85", linewidth=0.5
        )
        axes.set_aspect("equal")
        axes.invert_yaxis()
        middle = {"ha": "center", "va": "center", "size": 8}
        for row, values in enumerate(mean):
            for column, value in enumerate(values):
                if column <= row or not math.isnan(value):
                    color = "white" if value > 55 else "black"
                    axes.text(column + 0.5, row + 0.5, decimal(value), color=color, **middle)
        middles = [place + 0.5 for place in range(len(tasks))]
        axes.set_xticks(middles, map(verbatim, tasks), **_slant(tasks))
        axes.set_yticks(middles, map(verbatim, tasks))
        axes.set(xlabel="evaluated on", ylabel="after training on")
        title = f"{records[0].system}: {_title(groups, 'mean over')}"
        figure.suptitle(verbatim(title), fontsize=9)
        figure.colorbar(image, ax=axes, label="micro-F1 (%)", shrink=0.8)
        return _save(figure, Path(stem), with_pdf=pdf)


def draw_gamma(
    traces: Mapping[str, Sequence[float]],
    stem: str | Path,
    *,
    boundaries: Sequence[int] = (),
    title: str = "",
) -> tuple[Path, Path]:
    r"""Draw the contribution ratio :math:`\gamma^t_n = s^t / s^v` over training steps (Figure 4).

    Above 1 the text side leads, below 1 the vision side; the axis is logarithmic, so that both lie
    equally far from balance. Over the raw series lies its running mean, a fiftieth of the longest
    one wide.

    Args:
        traces: label to one ratio per step, all > 0; steps that are not finite are left out.
        stem: as in :func:`draw_sweep`.
        boundaries: steps at which a new task began.
        title: of the figure.

    Raises:
        DataError: if no series has a point.
    """
    from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

    kept = {
        name: [(step, value) for step, value in enumerate(values) if 0 < value < math.inf]
        for name, values in traces.items()
    }
    if not any(kept.values()):
        raise DataError("no contribution ratio was recorded; nothing to draw")
    width = max(1, max(map(len, kept.values())) // 50)
    with _figure(width=7.0, height=3.4) as (figure, axes):
        for series, (name, points) in enumerate(kept.items()):
            if not points:
                continue
            color, dash = COLORS[series % len(COLORS)], DASHES[series % len(DASHES)]
            steps, values = zip(*points, strict=True)
            if width > 1:
                axes.plot(steps, values, color=color, alpha=0.18, linewidth=0.6)
            smoothed, label = _running_mean(values, width), verbatim(name)
            axes.plot(steps, smoothed, color=color, linestyle=dash, label=label)
        axes.axhline(1.0, color="0.4", linewidth=0.8)
        above = {"va": "bottom", "fontsize": 7, "color": "0.35"}
        if boundaries:  # the word once: short tasks leave room for their number only
            axes.text(0.0, 1.01, "task", transform=axes.transAxes, ha="right", **above)
        for number, step in enumerate(boundaries, 1):
            axes.axvline(step, color="0.6", linewidth=0.8, linestyle=(0, (2, 2)))
            place = axes.get_xaxis_transform()
            axes.text(step, 1.01, str(number), transform=place, ha="center", **above)
        axes.set_yscale("log")
        # Not powers of ten: ratios mostly lie so close to 1 that one or none would be in sight.
        low, high = axes.get_ylim()
        axes.yaxis.set_major_locator(MaxNLocator(6) if high < 8 * low else LogLocator(base=2))
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        ratio = r"contribution ratio $\gamma^t_n$ (text / vision)"
        axes.set(xlabel="training step", ylabel=ratio)
        figure.suptitle(verbatim(title), fontsize=9)
        figure.legend(fontsize=8, frameon=False, loc="outside lower center", ncols=len(kept))
        return _save(figure, Path(stem))


def draw_confidence(
    before: Sequence[Bin],
    after: Sequence[Bin],
    curve: Sequence[tuple[float, float]],
    stem: str | Path,
    *,
    title: str,
) -> tuple[Path, Path]:
    """Draw reliability before and after a temperature, and F1 against coverage, side by side."""
    with _figure(width=8.0) as (figure, axes):
        axes.remove()
        left, right = figure.subplots(1, 2)
        left.plot([0, 1], [0, 1], color="#888888", linewidth=0.8)
        for bins, look in (
            (before, {**BEFORE, "marker": "o", "label": "before"}),
            (after, {**AFTER, "marker": "s", "label": "after"}),
        ):
            held = [each for each in bins if each.n]
            left.plot([b.confidence for b in held], [b.accuracy for b in held], **look)
        left.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), title=title)
        left.legend()
        known = [(coverage, f1) for coverage, f1 in curve if not math.isnan(f1)]
        right.plot(*zip(*known, strict=True), **BEFORE)
        right.set(xlabel="share of samples answered", ylabel="micro-F1 of these", xlim=(0, 1))
        return _save(figure, Path(stem))


@contextmanager
def _figure(*, width: float, height: float = 3.6) -> Iterator[tuple[Any, Any]]:
    # The object interface: no pyplot, so no global list of figures and no backend is chosen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    yield figure, axes


def _save(figure: Any, stem: Path, *, with_pdf: bool = True) -> tuple[Path, Path]:
    # Not with_suffix: a stem such as "A-0.1" has no suffix to lose.
    png, pdf = stem.with_name(stem.name + ".png"), stem.with_name(stem.name + ".pdf")
    nameless = {"CreationDate": None, "Producer": None, "Creator": None}
    options: list[tuple[Path, dict[str, Any]]] = [
        (png, {"format": "png", "dpi": DPI, "metadata": {"Software": None}}),
        (pdf, {"format": "pdf", "metadata": nameless}),
    ]
    for path, chosen in options[: 1 + with_pdf]:
        drawn = io.BytesIO()
        # Tight: the constrained layout cuts labels off beside axes of a fixed aspect.
        figure.savefig(drawn, bbox_inches="tight", **chosen)
        write_atomic(path, drawn.getvalue())
    return png, pdf


def _require(shown: Sized) -> None:
    if not shown:
        raise DataError("a figure needs at least one record; no run has finished")


def _slant(names: Sequence[str]) -> dict[str, Any]:
    """Return how names stand below an axis: turned where they would run into one another."""
    if max(map(len, names)) <= 6:
        return {}
    return {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}


def _title(groups: Mapping[str, Sequence[RunRecord]], spread: str) -> str:
    records = [record for group in groups.values() for record in group]
    seeds = {record.seed for record in records}
    fewest, most = min(map(len, groups.values())), max(map(len, groups.values()))
    if most > 1:
        said = f"{spread} {fewest if fewest == most else f'{fewest} to {most}'} seeds"
    else:
        said = f"seed {seeds.pop()}" if len(seeds) == 1 else "one seed a system"
    return f"{records[0].scenario}, {records[0].order}, {said}"


def _running_mean(values: Sequence[float], width: int) -> list[float]:
    """Centered geometric mean over up to ``width`` ratios; fewer at both ends.

    Geometric, because 2 and 1/2 are equally far from balance and must average to 1.
    """
    sums = [0.0, *accumulate(math.log(value) for value in values)]
    half, last = width // 2, len(values)
    ends = [(max(0, place - half), min(last, place + half + 1)) for place in range(last)]
    return [math.exp((sums[stop] - sums[start]) / (stop - start)) for start, stop in ends]
