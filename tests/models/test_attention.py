"""Attention against a plain loop over eq. (10) and (11)."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mkgc_cl.models.attention import (
    SharedKeyAttention,
    explicit_attention,
    fused_attention,
    merge_heads,
    split_heads,
)


def attention(*, width: int, heads: int, longest: int, seed: int = 0) -> SharedKeyAttention:
    torch.manual_seed(seed)
    module = SharedKeyAttention(
        nn.Linear(width, width),
        nn.Linear(width, width),
        heads=heads,
        max_length=longest,
        dropout=0.5,
        generator=torch.Generator().manual_seed(seed),
    ).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    return module.eval()


def by_hand(
    module: SharedKeyAttention, states: Tensor, mask: Tensor | None, key: Tensor
) -> tuple[Tensor, Tensor]:
    """Eq. (10) and (11), one number at a time; a key of one row stands at every position."""
    batch, length, width = states.shape
    heads, part = module.heads, width // module.heads
    query, value = module.query(states), module.value(states)
    scores = torch.zeros(batch, heads, length, length, dtype=states.dtype)
    context = torch.zeros_like(states)
    for b in range(batch):
        for h in range(heads):
            own = slice(h * part, (h + 1) * part)
            for i in range(length):
                for j in range(length):
                    row = key[0 if len(key) == 1 else j, own]
                    product = sum(float(q * k) for q, k in zip(query[b, i, own], row, strict=True))
                    total = product + float(module.bias[h, i, j])
                    scores[b, h, i, j] = total / math.sqrt(width / heads)
                real = [j for j in range(length) if mask is None or bool(mask[b, j])]
                weights = [math.exp(float(scores[b, h, i, j])) for j in real]
                for j, weight in zip(real, weights, strict=True):
                    context[b, i, own] += weight / sum(weights) * value[b, j, own]
    return context, scores


@pytest.mark.slow
@settings(max_examples=25)
@given(
    heads=st.integers(1, 3),
    part=st.integers(1, 3),
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    spare=st.integers(0, 2),
    single=st.booleans(),
    masked=st.booleans(),
    seed=st.integers(0, 1000),
)
@torch.no_grad()
def test_equals_a_loop_over_the_equations(
    heads: int, part: int, lengths: list[int], spare: int, single: bool, masked: bool, seed: int
) -> None:
    width, length = heads * part, max(lengths)
    module = attention(width=width, heads=heads, longest=length + spare, seed=seed)
    states = torch.randn(len(lengths), length, width, dtype=torch.float64)
    key = torch.randn(1 if single else length + spare, width, dtype=torch.float64)
    mask = torch.arange(length)[None] < torch.tensor(lengths)[:, None] if masked else None
    context, scores = module(states, mask, key)
    expected_context, expected_scores = by_hand(module, states, mask, key)
    assert torch.allclose(scores, expected_scores, atol=1e-12)
    assert torch.allclose(context, expected_context, atol=1e-12)


@torch.no_grad()
def test_the_bias_map_is_divided_too() -> None:
    """PAPER: eq. (10) divides the sum; the released code left the vision map as it was."""
    module = attention(width=8, heads=2, longest=3)
    module.query.weight.zero_()
    module.query.bias.zero_()
    key = torch.randn(3, 8, dtype=torch.float64)
    _, scores = module(torch.randn(1, 3, 8, dtype=torch.float64), None, key)
    assert torch.allclose(scores[0], module.bias / 2.0)


@torch.no_grad()
def test_single_key_is_inert_and_one_key_a_position_is_not() -> None:
    """The released code's degeneracy: a number per row cancels in the softmax over the row."""
    module = attention(width=12, heads=3, longest=5)
    inputs = torch.randn(2, 1, 5, 12, dtype=torch.float64).unbind(0)

    def weights(states: Tensor, key: Tensor) -> Tensor:
        return module(states, None, key)[1].softmax(dim=-1)

    single = [torch.randn(1, 12, dtype=torch.float64) for _ in range(2)]
    from_bias = (module.bias / 2.0).softmax(dim=-1)[None]
    for states in inputs:
        for key in single:
            assert torch.allclose(weights(states, key), from_bias, atol=1e-12)
    placed = [torch.randn(5, 12, dtype=torch.float64) for _ in range(2)]
    reference = weights(inputs[0], placed[0])
    assert float((weights(inputs[1], placed[0]) - reference).abs().max()) > 0.1
    assert float((weights(inputs[0], placed[1]) - reference).abs().max()) > 0.1


