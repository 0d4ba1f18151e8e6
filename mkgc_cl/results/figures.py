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


def draw_curves(
    records: Sequence[RunRecord],
    stem: str | Path,
    *,
    measure: Literal["A", "U"] = "A",
    reference: str | None = None,
    pdf: bool = True,
) -> tuple[Path, Path]:
    """Draw A_k or U_k over tasks: a line per system, a band of one sample deviation over seeds.

    The system of reference and the best of the others stand out, with their bands where there are
    many systems; upper bounds are dashed. A line has a gap at a task that cannot be measured.
    ``stem`` is the path of both files, without suffix.

    Returns:
        Paths of the PNG and the PDF.

    Raises:
        DataError: if there is no record.
    """
    groups = _by_system(records)
    what = "all tasks seen" if measure == "A" else "the task just learnt"
    return _draw_lines(
        {
            system: list(zip(*(r.A if measure == "A" else r.U for r in group), strict=True))
            for system, group in groups.items()
        },
        stem,
        ticks=records[0].tasks,
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
) -> tuple[Path, Path]:
    """Draw a number against a setting: a line per system, a band of one deviation over seeds.

    ``series`` has for every value of the setting the numbers of a system's seeds: none where it did
    not run, ``None`` where one is undefined. ``stem`` is the path of both files, without suffix.

    Raises:
        DataError: if there is no system.
    """
    _require(series)
    return _draw_lines(
        series,
        stem,
        ticks=values,
        xlabel=xlabel,
        ylabel=ylabel,
        title=verbatim(title),
        reference=reference,
    )


def _draw_lines(
    series: Mapping[str, Sequence[Sequence[float | None]]],
    stem: str | Path,
    *,
    ticks: Sequence[str],
    xlabel: str,
    ylabel: str,
    title: str,
    reference: str | None,
    pdf: bool = True,
) -> tuple[Path, Path]:
    """Draw a line per system over equally spaced places, each the mean of some numbers.

    Where there is no number the line has a gap.
    """
    columns = {
        system: [[value for value in column if value is not None] for column in each]
        for system, each in series.items()
    }
    means = {
        system: [statistics.fmean(column) if column else math.nan for column in each]
        for system, each in columns.items()
    }
    looks = line_looks(means, reference)
    places = range(1, len(ticks) + 1)
    height = max(3.6, 1.0 + LABEL_HEIGHT * len(series))
    with _figure(width=2.4 + 0.7 * max(len(ticks), 5), height=height) as (figure, axes):
        for system, mean in means.items():
            look = looks[system]
            # Not clipped: the axis begins at 0, and half a marker at 0 would lie outside.
            axes.plot(
                places,
                mean,
                color=look.color,
                linestyle=look.dash,
                linewidth=look.width,
                marker=look.marker,
                ms=look.size,
                label=verbatim(system),
                clip_on=False,
                zorder=look.layer,
            )
            spread = [statistics.stdev(each) if len(each) > 1 else 0.0 for each in columns[system]]
            # more bands than a few would be one grey cloud
            if any(spread) and (len(series) <= len(COLORS) or look.layer > 3):
                low = [mean - sd for mean, sd in zip(mean, spread, strict=True)]
                high = [mean + sd for mean, sd in zip(mean, spread, strict=True)]
                axes.fill_between(places, low, high, color=look.color, alpha=0.12, linewidth=0)
        axes.set_xticks(places, map(verbatim, ticks), **_slant(ticks))
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.set_xlim(0.8, len(ticks) + 0.2)
        axes.set_ylim(bottom=0)
        figure.suptitle(title, fontsize=9)
        name_lines(axes, means, looks, gap=LABEL_HEIGHT / (height - 1.0))
        return _save(figure, Path(stem), with_pdf=pdf)


