"""Confidence, by hand and against closed forms."""

from __future__ import annotations

import math

import pytest

from mkgc_cl.errors import DataError
from mkgc_cl.metrics import Counts
from mkgc_cl.metrics.calibration import (
    Bin,
    abstention_curve,
    expected_calibration_error,
    fitted_temperature,
    negative_log_likelihood,
    reliability,
)


@pytest.mark.parametrize(("margin", "hits"), [(3.0, 3), (0.2, 3), (50.0, 9)])
def test_a_temperature_makes_confidence_accuracy(margin: float, hits: int) -> None:
    """Equal margins m, right q of the time: sigmoid(m / T) = q at the least likelihood."""
    labels = [{0}] * hits + [{1}]
    share = hits / len(labels)
    found = fitted_temperature([[margin, 0.0]] * len(labels), labels)
    assert found == pytest.approx(margin / math.log(share / (1 - share)), rel=1e-5)


def test_temperature_is_blind_to_what_a_label_leaves_open() -> None:
    """Of three classes two are open: the model of two, their exponentials summed."""
    scores = [[2.0, 1.0, 0.0], [0.0, 0.0, 4.0]]
    expected = -(
        math.log((math.e**2 + 1) / (math.e**2 + math.e + 1)) + math.log(math.e**4 / (2 + math.e**4))
    )
    found = negative_log_likelihood(scores, [{0, 2}, {2}], temperature=1.0)
    assert found == pytest.approx(expected / 2)
    assert negative_log_likelihood(scores, [{0, 1, 2}] * 2, temperature=0.3) == pytest.approx(0)


def test_always_right_is_as_sure_as_may_be_and_nothing_is_an_error() -> None:
    assert fitted_temperature([[1.0, 0.0]] * 3, [{0}] * 3) == pytest.approx(0.01, rel=1e-3)
    with pytest.raises(DataError, match="no validation sample"):
        fitted_temperature([], [])


def test_bins_by_hand() -> None:
    bins = reliability([0.05, 0.95, 0.91, 1.0, 0.5], [False, True, False, True, True])
    assert [each.n for each in bins] == [1, 0, 0, 0, 0, 1, 0, 0, 0, 3]
    assert bins[9].accuracy == pytest.approx(2 / 3)
    assert bins[9].confidence == pytest.approx((0.95 + 0.91 + 1) / 3)
    assert math.isnan(bins[1].accuracy)
    wanted = (0.05 + 3 * abs(2 / 3 - 2.86 / 3) + 0.5) / 5
    assert expected_calibration_error(bins) == pytest.approx(wanted)
    assert expected_calibration_error([Bin(2, 0.5, 0.5)]) == 0
    assert math.isnan(expected_calibration_error(reliability([], [])))


def test_abstaining_by_hand() -> None:
    hit, miss, none = Counts(1, 1, 1), Counts(0, 1, 1), Counts(0, 0, 0)
    curve = abstention_curve([0.2, 0.9, 0.9, 0.99], [miss, hit, miss, none])
    assert curve[0][0] == 0.25
    assert math.isnan(curve[0][1])  # nothing to find yet
    # the two of equal confidence come together
    assert curve[1:] == ((0.75, 0.5), (1.0, pytest.approx(1 / 3)))
