"""Prototypes and spans by hand; the attention memory network by a loop over its heads."""

from __future__ import annotations

import copy
import io
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mkgc_cl.errors import ConfigError
from mkgc_cl.models import MemoryAttentionReadout, ModelOutput, PrototypeReadout
from mkgc_cl.models.heads import UNSEEN_LOGIT, FusionHead, LinearHead
from mkgc_cl.models.prototypes import Prototypes, class_prototypes, predicting_prototypes
from mkgc_cl.models.spans import mean_of_words, span_features


def output(features: Tensor, logits: Tensor | None = None) -> ModelOutput:
    nothing = torch.empty(0)
    scores = torch.zeros(len(features), 4) if logits is None else logits
    return ModelOutput(logits=scores, features=features, text_states=nothing, text_mask=nothing)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- prototypes ------------------------------------------------------------------------------


@pytest.mark.parametrize("unit_norm", [True, False])
def test_prototypes_are_means_of_their_own_class(unit_norm: bool) -> None:
    features, labels = drawn(7, 5), torch.tensor([2, 0, 2, 2, 0, 3, 2])
    found = class_prototypes(features, labels, classes=5, unit_norm=unit_norm)
    assert found.known.tolist() == [True, False, True, True, False]
    for c in range(5):
        own = [features[i] for i in range(7) if labels[i] == c]
        own = [
            row / math.sqrt(sum(float(x) ** 2 for x in row)) if unit_norm else row for row in own
        ]
        wanted = sum(own, torch.zeros(5).double()) / max(len(own), 1)
        torch.testing.assert_close(found.vectors[c], wanted)


def test_no_exemplar_at_all_is_no_prototype() -> None:
    found = class_prototypes(torch.empty(0, 3), torch.empty(0, dtype=torch.long), classes=2)
    assert not found.known.any()
    assert found.vectors.tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("mix", [True, False])
def test_a_row_of_the_head_is_one_more_exemplar_or_stands_in(mix: bool) -> None:
    """Class 0 has two exemplars, class 1 none but is seen, class 2 has one, class 3 is to come."""
    features, labels, rows = drawn(3, 4), torch.tensor([0, 2, 0]), drawn(4, 4, seed=1)
    seen = torch.tensor([True, True, True, False])
    found = predicting_prototypes(features, labels, rows=rows, seen=seen, mix_head_rows=mix)
    assert found.known.tolist() == seen.tolist()
    unit, head = F.normalize(features, dim=1), F.normalize(rows, dim=1)
    members = {
        0: [unit[0], unit[2], *([head[0]] if mix else [])],
        1: [head[1]],
        2: [unit[1], *([head[2]] if mix else [])],
    }
    for c, own in members.items():
        wanted = torch.stack(own).mean(dim=0)
        torch.testing.assert_close(found.vectors[c], wanted / wanted.norm())


@pytest.mark.parametrize("metric", ["dot", "cosine"])
def test_a_prototype_readout_scores_what_is_known(metric: Any) -> None:
    readout = PrototypeReadout(outputs=4, width=5, metric=metric).double()
    logits, features = drawn(3, 4, seed=5), drawn(3, 5)
    assert torch.equal(readout(output(features, logits)), logits)  # nothing known: the head
    vectors, known = drawn(4, 5, seed=2), torch.tensor([True, False, True, False])
    readout.store(Prototypes(vectors, known))
    scores = readout(output(features))
    for b in range(3):
        for c in range(4):
            wanted = sum(float(x) * float(p) for x, p in zip(features[b], vectors[c], strict=True))
            if metric == "cosine":
                wanted /= float(features[b].norm() * vectors[c].norm())
            assert float(scores[b, c]) == pytest.approx(wanted if known[c] else UNSEEN_LOGIT)
    vectors.zero_()
    assert torch.equal(scores, readout(output(features)))  # it took a copy


@pytest.mark.parametrize("metric", ["dot", "cosine"])
def test_a_prototype_to_come_reaches_no_gradient(metric: Any) -> None:
    """NaN times the gradient of a masked score would be NaN: it takes no part in the product."""
    vectors, features = drawn(4, 5, seed=2), drawn(3, 5).requires_grad_()
    vectors[1] = vectors[3] = float("nan")
    known = torch.tensor([True, False, True, False])
    Prototypes(vectors, known).scores(features, metric=metric).square().sum().backward()
    assert bool(features.grad.isfinite().all())  # type: ignore[union-attr]