def draw_matrix(
    records: Sequence[RunRecord], stem: str | Path, *, pdf: bool = True
) -> tuple[Path, Path]:
    """Draw the score matrix of one system, mean over seeds: rows after task k, columns on task j.

    A dash stands where a task seen so far cannot be measured. ``pdf`` as in :func:`draw_curves`.

    Raises:
        DataError: if there is no record or there are several systems.
    """
    groups = _by_system(records)
    if len(groups) > 1:
        raise DataError(f"a score matrix shows one system, got {list(groups)}")
    tasks = records[0].tasks
    size = len(tasks)
    mean = [[_mean_entry(records, row, column) for column in range(size)] for row in range(size)]
    side = 1.6 + 0.55 * max(size, 4)
    with _figure(width=side + 0.8, height=side) as (figure, axes):
        # Not imshow: the PDF would hold a bitmap, with seams along the empty half.
        image = axes.pcolormesh(
            mean, cmap="Greys", vmin=0, vmax=100, edgecolors="0.85", linewidth=0.5
        )
        axes.set_aspect("equal")
        axes.invert_yaxis()
        for row, values in enumerate(mean):
            for column, value in enumerate(values):
                if column <= row or not math.isnan(value):
                    shade = "white" if value > 55 else "black"
                    axes.text(
                        column + 0.5, row + 0.5, decimal(value), ha="center", va="center",
                        color=shade, size=8,
                    )  # fmt: skip
        middles = [place + 0.5 for place in range(size)]
        axes.set_xticks(middles, map(verbatim, tasks), **_slant(tasks))
        axes.set_yticks(middles, map(verbatim, tasks))
        axes.set_xlabel("evaluated on")
        axes.set_ylabel("after training on")
        system = verbatim(records[0].system)
        figure.suptitle(f"{system}: {_title(groups, 'mean over')}", fontsize=9)
        figure.colorbar(image, ax=axes, label="micro-F1 (%)", shrink=0.8)
        return _save(figure, Path(stem), with_pdf=pdf)


def draw_gamma(
    traces: Mapping[str, Sequence[float]],
    stem: str | Path,
    *,
    boundaries: Sequence[int] = (),
    smooth: int = 0,
    title: str = "",
) -> tuple[Path, Path]:
    r"""Draw the contribution ratio :math:`\gamma^t_n = s^t / s^v` over training steps (Figure 4).

    Above 1 the text side leads, below 1 the vision side; the axis is logarithmic, so that both lie
    equally far from balance.

    Args:
        traces: label to one ratio per step, all > 0; steps that are not finite are left out.
        stem: path of the two files, without suffix.
        boundaries: steps at which a new task began.
        smooth: width in steps of the running mean that is drawn over the raw series; 0 chooses a
            fiftieth of the longest series.
        title: title of the figure.

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
    width = smooth or max(1, max(map(len, kept.values())) // 50)
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
        axes.set_xlabel("training step")
        axes.set_ylabel(r"contribution ratio $\gamma^t_n$ (text / vision)")
        figure.suptitle(verbatim(title), fontsize=9)
        figure.legend(fontsize=8, frameon=False, loc="outside lower center", ncols=len(kept))
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
    options: dict[Path, dict[str, Any]] = {
        png: {"format": "png", "dpi": DPI, "metadata": {"Software": None}}
    }
    if with_pdf:
        options[pdf] = {"format": "pdf", "metadata": nameless}
    for path, chosen in options.items():
        drawn = io.BytesIO()
        # Tight: the constrained layout cuts labels off beside axes of a fixed aspect.
        figure.savefig(drawn, bbox_inches="tight", **chosen)
        write_atomic(path, drawn.getvalue())
    return png, pdf


def _by_system(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    _require(records)
    return by_system(records)


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
    seeds = sorted({record.seed for record in records})
    sizes = sorted({len(group) for group in groups.values()})
    if sizes[-1] > 1:
        said = f"{spread} {' to '.join(map(str, dict.fromkeys((sizes[0], sizes[-1]))))} seeds"
    else:
        said = f"seed {seeds[0]}" if len(seeds) == 1 else "one seed a system"
    return verbatim(f"{records[0].scenario}, {records[0].order}, {said}")


def _mean_entry(records: Sequence[RunRecord], row: int, column: int) -> float:
    mean = mean_defined(record.matrix[row][column] for record in records)
    return math.nan if mean is None else mean


def _running_mean(values: Sequence[float], width: int) -> list[float]:
    """Centered geometric mean over up to ``width`` ratios; fewer at both ends.

    Geometric, because 2 and 1/2 are equally far from balance and must average to 1.
    """
    sums = [0.0, *accumulate(math.log(value) for value in values)]
    half, last = width // 2, len(values)
    ends = [(max(0, place - half), min(last, place + half + 1)) for place in range(last)]
    return [math.exp((sums[stop] - sums[start]) / (stop - start)) for start, stop in ends]
