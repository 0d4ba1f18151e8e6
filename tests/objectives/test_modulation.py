"""Equations (5) to (8) on numbers small enough for paper."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mkgc_cl.objectives.modulation import (
    average,
    coefficients,
    contribution,
    contribution_ratio,
    modulation_coefficient,
)

# softmax([log 1, log 3]) = [1/4, 3/4]
QUARTERS = [0.0, math.log(3.0)]
EVEN = [2.0, 2.0]


def test_contribution_by_hand() -> None:
    logits = torch.tensor([QUARTERS, QUARTERS, EVEN])
    assert math.isclose(float(contribution(logits, torch.tensor([1, 0, 1]))), 0.75 + 0.25 + 0.5,
                        rel_tol=1e-6)  # fmt: skip


def test_contribution_of_tags_leaves_ignored_positions_out() -> None:
    logits = torch.tensor([[QUARTERS, QUARTERS, EVEN], [EVEN, [math.nan] * 2, [1e9, -1e9]]])
    targets = torch.tensor([[1, 1, -100], [0, -100, -100]])
    assert math.isclose(float(contribution(logits, targets)), 0.75 + 0.75 + 0.5, rel_tol=1e-6)
    moved = targets.masked_fill(targets == -100, -1)
    assert math.isclose(float(contribution(logits, moved, ignore=-1)), 2.0, rel_tol=1e-6)


def test_contribution_among_the_outputs_seen() -> None:
    """The second of three outputs has not come, whatever its score."""
    logits = torch.tensor([[0.0, 7.0, math.log(3.0)]] * 2)
    seen = torch.tensor([0, 2])
    found = contribution(logits, torch.tensor([2, 0]), seen=seen)
    assert math.isclose(float(found), 0.75 + 0.25, rel_tol=1e-6)
    ratio = contribution_ratio(logits, logits[:, [2, 1, 0]], torch.tensor([2, 2]), seen=seen)
    assert math.isclose(ratio, 3.0, rel_tol=1e-6)


def test_contribution_of_nothing_is_zero() -> None:
    assert float(contribution(torch.randn(2, 3, 4), torch.full((2, 3), -100))) == 0.0


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 999))
def test_contribution_equals_a_loop_and_stays_in_its_range(
    rows: int, classes: int, seed: int
) -> None:
    source = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, classes, generator=source, dtype=torch.float64) * 3
    targets = torch.randint(-1, classes, (rows,), generator=source)
    total = 0.0
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        if target >= 0:
            total += math.exp(row[target]) / sum(math.exp(value) for value in row)
    found = float(contribution(logits, targets, ignore=-1))
    assert math.isclose(found, total, rel_tol=1e-9, abs_tol=1e-12)
    assert 0 <= found <= int((targets >= 0).sum()) + 1e-9


def test_ratio_by_hand() -> None:
    """Text 0.75 + 0.75, vision 0.25 + 0.5: gamma = 1.5 / 0.75 = 2."""
    text = torch.tensor([QUARTERS, QUARTERS])
    vision = torch.tensor([list(reversed(QUARTERS)), EVEN])
    targets = torch.tensor([1, 1])
    assert math.isclose(contribution_ratio(text, vision, targets), 2.0, rel_tol=1e-6)
    assert math.isclose(contribution_ratio(vision, text, targets), 0.5, rel_tol=1e-6)


def test_ratio_is_finite_where_a_stream_knows_nothing() -> None:
    sure, lost = torch.tensor([[0.0, 1e4]]), torch.tensor([[1e4, 0.0]])
    for text, vision in ((sure, lost), (lost, sure), (lost, lost)):
        ratio = contribution_ratio(text, vision, torch.tensor([1]))
        assert math.isfinite(ratio)
        assert ratio > 0
        for target in ("dominant", "paper"):
            step = coefficients(ratio, alpha=0.3, target=target)  # type: ignore[arg-type]
            assert all(0 <= value <= 1 for value in step)


def test_no_graph_hangs_on_the_ratio() -> None:
    """The released code's coefficients were not detached and held the graph."""
    text = torch.randn(2, 3, requires_grad=True)
    assert type(contribution_ratio(text, text, torch.tensor([0, 1]))) is float


@pytest.mark.parametrize(
    ("alpha", "ratio", "expected"),
    [
        (0.3, 0.5, 1.0),
        (0.3, 1.0, 1.0),  # eq. (7): strictly above 1
        (0.3, math.nextafter(1.0, 2.0), 1 - math.tanh(0.3)),  # 0.709: the step at 1
        (0.1, 1 + 1e-12, 0.9003320053750442),
        (0.1, 5.0, 0.5378828427399902),
        (0.3, 5.0, 0.09485174635513356),
        (0.0, 9.0, 1.0),
    ],
)
def test_slow_down_table(alpha: float, ratio: float, expected: float) -> None:
    """Right column from mspt.md C: 0.900 and 0.709 just above 1, 0.538 and 0.095 at 5."""
    assert math.isclose(modulation_coefficient(alpha, ratio), expected, rel_tol=1e-9)


@pytest.mark.parametrize(
    ("ratio", "target", "text", "vision"),
    [
        (2.0, "dominant", 1 - math.tanh(0.6), 1.0),
        (0.5, "dominant", 1.0, 1 - math.tanh(0.6)),
        (1.0, "dominant", 1.0, 1.0),
        (2.0, "paper", 1.0, 1 - math.tanh(0.6)),  # eq. (9): g^t multiplies the vision step
        (0.5, "paper", 1.0, 1.0),  # only the text has a coefficient
        (1.0, "paper", 1.0, 1.0),
    ],
)
def test_coefficients_table(ratio: float, target: str, text: float, vision: float) -> None:
    found = coefficients(ratio, alpha=0.3, target=target)  # type: ignore[arg-type]
    assert math.isclose(found.text, text)
    assert math.isclose(found.vision, vision)


@given(st.floats(1e-3, 1e3), st.floats(0, 2))
def test_dominant_target_treats_both_sides_alike(ratio: float, alpha: float) -> None:
    one, other = coefficients(ratio, alpha=alpha), coefficients(1 / ratio, alpha=alpha)
    assert math.isclose(one.text, other.vision, rel_tol=1e-6, abs_tol=1e-9)
    assert 1.0 in one
    assert all(0 <= value <= 1 for value in one)


@pytest.mark.parametrize(
    ("ratios", "text", "vision"),
    [
        # text leads once and vision twice: 1 - tanh(0.6) = 0.4630, 1 - tanh(0.3 / 0.8) = 0.6417
        ((2.0, 0.5, 0.8), (0.4630 + 1 + 1) / 3, (1 + 0.4630 + 0.6417) / 3),
        ((2.0, 3.0), (0.4630 + 0.2837) / 2, 1.0),  # the text leads throughout
        ((1.0,), 1.0, 1.0),
    ],
)
def test_a_mean_slows_both_where_the_lead_changes(
    ratios: tuple[float, ...], text: float, vision: float
) -> None:
    """Eq. (8) by hand, 1 - tanh(0.9) = 0.2837."""
    found = average([coefficients(ratio, alpha=0.3) for ratio in ratios])
    assert found == pytest.approx((text, vision), abs=1e-4)
    literal = average([coefficients(ratio, alpha=0.3, target="paper") for ratio in ratios])
    assert literal == pytest.approx((1.0, text), abs=1e-4)
