"""Whether a model is as sure as it is right: temperature, calibration error, abstention."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mkgc_cl.errors import DataError
from mkgc_cl.metrics.counts import Counts

_GOLDEN = (math.sqrt(5) - 1) / 2
_WIDEST = math.log(100)
_STEPS = 40
"""Narrow the search to 1e-8 of its width."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Decisions of like confidence.

    Args:
        n: how many.
        confidence: their mean confidence, in [0, 1]; NaN without any.
        accuracy: share of them that is right, in [0, 1]; NaN without any.
    """

    n: int
    confidence: float
    accuracy: float


def negative_log_likelihood(
    scores: Sequence[Sequence[float]], labels: Sequence[Collection[int]], *, temperature: float
) -> float:
    r"""Mean of :math:`-\log \sum_{c \in S_i} \mathrm{softmax}(z_i / T)_c`.

    Args:
        scores: (N, C) logits z, at least one row.
        labels: of every row the classes S that its label leaves open: one, or several where a label
            says only what it is not (``O`` of a task that names its own types alone).
        temperature: T, above 0.
    """
    total = 0.0
    for row, open_ in zip(scores, labels, strict=True):
        scaled = [score / temperature for score in row]
        total += _log_sum(scaled) - _log_sum([scaled[index] for index in open_])
    return total / len(scores)


def fitted_temperature(
    scores: Sequence[Sequence[float]], labels: Sequence[Collection[int]]
) -> float:
    """Return the temperature in [0.01, 100] of least :func:`negative_log_likelihood`.

    Guo et al., ICML 2017: one number, fitted on validation; no decision changes by it. By golden
    section over its logarithm.

    Raises:
        DataError: there is no row to fit on.
    """
    if not scores:
        raise DataError("no validation sample to fit a temperature on; give some")

    def cost(logarithm: float) -> float:
        return negative_log_likelihood(scores, labels, temperature=math.exp(logarithm))

    low, high = -_WIDEST, _WIDEST
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = cost(left), cost(right)
    for _ in range(_STEPS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = cost(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = cost(right)
    return math.exp((low + high) / 2)


def reliability(
    confidences: Sequence[float], right: Sequence[bool], *, bins: int = 10
) -> tuple[Bin, ...]:
    """Cut [0, 1] into equal parts and compare confidence with accuracy in each.

    >>> [found] = [each for each in reliability([0.62, 0.68], [True, False]) if each.n]
    >>> found.n, round(found.confidence, 2), found.accuracy
    (2, 0.65, 0.5)

    Args:
        confidences: (N,) in [0, 1].
        right: (N,).
        bins: how many.
    """
    held: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for confidence, hit in zip(confidences, right, strict=True):
        held[min(int(confidence * bins), bins - 1)].append((confidence, hit))
    return tuple(
        Bin(
            len(part),
            sum(confidence for confidence, _ in part) / len(part) if part else math.nan,
            sum(hit for _, hit in part) / len(part) if part else math.nan,
        )
        for part in held
    )


def expected_calibration_error(bins: Sequence[Bin]) -> float:
    r"""Return :math:`\sum_b n_b / N \, |\mathrm{acc}_b - \mathrm{conf}_b|` in [0, 1]; NaN of none.

    >>> expected_calibration_error([Bin(3, 0.75, 1.0), Bin(1, 0.5, 0.5)])
    0.1875
    """
    total = sum(each.n for each in bins)
    if not total:
        return math.nan
    gaps = (each.n * abs(each.accuracy - each.confidence) for each in bins if each.n)
    return math.fsum(gaps) / total


def abstention_curve(
    confidences: Sequence[float], counts: Sequence[Counts]
) -> tuple[tuple[float, float], ...]:
    """Return coverage and F1 of the surest samples, ever more of them.

    Samples of equal confidence come together. A sample that is not answered counts on neither side.

    Args:
        confidences: (N,) of the samples.
        counts: (N,) what each adds to the score.

    Returns:
        Pairs of coverage, in (0, 1], and F1, NaN as long as there is no gold positive.

    >>> abstention_curve([0.9, 0.4], [Counts(1, 1, 1), Counts(0, 1, 1)])
    ((0.5, 1.0), (1.0, 0.5))
    """
    order = sorted(range(len(confidences)), key=lambda index: -confidences[index])
    total = Counts()
    curve = []
    for rank, index in enumerate(order, start=1):
        total += counts[index]
        last = rank == len(order)
        if last or confidences[order[rank]] != confidences[index]:
            curve.append((rank / len(order), total.f1))
    return tuple(curve)


def _log_sum(values: Sequence[float]) -> float:
    largest = max(values)
    return largest + math.log(math.fsum(math.exp(value - largest) for value in values))
