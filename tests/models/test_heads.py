"""Heads against enumeration: every tag path counted, every product written out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mkgc_cl.data.samples import Sample
from mkgc_cl.models import DualStreamModel
from mkgc_cl.models.heads import UNSEEN_LOGIT, FusionHead, GrowableCRF


def path_score(crf: GrowableCRF, emissions: Tensor, path: Sequence[int]) -> float:
    """Score of one tag path of a sentence with emissions (W, K)."""
    total = float(crf.start_transitions[path[0]] + crf.end_transitions[path[-1]])
    total += sum(float(emissions[word, tag]) for word, tag in enumerate(path))
    return total + sum(float(crf.transitions[a, b]) for a, b in itertools.pairwise(path))


def all_paths(crf: GrowableCRF, emissions: Tensor) -> dict[tuple[int, ...], float]:
    words, tags = emissions.shape
    return {
        path: path_score(crf, emissions, path)
        for path in itertools.product(range(tags), repeat=words)
    }


def stirred_crf(tags: int, seed: int) -> GrowableCRF:
    crf = GrowableCRF(outputs=tags, seed=seed).double()
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter.normal_(generator=source)
    return crf


@settings(max_examples=20)
@given(
    tags=st.integers(1, 3),
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    hide=st.booleans(),
    seed=st.integers(0, 999),
)
@torch.no_grad()
def test_loss_and_best_path_equal_enumeration(
    tags: int, lengths: list[int], hide: bool, seed: int
) -> None:
    crf = stirred_crf(tags, seed)
    source = torch.Generator().manual_seed(seed + 1)
    shape = (len(lengths), max(lengths), tags)
    emissions = torch.randn(shape, generator=source, dtype=torch.float64) * 2
    if hide and tags > 1:
        emissions[..., -1] = UNSEEN_LOGIT
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    gold = torch.randint(tags, shape[:2], generator=source)
    likelihood = crf(emissions, gold, mask=mask, reduction="none")
    decoded = crf.decode(emissions, mask=mask)
    for row, length in enumerate(lengths):
        scores = all_paths(crf, emissions[row, :length])
        partition = torch.tensor(list(scores.values()), dtype=torch.float64).logsumexp(0)
        own = scores[tuple(gold[row, :length].tolist())]
        assert abs(float(likelihood[row]) - (own - float(partition))) < 1e-8
        assert scores[tuple(decoded[row])] == max(scores.values())


@torch.no_grad()
def test_only_sequences_of_seen_tags_compete() -> None:
    """Of five tags three were seen; the others' scores are not masked, and yet have no part."""
    crf, source = stirred_crf(5, 3), torch.Generator().manual_seed(4)
    seen = torch.tensor([0, 1, 3])
    emissions = torch.randn(2, 3, 5, generator=source, dtype=torch.float64)
    mask = torch.tensor([[True, True, True], [True, True, False]])
    gold = torch.tensor([[0, 1, 3], [3, 0, 4]])  # the last one is padding
    found = crf.log_likelihood(emissions, gold, mask=mask, seen=seen)
    for row, length in enumerate((3, 2)):
        scores = all_paths(crf, emissions[row, :length])
        among = [scores[p] for p in scores if set(p) <= set(seen.tolist())]
        partition = torch.tensor(among, dtype=torch.float64).logsumexp(0)
        wanted = scores[tuple(gold[row, :length].tolist())] - float(partition)
        assert abs(float(found[row]) - wanted) < 1e-9
    every = crf(emissions, gold, mask=mask, reduction="none")
    assert torch.equal(crf.log_likelihood(emissions, gold, mask=mask), every)


