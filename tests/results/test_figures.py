"""Figures: files that open, lines and numbers where they belong."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import math
import os
from pathlib import Path

import pytest

from mkgc_cl.errors import DataError
from mkgc_cl.results import figures, line_looks
from mkgc_cl.systems import SYSTEMS

FULL = (((80,), (60, 70)), ((82,), (70, 70)), ((84,), (66, 72)))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list:
    """Figures as they would be saved, for a look at their artists; saving takes a second each."""
    kept: list = []
    monkeypatch.setattr(figures, "_save", lambda figure, _, **__: kept.append(figure))
    return kept


def lines_of(figure) -> list:
    """Lines of systems, without those beside their names."""
    return [line for line in figure.axes[0].lines if not line.get_label().startswith("_")]


def test_curves(make_record, tmp_path: Path, drawn: list) -> None:
    records = [make_record("full", seed, rows) for seed, rows in enumerate(FULL)]
    records.append(make_record("w/o MM", 0, ((75,), (0, 71))))
    figures.draw_curves(records, tmp_path / "A")
    (axes,) = drawn[0].axes
    first, second = lines_of(drawn[0])
    assert list(first.get_ydata()) == pytest.approx([82.0, 68.0])
    assert list(second.get_ydata()) == pytest.approx([75.0, 35.5])
    assert first.get_linestyle() != second.get_linestyle()
    assert first.get_marker() != second.get_marker()
    (band,) = axes.collections  # one seed has no band
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((68 - math.sqrt(7), 84.0))
    assert "(%)" in axes.get_ylabel()
    assert drawn[0].get_suptitle().endswith("band: one standard deviation over 1 to 3 seeds")


def test_as_many_systems_as_there_are_are_told_apart(
    make_record, tmp_path: Path, drawn: list
) -> None:
    """Without colours: by dash and marker, by weight, and by the name at the end of the line."""
    names = [*SYSTEMS, "own & $x_1$"]
    level = {name: 30 + 2 * number for number, name in enumerate(names)}
    level |= {"Joint Training": 95, "UMT": 90}
    records = [
        make_record(name, number % 2, ((level[name],),)) for number, name in enumerate(names)
    ]
    figures.draw_curves(records, tmp_path / "A", reference="MSPT")
    (axes,) = drawn[0].axes
    lines = {line.get_label(): line for line in lines_of(drawn[0])}
    assert list(lines) == [*SYSTEMS, r"own & \$x_1\$"]  # as matplotlib wants a plain dollar
    looks = {(str(line._dash_pattern), line.get_marker()) for line in lines.values()}
    assert len(looks) == len(names)
    widths = {name: line.get_linewidth() for name, line in lines.items()}
    assert sorted(widths, key=widths.__getitem__)[-2:] == ["UMT", "MSPT"]
    patterns = {name: line._unscaled_dash_pattern[1] for name, line in lines.items()}
    dashed = [name for name, dashes in patterns.items() if dashes and len(dashes) == 2]
    assert "Joint Training" in dashed
    assert all(patterns[name][0] < 2 for name in dashed if name != "Joint Training")  # dots
    shown = {text.get_text(): text for text in axes.texts if text.get_text()}
    assert shown.keys() == lines.keys()
    heights = sorted(text.get_position()[1] for text in shown.values())
    inches = (drawn[0].get_figheight() - 1) * min(
        high - low for low, high in itertools.pairwise(heights)
    )
    assert inches > 0.16  # above the height of the letters
    by_height = sorted(shown, key=lambda name: shown[name].get_position()[1])
    assert by_height[-2:] == ["UMT", "Joint Training"]
    assert drawn[0].get_suptitle().endswith("one seed a system")


def test_names_move_apart_and_no_further() -> None:
    assert line_looks._spread([0.1, 0.5, 0.9], 0.2) == [0.1, 0.5, 0.9]
    assert line_looks._spread([0.5, 0.5, 0.5], 0.1) == pytest.approx([0.4, 0.5, 0.6])
    assert line_looks._spread([0.0, 0.0, 0.15], 0.1) == pytest.approx([0.0, 0.1, 0.2])
    assert line_looks._spread([0.85, 1.0, 1.0], 0.1) == pytest.approx([0.8, 0.9, 1.0])


def test_long_names_of_tasks_do_not_run_into_one_another(
    make_record, tmp_path: Path, drawn: list
) -> None:
    names = ("person", "organisation", "miscellaneous", "creative-work")
    rows = [[50] * k for k in range(1, 5)]
    record = dataclasses.replace(make_record(rows=rows), tasks=names)
    figures.draw_matrix([record], tmp_path / "matrix")
    labels = drawn[0].axes[0].get_xticklabels()
    assert [label.get_text() for label in labels] == list(names)
    assert {label.get_rotation() for label in labels} == {30.0}


def test_a_number_against_a_setting(tmp_path: Path, drawn: list) -> None:
    series = {"RP-CRE": [[30.0, 34.0], [40.0], [50.0, 52.0]], "MSPT": [[20.0], [], [45.0]]}
    figures.draw_sweep(
        series, tmp_path / "sizes", values=["2", "6", "10"], xlabel="exemplars", ylabel="A (%)"
    )
    (axes,) = drawn[0].axes
    first, second = lines_of(drawn[0])
    assert list(first.get_xdata()) == [1, 2, 3]
    assert list(first.get_ydata()) == [32.0, 40.0, 51.0]
    assert list(second.get_ydata()) == pytest.approx([20.0, math.nan, 45.0], nan_ok=True)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2", "6", "10"]
    assert len(axes.collections) == 1  # a band only where there are several seeds
    with pytest.raises(DataError, match="no run has finished"):
        figures.draw_sweep({}, tmp_path / "none", values=[], xlabel="", ylabel="")


def test_what_cannot_be_measured_is_a_gap(make_record, tmp_path: Path, drawn: list) -> None:
    gap = ((40,), (30, None), (20, None, 90))
    records = [make_record("one", seed, gap) for seed in range(2)]
    figures.draw_curves(records, tmp_path / "U", measure="U")
    (line,) = lines_of(drawn[0])
    assert list(line.get_ydata()) == pytest.approx([40.0, math.nan, 90.0], nan_ok=True)
    figures.draw_matrix(records, tmp_path / "matrix")
    texts = [text.get_text() for text in drawn[1].axes[0].texts]
    assert texts == ["40.0", "30.0", "-", "20.0", "-", "90.0"]
    figures.draw_sweep(
        {"one": [[None], [3.0, None, 5.0]], "two": [[None], [None]]},
        tmp_path / "sweep",
        values=["2", "4"],
        xlabel="",
        ylabel="",
    )
    found = [list(line.get_ydata()) for line in lines_of(drawn[2])]
    assert found[0] == pytest.approx([math.nan, 4.0], nan_ok=True)
    assert all(map(math.isnan, found[1]))


def test_matrix(make_record, tmp_path: Path, drawn: list) -> None:
    records = [make_record("full", seed, rows) for seed, rows in enumerate(FULL)]
    figures.draw_matrix(records, tmp_path / "matrix")
    texts = [text.get_text() for text in drawn[0].axes[0].texts]
    assert texts == ["82.0", "65.3", "70.7"]  # lower triangle, mean over seeds
    with pytest.raises(DataError, match="one system"):
        figures.draw_matrix([*records, make_record("other")], tmp_path / "matrix")


def test_gamma(tmp_path: Path, drawn: list) -> None:
    traces = {"with": [2.0, 0.5, math.nan, 2.0], "without": [4.0, 4.0, 0.0, 4.0]}
    figures.draw_gamma(traces, tmp_path / "g", boundaries=[0, 2], title="t")
    axes = drawn[0].axes[0]
    assert axes.get_yscale() == "log"
    assert list(axes.lines[0].get_xdata()) == [0, 1, 3]
    assert [text.get_text() for text in axes.texts] == ["task", "1", "2"]
    with pytest.raises(DataError, match="nothing to draw"):
        figures.draw_gamma({"with": []}, tmp_path / "g")


@pytest.mark.parametrize("width", [1, 2, 3, 5, 50])
def test_running_mean_equals_a_loop(width: int) -> None:
    values = [1.0, 2.0, 0.5, 8.0, 4.0, 0.1]
    found = figures._running_mean(values, width)
    for place, value in enumerate(found):
        part = values[max(0, place - width // 2) : place + width // 2 + 1]
        assert value == pytest.approx(math.prod(part) ** (1 / len(part)))


@pytest.mark.slow
def test_figures_are_the_same_bytes_twice(make_record, tmp_path: Path) -> None:
    one = figures.draw_curves([make_record()], tmp_path / "new" / "A-0.1")
    two = figures.draw_curves([make_record()], tmp_path / "b")
    assert one == (tmp_path / "new" / "A-0.1.png", tmp_path / "new" / "A-0.1.pdf")
    png, pdf = (path.read_bytes() for path in one)
    assert (png[:4], pdf[:4]) == (b"\x89PNG", b"%PDF")
    assert [path.read_bytes() for path in two] == [png, pdf]


@pytest.mark.slow
def test_a_figure_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gamma.png", "gamma.pdf"):
        (tmp_path / name).write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=r"No space left.*gamma\.png"):
        figures.draw_gamma({"full": [1.0, 2.0]}, tmp_path / "gamma")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {
        "gamma.png": b"old",
        "gamma.pdf": b"old",
    }


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no run has finished"):
        figures.draw_curves([], tmp_path / "a")
    with pytest.raises(DataError, match="no run has finished"):
        figures.draw_matrix([], tmp_path / "a")