@pytest.mark.parametrize(("rows", "learns"), [(5, True), (1, False)])
def test_only_a_key_per_position_learns(rows: int, learns: bool) -> None:
    module = attention(width=12, heads=3, longest=5)
    key = torch.randn(rows, 12, dtype=torch.float64, requires_grad=True)
    context, _ = module(torch.randn(2, 5, 12, dtype=torch.float64), None, key)
    (context * torch.randn_like(context)).sum().backward()
    query, bias = module.query.weight.grad, module.bias.grad
    assert query is not None
    assert bias is not None
    assert key.grad is not None
    assert float(bias.abs().max()) > 1e-2
    for gradient in (key.grad, query):
        assert (float(gradient.abs().max()) > 1e-2) is learns
        assert learns or float(gradient.abs().max()) < 1e-12


def test_keys_and_biases_beyond_the_length_are_not_used() -> None:
    module = attention(width=4, heads=2, longest=6)
    key = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    context, scores = module(torch.randn(1, 4, 4, dtype=torch.float64), None, key)
    (context.square().sum() + scores.square().sum()).backward()
    assert key.grad is not None
    assert module.bias.grad is not None
    assert not key.grad[4:].any()
    assert key.grad[:4].all()
    assert module.bias.grad[:, :4, :4].all()
    assert not module.bias.grad[:, 4:].any()
    assert not module.bias.grad[:, :, 4:].any()


@pytest.mark.parametrize("masked", [False, True])
@torch.no_grad()
def test_fused_and_explicit_paths_agree(masked: bool) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 4, 2, 7, 5).unbind(0)
    mask = torch.arange(7)[None] < torch.tensor([7, 1, 4, 6])[:, None] if masked else None
    scores = query @ key.transpose(-1, -2) / 5**0.5
    explicit = explicit_attention(scores, value, mask, 0.0)
    fused = fused_attention(query, key, value, mask, 0.0)
    assert torch.allclose(explicit, fused, atol=1e-5)
    if mask is not None:  # the second sample has one real position: every row must copy its value
        assert torch.allclose(fused[1], merge_heads(value[1:2, :, :1])[0].expand(7, -1), atol=1e-6)


def test_dropout_acts_in_training_alone_and_keeps_the_mean() -> None:
    """Each of n draws keeps a weight with p = 1/2 and doubles it: standard error near 1/sqrt(n)."""
    module = attention(width=2, heads=1, longest=3)
    states = torch.randn(1, 3, 2, dtype=torch.float64)
    key = torch.randn(3, 2, dtype=torch.float64)
    with torch.no_grad():
        exact, _ = module(states, None, key)
        assert torch.equal(module(states, None, key)[0], exact)
        module.train()
        drawn, scores = module(states.expand(10_000, -1, -1), None, key)
    assert float(drawn.std(dim=0).min()) > 0.05
    assert torch.allclose(drawn.mean(dim=0), exact[0], atol=0.1)
    assert torch.allclose(scores[0], scores[1])  # the map itself is what came before dropout


def test_heads_are_split_and_merged_in_place() -> None:
    states = torch.arange(24.0).view(1, 2, 12)
    split = split_heads(states, 3)
    assert split.shape == (1, 3, 2, 4)
    assert split[0, 1, 0].tolist() == [4.0, 5.0, 6.0, 7.0]
    assert torch.equal(merge_heads(split), states)