def test_gradients_of_a_restricted_chain_are_those_of_masked_scores() -> None:
    """Masking by -10000 was right, but for the order of sums."""
    seen, source = torch.tensor([0, 2]), torch.Generator().manual_seed(9)
    emissions = torch.randn(3, 4, 3, generator=source, dtype=torch.float64)
    gold, mask = seen[torch.randint(2, (3, 4), generator=source)], torch.ones(3, 4).bool()
    found = []
    for restricted in (True, False):
        crf = stirred_crf(3, 1)
        if restricted:
            crf.log_likelihood(emissions, gold, mask=mask, seen=seen).mean().backward()
        else:
            masked = emissions.clone()
            masked[..., 1] = UNSEEN_LOGIT
            crf(masked, gold, mask=mask, reduction="mean").backward()
        found.append([parameter.grad for parameter in crf.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    assert not found[0][0][1]


@torch.no_grad()
def test_the_models_tagging_loss_is_the_mean_negative_log_likelihood(
    build: Callable[..., DualStreamModel], make_sample: Callable[..., Sample]
) -> None:
    model = build("ner")
    assert model.crf is not None
    samples = [make_sample("p", kind="ner", length=3), make_sample("q", kind="ner", length=2)]
    batch, targets = model.processor.collate(samples)
    output = model(batch)
    expected = []
    for row, length in enumerate((3, 2)):
        scores = all_paths(model.crf, output.logits[row, :length])
        partition = torch.tensor(list(scores.values()), dtype=torch.float64).logsumexp(0)
        expected.append(float(partition) - scores[tuple(targets[row, :length].tolist())])
        best = max(scores, key=scores.__getitem__)
        assert model.decode(output)[row] == list(best)
    losses = model.loss(output, targets, reduction="none")
    assert torch.allclose(losses, torch.tensor(expected, dtype=torch.float64), atol=1e-8)
    assert torch.allclose(model.loss(output, targets), losses.mean())


@torch.no_grad()
def test_the_models_relation_loss_is_cross_entropy_by_hand(
    build: Callable[..., DualStreamModel], make_sample: Callable[..., Sample]
) -> None:
    model = build("re")
    batch, targets = model.processor.collate([make_sample("p"), make_sample("q", length=3)])
    output = model(batch)
    rows = output.logits.softmax(dim=-1)[torch.arange(2), targets].log()
    assert torch.allclose(model.loss(output, targets, reduction="none"), -rows)
    assert torch.allclose(model.loss(output, targets), -rows.mean())
    assert model.decode(output) == [[int(row.argmax())] for row in output.logits]


@pytest.mark.parametrize("few", [1, 3, 5])
def test_rows_and_transitions_do_not_depend_on_later_outputs(few: int) -> None:
    small, large = (
        FusionHead(text_width=6, vision_width=4, outputs=count, seed=3) for count in (few, 9)
    )
    assert torch.equal(small.text_weight, large.text_weight[:few])
    assert torch.equal(small.vision_weight, large.vision_weight[:few])
    chain, longer = (GrowableCRF(outputs=count, seed=3) for count in (few, 9))
    assert torch.equal(chain.transitions, longer.transitions[:few, :few])
    assert torch.equal(chain.start_transitions, longer.start_transitions[:few])
    assert torch.equal(chain.end_transitions, longer.end_transitions[:few])


def test_initial_values_fill_their_range_and_follow_the_seed() -> None:
    """Uniform on [-b, b]: the variance of n draws is b^2 / 3, give or take b^2 sqrt(4 / (45 n))."""
    crf = GrowableCRF(outputs=40, seed=0)
    head = FusionHead(text_width=60, vision_width=40, outputs=40, seed=0)
    for values, bound in ((crf.transitions, 0.1), (head.text_weight, 0.1)):
        n = values.numel()
        assert float(values.detach().abs().max()) <= bound
        spread = bound**2 * (4 / (45 * n)) ** 0.5
        assert abs(float(values.detach().var()) - bound**2 / 3) < 5 * spread
        assert abs(float(values.detach().mean())) < 5 * bound / (3 * n) ** 0.5
        assert values.unique().numel() > 0.99 * n
    assert not torch.equal(crf.transitions, GrowableCRF(outputs=40, seed=1).transitions)
    other = FusionHead(text_width=60, vision_width=40, outputs=40, seed=1)
    assert not torch.equal(head.text_weight, other.text_weight)


@torch.no_grad()
def test_fusion_is_one_linear_layer_over_both() -> None:
    head = FusionHead(text_width=3, vision_width=2, outputs=4, seed=0)
    head.bias.copy_(torch.tensor([1.0, -2.0, 3.0, 0.5]))
    text, vision = torch.randn(5, 7, 3), torch.randn(5, 7, 2)
    output = head(text, vision)
    weight = torch.cat([head.text_weight, head.vision_weight], dim=1)
    joined = torch.nn.functional.linear(torch.cat([text, vision], dim=-1), weight, head.bias)
    assert torch.allclose(output.logits, joined, atol=1e-6)
    # PAPER: eq. (5) gives each stream half of the bias
    assert torch.allclose(output.text, text @ head.text_weight.T + head.bias / 2, atol=1e-6)
    assert torch.allclose(output.vision, vision @ head.vision_weight.T + head.bias / 2, atol=1e-6)
