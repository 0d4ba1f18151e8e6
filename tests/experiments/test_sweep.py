"""Sweeps: which rows and seeds they show, what they say of them, and how they compare them."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from mkgc_cl.experiments.imre import SCRIPT
from mkgc_cl.experiments.pipeline import sweep
from mkgc_cl.experiments.pipeline.settings import (
    Encoders,
    Settings,
    StreamSettings,
    TrainingSettings,
)
from mkgc_cl.metrics import Counts, ResultMatrix
from mkgc_cl.results import RunRecord

Write = Callable[..., str]
SIX = range(6)


def record(
    system: str, seed: int, right: int | None, *, exemplars: int = 1, order: str = "default"
):
    matrix = ResultMatrix(1)
    counts = Counts() if right is None else Counts(right, 100, 100)
    matrix.record("test", after=0, on=0, counts=counts)
    return RunRecord.from_matrix(
        matrix,
        system=system,
        scenario="demo-ner",
        order=order,
        seed=seed,
        tasks=["T1"],
        seconds=1.0,
        config={"exemplars": exemplars},
        provenance={"reads_images": True, "stream": {"synthetic stream": True}},
    )


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list:
    """Drawing stood in for: what would have been drawn."""
    calls: list = []
    monkeypatch.setattr(
        sweep, "draw_sweep", lambda series, stem, **more: calls.append((series, more))
    )
    return calls


@pytest.fixture
def write(drawn: list, tmp_path: Path, capsys) -> Write:
    """A function that writes a sweep of these columns and returns its text, unwrapped."""
    settings = Settings(
        stream=StreamSettings(task="ner"),
        encoders=Encoders(),
        training=TrainingSettings(epochs=3),
        options={"EMR": {"weight": 7}},
    )

    def run(*columns, systems=("EMR", "MSPT"), reference="MSPT") -> str:
        chosen = dataclasses.replace(settings, systems=systems, reference=reference)
        made = [
            SimpleNamespace(
                settings=dataclasses.replace(chosen, exemplars=each[0].config["exemplars"])
                if each
                else chosen,
                plan=SimpleNamespace(rows=SCRIPT.known()),
                out=Path(f"default-{n}"),
                records=tuple(each),
            )
            for n, each in enumerate(columns)
        ]
        values = [str(2 * n + 2) for n in range(len(columns))]
        sweep.write_sweep(made, tmp_path, stem="sizes", values=values, setting="exemplars")
        return " ".join(capsys.readouterr().out.split())

    return run


def column(exemplars: int, seeds=SIX, *, ours: int, theirs: int = 50) -> list:
    """A column in which EMR scores ``ours`` and MSPT ``theirs``, seed by seed more."""
    return [
        record(system, seed, right + seed, exemplars=exemplars)
        for system, right in (("EMR", ours), ("MSPT", theirs))
        for seed in seeds
    ]


def rows(folder: Path) -> list[dict[str, str]]:
    (path,) = folder.glob("sizes-*.csv")
    return list(csv.DictReader(path.read_text().splitlines()))


def test_each_column_is_compared_with_the_reference(write: Write, tmp_path: Path) -> None:
    printed = write(column(2, ours=30), column(4, ours=60))
    # all six differences have one sign: p = 2 / 64 in both columns, twice that after Holm
    assert (
        "Compared with MSPT, paired by seed: mean difference [95 % interval, Student's t]; "
        "two-sided p of that mean (sign-flip permutation test, exact, all 2^6 patterns); p "
        "corrected after Holm for the 2 tests here; * where the corrected p is below 0.05. "
        "- EMR (n = 6): at 2: -20.0 [-20.0, -20.0], p = 0.0312, corrected 0.0625; at 4: +10.0 "
        "[+10.0, +10.0], p = 0.0312, corrected 0.0625."
    ) in printed
    assert "that takes 7 pairs" in printed
    assert [row["p_corrected"] for row in rows(tmp_path)] == ["0.0625"] * 2 + [""] * 2
    printed = write(column(2, range(7), ours=30), column(4, range(7), ours=60))
    assert "32.5 ± 2.2*" not in printed  # seeds 0 to 6: mean 33
    assert "EMR 33.0 ± 2.2* 63.0 ± 2.2†*" in printed


def test_columns_of_fewer_pairs_say_so(write: Write) -> None:
    printed = write(column(2, range(2), ours=30), column(4, range(3), ours=60))
    assert "- EMR: at 2: (n = 2) -20.0 [-20.0, -20.0], n too small; at 4: (n = 3) +10.0" in printed
    assert "for the one test here" in printed
    printed = write(column(2, range(2), ours=30), column(4, range(2), ours=60))
    assert "n too small: fewer than 3 pairs are not tested." in printed
    assert "p = " not in printed


def test_a_reference_without_a_row_is_said_to_be_missing(write: Write) -> None:
    both = [record("EMR", 0, 1), record("RP-CRE", 0, 1)]
    missing = "Not compared: there is no run of MSPT at every value."
    assert missing in write(both, both, systems=("EMR", "RP-CRE"))
    assert missing in write([*both, record("MSPT", 0, 1)], both)
    assert "ompared" not in write(both[:1], both[:1])


def test_a_narrower_call_leaves_what_was_there(write: Write, drawn: list, tmp_path: Path) -> None:
    columns = column(2, ours=30), column(4, ours=60)
    whole = write(*columns)
    # what is there of the same settings joins, whatever the call asked for
    assert write(*columns, systems=("MSPT",)) == whole
    assert [row["n"] for row in rows(tmp_path)] == ["6"] * 4
    assert list(drawn[-1][0]) == ["EMR", "MSPT"]


def test_systems_without_a_run_at_every_value(write: Write, drawn: list, tmp_path: Path) -> None:
    full = [record("MSPT", 0, 1), record("EWC", 0, 1)]
    printed = write([*full[:1], record("EMR", 0, 1)], full, systems=("RP-CRE", "MSPT", "EMR"))
    assert {row["system"] for row in rows(tmp_path)} == {"MSPT"}
    # EWC, of a table with the settings of the one column, was not asked for here
    assert "No row, for want of a run at every value: EMR, RP-CRE." in printed
    assert drawn[-1][0] == {"EMR": [[1.0], []], "MSPT": [[1.0], [1.0]]}
    assert "weight" not in printed


def test_a_column_that_cannot_be_measured(write: Write, drawn: list, tmp_path: Path) -> None:
    nothing = [record(system, 0, None, order="sep5") for system in ("EMR", "MSPT")]
    printed = write(nothing, [record(system, 0, 7, order="sep7") for system in ("EMR", "MSPT")])
    assert (
        "No positive test sample in T1 of sep5: what cannot be measured there is shown as - and "
        "left out of means."
    ) in printed
    assert "EMR - 7.0" in printed
    assert "- EMR (n = 1): at 4: +0.0, n too small." in printed  # and nothing at 2
    assert [row["mean"] for row in rows(tmp_path)] == ["", "7.0"] * 2
    assert drawn[-1][0]["EMR"] == [[None], [7.0]]


def test_without_any_row_nothing_is_written(write: Write, drawn: list, tmp_path: Path) -> None:
    for columns in (([], []), ([record("EMR", 0, 1)], [record("MSPT", 0, 1)])):
        assert write(*columns) == (
            "no system has finished at every value: there is no table of them yet"
        )
    assert list(tmp_path.iterdir()) == drawn == []


def test_options_of_single_systems_are_noted(write: Write) -> None:
    printed = write(column(2, ours=30), column(4, ours=60))
    assert "Options set for single systems. EMR: weight 7. Compared with" in printed


def test_the_caption_says_what_all_columns_share(write: Write) -> None:
    printed = write(column(2, [3], ours=30), column(4, [3], ours=60))
    assert printed.startswith(
        "A after the last task (%), micro-F1, against exemplars. demo-ner, order default, n = 1, "
        "seed 3, encoders tiny + tiny, 3 epochs per task, images drawn, SYNTHETIC DATA, not a "
        "result on the paper's benchmark"
    )
    same = column(6, [3], ours=30)
    assert "3 epochs per task, 6 exemplars of every class and of N/A, images" in write(same, same)
    orders = [[record("MSPT", 0, 1, order=name)] for name in ("sep5", "sep10")]
    assert "demo-ner, n = 1, seed 0, encoders" in write(*orders)


@pytest.mark.parametrize(
    ("columns", "words", "title"),
    [
        ((column(2, [0, 1], ours=1), column(4, [0, 1], ours=1)), "n = 2, seeds 0 1", "2 seeds"),
        (
            (column(2, [0, 1], ours=1), column(4, [0, 1], ours=1), column(6, [0, 1, 2], ours=1)),
            "n differs, seeds 0 1, but at 6: 0 1 2",
            "2 to 3 seeds",
        ),
        (
            (column(2, [0, 1], ours=1)[:3], column(4, [1], ours=1), column(6, [1], ours=1)),
            "n differs, seeds 1, but EMR at 2: 0 1; MSPT at 2: 0",
            "1 to 2 seeds",
        ),
        (
            [[record("EMR", 0, 1), *(record("MSPT", s, 1) for s in (0, 1))]] * 3,
            "n differs, seeds 0, but MSPT: 0 1",
            "1 to 2 seeds",
        ),
    ],
)
def test_seeds_are_those_of_the_rows(write: Write, drawn: list, columns, words, title) -> None:
    # a system without a row has no say
    printed = write([*columns[0], record("RP-CRE", 9, 1)], *columns[1:])
    assert f", {words}, encoders" in printed
    assert drawn[-1][1]["title"] == f"demo-ner, {title}"


def test_over_several_orders_what_cannot_be_measured_is_in_no_mean(tmp_path: Path, capsys) -> None:
    """In one order the first of two tasks has no positive to find, in another neither has."""
    settings = Settings(systems=("EMR",), reference="MSPT")
    made = []
    for order, first, second in (("sep5", None, 40), ("sep7", 80, 40), ("sep9", None, None)):
        matrix = ResultMatrix(2)
        for after, on, right in ((0, 0, first), (1, 0, first), (1, 1, second)):
            counts = Counts() if right is None else Counts(right, 100, 100)
            matrix.record("test", after=after, on=on, counts=counts)
        run = RunRecord.from_matrix(
            matrix,
            system="EMR",
            scenario="imre",
            order=order,
            seed=0,
            tasks=["T1", "T2"],
            seconds=1.0,
        )
        plan = SimpleNamespace(rows=SCRIPT.known())
        made.append(SimpleNamespace(settings=settings, plan=plan, out=Path(order), records=(run,)))
    sweep.write_orders(made, tmp_path)
    printed = " ".join(capsys.readouterr().out.split())
    # final A 40 and 60; A of sep5 is nothing and 40, of sep7 80 and 60; of sep9 there is nothing
    assert "EMR 50.0 ± 14.1 55.0 ± 21.2" in printed
    assert "No positive test sample in T1 of sep5; T1, T2 of sep9: " in printed
