"""From one prior to another, against Bayes' rule."""

from __future__ import annotations

import torch

from mkgc_cl.objectives.prior import prior_shift


def test_it_is_bayes_rule() -> None:
    """p(y | x) is proportional to p'(y | x) pi_y / pi'_y."""
    source = torch.Generator().manual_seed(3)
    likelihood = torch.rand(5, 3, generator=source, dtype=torch.float64)  # p(x | y)
    balanced, counts = torch.tensor([4.0, 4.0, 4.0]), torch.tensor([90.0, 6.0, 4.0])
    learnt = (likelihood * balanced).log()
    wanted = (likelihood * counts).log().log_softmax(dim=1)
    assert torch.allclose((learnt + prior_shift(counts, balanced)).log_softmax(dim=1), wanted)


def test_classes_that_only_one_has_are_left_alone() -> None:
    shift = prior_shift(torch.tensor([8, 2, 5, 0]), torch.tensor([1, 1, 0, 3]), tau=2.0)
    expected = torch.tensor([2.56, 0.16, 1.0, 1.0], dtype=torch.float64)  # (8/10 : 1/2)^2, ...
    assert torch.allclose(shift.exp(), expected)


def test_nothing_is_shifted_where_both_agree_or_nothing_was_held() -> None:
    counts = torch.tensor([3, 1])
    assert prior_shift(counts, 2 * counts).abs().max() < 1e-12
    assert prior_shift(counts, torch.zeros(2)).tolist() == [0.0, 0.0]
