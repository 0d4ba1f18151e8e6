"""Means that move along: by hand, and against the sum written out."""

from __future__ import annotations

import math

import pytest
import torch

from mkgc_cl.errors import DataError
from mkgc_cl.models.gaussian.drift import drifted_means


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_it_is_the_sum_of_the_paper() -> None:
    means, before, after = drawn(2, 3, seed=1), drawn(5, 3, seed=2), drawn(5, 3, seed=3)
    scale, bandwidth = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64), 0.7
    found = drifted_means(means, before, after, scale=scale, bandwidth=bandwidth)
    for mean, moved in zip(means, found, strict=True):
        weights = [
            math.exp(-float((((z - mean) / scale) ** 2).sum()) / (2 * bandwidth**2 * 3))
            for z in before
        ]
        shift = sum(w * (b - a) for w, a, b in zip(weights, before, after, strict=True))
        assert torch.allclose(moved, mean + shift / sum(weights))


def test_all_move_alike_where_all_samples_do() -> None:
    means, before = 1e4 + drawn(3, 4, seed=4), 1e4 + drawn(6, 4, seed=5)
    step = torch.tensor([1.0, -2.0, 0.0, 3.0], dtype=torch.float64)
    found = drifted_means(means, before, before + step, scale=torch.ones(4), bandwidth=0.1)
    assert torch.allclose(found, means + step)


def test_a_narrow_kernel_follows_the_nearest_sample() -> None:
    before = torch.tensor([[0.0], [10.0]])
    after = torch.tensor([[1.0], [30.0]])
    found = drifted_means(
        torch.tensor([[1.0], [9.0]]), before, after, scale=torch.ones(1), bandwidth=0.1
    )
    assert found.flatten().tolist() == pytest.approx([2.0, 29.0])


def test_without_samples_nothing_moves_and_what_is_not_finite_is_said() -> None:
    means, none = torch.ones(2, 3), torch.empty(0, 3)
    assert (
        drifted_means(means, none, none, scale=torch.ones(3), bandwidth=1.0).tolist()
        == [[1.0] * 3] * 2
    )
    with pytest.raises(DataError, match="not finite"):
        drifted_means(means, means, means / 0, scale=torch.ones(3), bandwidth=1.0)