def test_half_precision_features_are_scored_in_single() -> None:
    readout = PrototypeReadout(outputs=2, width=3)
    readout.store(Prototypes(torch.ones(2, 3), torch.tensor([True, True])))
    assert readout(output(torch.ones(1, 3, dtype=torch.bfloat16))).dtype == torch.float32


def test_a_metric_there_is_not() -> None:
    with pytest.raises(ConfigError, match="metric='l2'; choose one of"):
        PrototypeReadout(outputs=2, width=3, metric="l2")  # type: ignore[arg-type]


# ---- spans -----------------------------------------------------------------------------------


def test_spans_and_words_by_hand() -> None:
    """Tags 0 O, 1 2 first type, 3 4 second; spans that touch stay two."""
    words = drawn(3, 5, 2)
    targets = torch.tensor([[1, 2, 1, 0, 3], [0, 0, -100, -100, -100], [3, 4, 4, 1, -100]])
    features, types = span_features(words, targets)
    wanted = [
        words[0, :2].mean(dim=0), words[0, 2], words[0, 4], words[2, :3].mean(dim=0), words[2, 3]
    ]  # fmt: skip
    torch.testing.assert_close(features, torch.stack(wanted))
    assert types.tolist() == [0, 0, 1, 1, 0]
    pooled = mean_of_words(words, targets != -100, targets, (1, 2))
    wanted = [words[0, :3].mean(dim=0), words[1, :2].mean(dim=0), words[2, 3]]
    torch.testing.assert_close(pooled, torch.stack(wanted))
    pooled = mean_of_words(words, targets != -100, targets, ())
    torch.testing.assert_close(pooled[2], words[2, :4].mean(dim=0))


def test_a_batch_without_spans_has_none() -> None:
    features, types = span_features(drawn(2, 3, 4), torch.zeros(2, 3, dtype=torch.long))
    assert features.shape == (0, 4)
    assert types.shape == (0,)


# ---- the attention memory network ------------------------------------------------------------


@pytest.fixture(params=["one-stream", "one-stream-without-bias", "two-streams"])
def head(request: pytest.FixtureRequest) -> LinearHead | FusionHead:
    bias = "without-bias" not in request.param
    if request.param.startswith("one-stream"):
        made: LinearHead | FusionHead = LinearHead(width=6, outputs=4, seed=3, bias=bias)
    else:
        made = FusionHead(text_width=4, vision_width=2, outputs=4, seed=3)
    if made.bias is not None:
        torch.nn.init.normal_(made.bias, generator=torch.Generator().manual_seed(1))
    return made.double()


def network(head: Any, known: list[bool], **options: Any) -> Any:
    """Layer norms stirred too: at 1 and 0 their places could be mixed up."""
    given = {"heads": 3, "key_width": 4, "value_width": 5, **options}
    readout = MemoryAttentionReadout(head, **given).double()
    for number, parameter in enumerate(readout.parameters()):
        parameter.data = drawn(*parameter.shape, seed=number)
    readout.store(Prototypes(drawn(4, 6, seed=99), torch.tensor(known)))
    return readout


def norm(x: Tensor, layer: Any) -> Tensor:
    """Layer norm over the whole of x."""
    centered = x - x.mean()
    return centered / torch.sqrt((centered**2).mean() + layer.eps) * layer.weight + layer.bias


def by_loop(r: Any, head: Any, x: Tensor) -> Tensor:
    """Cui et al. 2021, section 3.4, in full: every row attends to every row, the last one is x."""
    rows = [*r.prototypes[r.known], x]
    keys = [norm((r.key.weight @ row + r.key.bias).view(3, 4), r.key_norm) for row in rows]
    values = [norm((r.value.weight @ row + r.value.bias).view(3, 5), r.value_norm) for row in rows]
    refined = []
    for row in rows:
        query = norm((r.query.weight @ row + r.query.bias).view(3, 4), r.query_norm)
        read = []
        for h in range(3):
            scores = [float(query[h] @ key[h]) / math.sqrt(4) for key in keys]
            total = sum(math.exp(s) for s in scores)
            shares = [math.exp(s) / total for s in scores]
            read.append(sum(s * v[h] for s, v in zip(shares, values, strict=True)))
        merged = norm(r.merge.weight @ torch.cat(read) + r.merge.bias, r.merge_norm)
        attended = norm(row + merged, r.attended_norm)
        hidden = r.refine.weight @ attended + r.refine.bias
        gelu = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        refined.append(norm(attended + gelu, r.refined_norm))
    last = refined[-1]
    if isinstance(head, FusionHead):
        return head(last[:4], last[4:]).logits
    return head(last)


