"""The result matrix against brute force on raw predictions, and by hand."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from mkgc_cl.errors import DataError
from mkgc_cl.metrics import Counts, IncompleteMatrixError, ResultMatrix, relation_counts


def counts_of(f1_percent: int) -> Counts:
    """Counts whose F1 is the given per cent exactly."""
    return Counts(tp=f1_percent, predicted=100, gold=100)


def filled(rows: list[list[int]]) -> ResultMatrix:
    matrix = ResultMatrix(len(rows))
    for after, row in enumerate(rows):
        for on, value in enumerate(row):
            matrix.record("test", after=after, on=on, counts=counts_of(value))
    return matrix


HAND = filled([[80], [60, 70], [65, 40, 90]])


def test_by_hand() -> None:
    assert HAND.average_f1("test") == pytest.approx([0.8, 0.65, 0.65])
    assert HAND.plasticity("test") == pytest.approx([0.8, 0.7, 0.9])
    assert HAND.mean_f1("test") == pytest.approx(0.7)
    assert HAND.final_f1("test") == pytest.approx(0.65)
    assert HAND.f1("test") == [[0.8, None, None], [0.6, 0.7, None], [0.65, 0.4, 0.9]]
    best, first = HAND.forgetting("test"), HAND.forgetting("test", reference="first")
    assert best.per_task == pytest.approx((0.15, 0.3))
    assert best.mean == pytest.approx(0.225)
    assert first.per_task == pytest.approx((0.15, 0.3))
    assert HAND.backward_transfer("test") == pytest.approx(-0.225)


def test_best_and_first_part_where_a_task_rose_before_it_fell() -> None:
    matrix = filled([[50], [80, 70], [60, 70, 90]])
    assert matrix.forgetting("test").per_task == pytest.approx((0.2, 0.0))
    first = matrix.forgetting("test", reference="first")
    assert first.per_task == pytest.approx((-0.1, 0.0))
    assert matrix.backward_transfer("test") == pytest.approx(0.05)


def counted(rows: list[list[tuple[int, int, int]]]) -> ResultMatrix:
    matrix = ResultMatrix(len(rows))
    for after, row in enumerate(rows):
        for on, counts in enumerate(row):
            matrix.record("test", after=after, on=on, counts=Counts(*counts))
    return matrix


# The second of three tasks has no positive: 12 false alarms there cost A_2 and nothing else.
GAP = counted([[(6, 10, 10)], [(8, 10, 10), (0, 12, 0)], [(3, 10, 10), (0, 0, 0), (9, 10, 10)]])


def test_a_task_without_a_positive_is_undefined_and_in_no_mean() -> None:
    nan = math.nan
    assert GAP.average_f1("test") == pytest.approx([0.6, 16 / 32, 24 / 40])
    assert GAP.mean_f1("test") == pytest.approx(1.7 / 3)
    assert GAP.plasticity("test") == pytest.approx([0.6, nan, 0.9], nan_ok=True)
    best, first = GAP.forgetting("test"), GAP.forgetting("test", reference="first")
    assert best.per_task == pytest.approx((0.8 - 0.3, nan), nan_ok=True)
    assert best.mean == pytest.approx(0.5)
    assert first.per_task == pytest.approx((0.6 - 0.3, nan), nan_ok=True)
    assert GAP.backward_transfer("test") == pytest.approx(-0.3)
    expected = [[0.6, None, None], [0.8, nan, None], [0.3, nan, 0.9]]
    for found, row in zip(GAP.f1("test"), expected, strict=True):
        assert found == pytest.approx(row, nan_ok=True)
    GAP.require_complete("test")  # undefined is not missing


def test_pooled_f1_is_undefined_until_there_is_a_positive() -> None:
    matrix = counted([[(0, 1, 0)], [(0, 0, 0), (5, 10, 10)]])
    assert matrix.average_f1("test") == pytest.approx([math.nan, 0.5], nan_ok=True)
    assert (matrix.mean_f1("test"), matrix.final_f1("test")) == (0.5, 0.5)
    assert math.isnan(matrix.forgetting("test").mean)  # of the one earlier task nothing is known
    assert math.isnan(matrix.backward_transfer("test"))
    empty = counted([[(0, 0, 0)]])
    assert math.isnan(empty.mean_f1("test"))
    assert math.isnan(empty.final_f1("test"))


@pytest.mark.slow
@given(st.integers(1, 5), st.randoms(use_true_random=False))
def test_all_measures_equal_brute_force(tasks: int, draw: random.Random) -> None:
    """Raw labels per task; every measure recomputed from scratch with scikit-learn."""
    labels = list(range(1, 2 * tasks + 1))
    gold = [draw.choices([0, 2 * t + 1, 2 * t + 2], k=6) for t in range(tasks)]
    anything = [0, *labels]
    said = [[draw.choices(anything, k=6) for _ in range(k + 1)] for k in range(tasks)]

    def f1(truth: list[int], guess: list[int]) -> float:
        if not any(truth):
            return math.nan
        return float(f1_score(truth, guess, labels=labels, average="micro", zero_division=0))

    def same(found: Sequence[float], wanted: Sequence[float]) -> bool:
        return list(found) == pytest.approx(list(wanted), nan_ok=True)

    matrix = ResultMatrix(tasks)
    for k in range(tasks):
        for j in range(k + 1):
            counts = relation_counts(said[k][j], gold[j], ignore={0})
            matrix.record("test", after=k, on=j, counts=counts)
    table = [[f1(gold[j], said[k][j]) for j in range(k + 1)] for k in range(tasks)]
    pooled = [f1(list(chain(*gold[: k + 1])), list(chain(*said[k]))) for k in range(tasks)]
    lost = [max(table[k][j] for k in range(j, tasks - 1)) - table[-1][j] for j in range(tasks - 1)]
    change = [table[-1][j] - table[j][j] for j in range(tasks - 1)]
    assert same(matrix.average_f1("test"), pooled)
    assert same(matrix.plasticity("test"), [row[-1] for row in table])
    assert same(matrix.forgetting("test").per_task, lost)
    known = [value for value in change if not math.isnan(value)]
    expected = sum(known) / len(known) if known else math.nan
    assert matrix.backward_transfer("test") == pytest.approx(expected, nan_ok=True)


def test_pooling_is_not_averaging() -> None:
    matrix = ResultMatrix(2)
    matrix.record("test", after=0, on=0, counts=Counts(1, 1, 1))
    matrix.record("test", after=1, on=0, counts=Counts(1, 1, 1))
    matrix.record("test", after=1, on=1, counts=Counts(0, 99, 99))
    assert matrix.final_f1("test") == pytest.approx(0.01)


def test_of_a_single_task_forgetting_is_undefined() -> None:
    matrix = filled([[80]])
    assert matrix.forgetting("test").per_task == ()
    assert math.isnan(matrix.forgetting("test").mean)
    assert math.isnan(matrix.backward_transfer("test"))


def test_a_run_in_progress_gives_what_it_has() -> None:
    matrix = ResultMatrix(3)
    matrix.record("test", after=0, on=0, counts=counts_of(80))
    assert matrix.average_f1("test") == [0.8]
    assert matrix.finished("test") == 1
    with pytest.raises(IncompleteMatrixError) as caught:
        matrix.require_complete("test")
    assert caught.value.missing == ((1, 0), (1, 1), (2, 0), (2, 1), (2, 2))
    assert "(after=1, on=0)" in str(caught.value)


def test_what_is_missing_is_named() -> None:
    matrix = ResultMatrix(2)
    with pytest.raises(IncompleteMatrixError, match=r"stream 'valid'.*\(after=0, on=0\)"):
        matrix.average_f1("valid")
    matrix.record("test", after=1, on=1, counts=counts_of(1))
    with pytest.raises(IncompleteMatrixError, match=r"\(after=0, on=0\), \(after=1, on=0\);"):
        matrix.average_f1("test")
    with pytest.raises(IncompleteMatrixError):
        matrix.counts("test", after=0, on=0)


def test_before_training_is_kept_apart() -> None:
    matrix = ResultMatrix(2)
    matrix.record("test", after=-1, on=1, counts=counts_of(7))
    assert matrix.before("test") == [None, 0.07]
    assert matrix.finished("test") == 0
    assert matrix.f1("test") == [[None, None], [None, None]]


@pytest.mark.parametrize(("after", "on"), [(-2, 0), (2, 0), (0, 2), (0, -1)])
def test_places_outside_are_refused(after: int, on: int) -> None:
    with pytest.raises(DataError, match="outside a matrix of 2 tasks"):
        ResultMatrix(2).record("test", after=after, on=on, counts=Counts())


def test_json_there_and_back() -> None:
    matrix = filled([[80], [60, 70]])
    matrix.record("valid", after=-1, on=0, counts=Counts(0, 1, 2))
    again = ResultMatrix.from_dict(json.loads(json.dumps(matrix.to_dict())))
    assert again == matrix
    again.record("valid", after=-1, on=0, counts=Counts(0, 1, 3))
    assert again != matrix
    assert repr(matrix) == "ResultMatrix(tasks=2, entries={'test': 3, 'valid': 1})"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"tasks": "two", "streams": {}}, "'tasks'"),
        ({"tasks": 2}, "'streams'"),
        ({"tasks": 2, "streams": {"test": [[0, 0, 1, 1]]}}, "expected .after, on, tp"),
        ({"tasks": 2, "streams": {"test": [[0, 0, 5, 1, 1]]}}, "tp=5"),
        ({"tasks": 0, "streams": {}}, "at least one task"),
    ],
)
def test_foreign_json_is_refused(data: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ResultMatrix.from_dict(data)