@torch.no_grad()
@pytest.mark.parametrize("known", [[True] * 4, [True, False, True, False], [False, True] * 2])
def test_the_network_against_a_loop_over_heads(head: Any, known: list[bool]) -> None:
    readout, features = network(head, known), drawn(5, 6, seed=7)
    found = readout(output(features))
    for row, x in zip(found, features, strict=True):
        torch.testing.assert_close(row, by_loop(readout, head, x), rtol=1e-9, atol=1e-9)


def test_unseen_slots_have_no_influence_whatever_is_in_them(head: Any) -> None:
    readout, features = network(head, [True, False, True, False]), drawn(5, 6, seed=7)
    before = readout(output(features))
    readout.prototypes[1] = float("nan")
    readout.prototypes[3] = 1e30
    assert torch.equal(readout(output(features)), before)
    readout.prototypes[0] += 1
    assert not torch.equal(readout(output(features)), before)


def test_a_row_of_the_head_to_come_reaches_no_gradient(head: Any) -> None:
    """As above: rows to come take no part in the product that the readout makes of the head's."""
    for parameter in head.parameters():
        parameter.data[[1, 3]] = float("nan")
    readout, features = network(head, [True, False, True, False]), drawn(5, 6).requires_grad_()
    scores = readout(replace(output(features), seen=torch.tensor([0, 2])))
    assert scores[:, [1, 3]].unique().tolist() == [UNSEEN_LOGIT]
    scores.square().sum().backward()
    learns = [*readout.parameters(), *head.parameters(), features]
    assert all(bool(parameter.grad.isfinite().all()) for parameter in learns)


def test_without_prototypes_the_head_predicts(head: Any) -> None:
    readout, logits = network(head, [False] * 4), drawn(5, 4)
    assert torch.equal(readout(output(drawn(5, 6), logits)), logits)


def test_gradients_reach_network_head_and_features_and_no_prototype(head: Any) -> None:
    readout, features = network(head, [True] * 4), drawn(5, 6).requires_grad_()
    readout(output(features)).square().sum().backward()
    learns = [*readout.parameters(), *head.parameters(), features]
    assert all(p.grad is not None and bool(p.grad.any()) for p in learns)
    assert not readout.prototypes.requires_grad


def test_the_head_stays_the_models_also_in_a_copy(head: Any) -> None:
    both = torch.nn.ModuleDict({"head": head, "readout": network(head, [True] * 4)})
    assert not any(name.startswith("readout.head") for name in both.state_dict())
    twin = copy.deepcopy(both)
    assert twin["readout"]._head[0] is twin["head"]


def test_a_network_is_drawn_from_its_seed_and_nothing_global(head: Any) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, two = (MemoryAttentionReadout(head, key_width=3, seed=4) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    first = {name: value.clone() for name, value in one.state_dict().items()}
    assert all(torch.equal(value, two.state_dict()[name]) for name, value in first.items())
    one.reset(torch.Generator().manual_seed(1))
    two.reset(torch.Generator().manual_seed(1))
    assert all(torch.equal(v, two.state_dict()[name]) for name, v in one.state_dict().items())
    assert not torch.equal(first["key.weight"], one.key.weight)


def test_numbers_below_one_are_refused(head: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        MemoryAttentionReadout(head, heads=0, key_width=-1, value_width=0)
    assert len(caught.value.problems) == 3


def test_a_saved_readout_loads_into_a_fresh_one(head: Any) -> None:
    readout, features = network(head, [True, False, True, False]), drawn(5, 6, seed=7)
    file = io.BytesIO()
    torch.save(readout.state_dict(), file)
    file.seek(0)
    fresh = MemoryAttentionReadout(head, heads=3, key_width=4, value_width=5, seed=8).double()
    fresh.load_state_dict(torch.load(file, weights_only=True))
    seen = output(features)
    assert torch.equal(readout(seen), fresh(replace(seen, logits=seen.logits + 1)))
