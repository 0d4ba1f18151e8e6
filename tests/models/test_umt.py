"""UMT: every block against loops, the span detector against counting."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mkgc_cl.data.samples import LabelSpace, Sample
from mkgc_cl.errors import ConfigError
from mkgc_cl.models import ModelOutput, UMTModel
from mkgc_cl.models.attention_blocks import AttentionBlock
from mkgc_cl.models.coupled import CoupledFusion
from mkgc_cl.models.span_tags import SPAN_TAGS, conversion_matrix, span_of

Stir = Callable[[nn.Module], nn.Module]
MakeSample = Callable[..., Sample]
TYPES = ("PER", "LOC", "ORG", "MISC")


def random(*shape: int) -> Tensor:
    source = torch.Generator().manual_seed(math.prod(shape))
    return torch.randn(*shape, generator=source, dtype=torch.float64)


def normed(norm: nn.LayerNorm, row: Tensor) -> Tensor:
    centered = row - row.mean()
    scaled = centered / (centered.square().mean() + norm.eps).sqrt()
    return scaled * norm.weight + norm.bias


def attend(block: Any, state: Tensor, context: list[Tensor]) -> Tensor:
    """Multi-head attention of one state over the context that may be read, in words of loops."""
    heads, width = block.heads, len(state)
    size = width // heads
    if not context:
        return torch.zeros_like(state)
    query, parts = block.query(state), []
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        scores = [float(query[own] @ block.key(row)[own]) / size**0.5 for row in context]
        total = sum(math.exp(score) for score in scores)
        weights = [math.exp(score) / total for score in scores]
        values = [block.value(row)[own] for row in context]
        parts.append(sum(w * v for w, v in zip(weights, values, strict=True)))
    answer: Tensor = block.output(torch.cat(parts))  # type: ignore[arg-type]
    return answer


def layer(block: Any, states: list[Tensor], context: list[Tensor]) -> list[Tensor]:
    """A BERT layer whose context is another sequence."""
    done = []
    for state in states:
        middle = normed(block.attended.norm, state + attend(block.attention, state, context))
        first, _, second = block.feed_forward
        done.append(normed(block.fed.norm, middle + second(F.gelu(first(middle)))))
    return done


@torch.no_grad()
def test_a_block_worked_out_in_loops(stir: Stir) -> None:
    block = stir(AttentionBlock(8, heads=2, inner=12, dropout=0.5)).eval()
    states, context = random(2, 3, 8), random(2, 4, 8)
    mask = torch.tensor([[True, False, True, True], [False] * 4])
    found = block(states, context, mask)
    for row in range(2):
        there = [context[row, i] for i in range(4) if mask[row, i]]
        for ours, expected in zip(found[row], layer(block, list(states[row]), there), strict=True):
            assert torch.allclose(ours, expected, atol=1e-9)


@pytest.mark.parametrize("projections", ["one", "two"])
@torch.no_grad()
def test_the_coupled_blocks_and_the_gate_worked_out_in_loops(projections: Any, stir: Stir) -> None:
    fusion: Any = stir(
        CoupledFusion(
            width=8, grid_width=5, heads=2, inner=12, dropout=0.5, projections=projections,
            auxiliary=False, seed=0,
        )
    ).eval()  # fmt: skip
    text, grid = random(3, 4, 8), random(2, 3, 5)
    text_mask = torch.tensor([[True] * 4, [True, True, False, False], [True] * 3 + [False]])
    grid_mask = torch.tensor([[True] * 3, [False] * 3])
    index = [0, 1, 0]
    found = fusion(text, text_mask, grid, grid_mask, torch.tensor(index))
    for sample, row in enumerate(index):
        words = list(text[sample, : int(text_mask[sample].sum())])
        answering = [fusion.project(run) for run in grid[row]]
        asking = [(fusion.project_asking or fusion.project)(run) for run in grid[row]]
        main = layer(fusion.main, words, words)
        there = bool(grid_mask[row, 0])
        aware = layer(fusion.image_aware_words, main, answering if there else [])
        image = layer(fusion.word_aware_image, asking, main)
        word = layer(fusion.word_aware_words, main, image if there else [])
        for place, (a, c) in enumerate(zip(aware, word, strict=True)):
            weights, bias = fusion.gate.weight, fusion.gate.bias
            gate = [
                1 / (1 + math.exp(-float(weights[i, :8] @ c + weights[i, 8:] @ a + bias[i])))
                for i in range(8)
            ]
            expected = torch.cat([c, torch.tensor(gate, dtype=torch.float64) * a])
            assert torch.allclose(found[sample, place], expected, atol=1e-9)


def test_two_projections_are_two_and_change_nothing_else() -> None:
    labels = LabelSpace("ner", TYPES)
    one, two = (UMTModel.build(labels, projections=p).state_dict() for p in ("one", "two"))  # type: ignore[arg-type]
    more = {"fusion.project_asking.weight", "fusion.project_asking.bias"}
    assert two.keys() - one.keys() == more
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(two["fusion.project_asking.weight"], two["fusion.project.weight"])


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("start", [0, 2])
def test_conversion_by_brute_force(count: int, start: int) -> None:
    """Every pair of a span tag and an output, and the rows' sums."""
    labels = LabelSpace("ner", (*TYPES, "x", "y"))
    seen = [*labels.classes[start : start + count]]
    model = UMTModel.build(labels)
    model.observe(seen)
    matrix = conversion_matrix(model.seen_ids)
    tags = [labels.outputs[output] for output in model.seen_ids]
    assert tags == [tag for tag in labels.outputs if tag == "O" or tag[2:] in seen]
    assert matrix.shape == (3, len(tags))  # tags to come have no column
    for row, span in enumerate(SPAN_TAGS):
        for column, tag in enumerate(tags):
            same = tag[0] == span
            share = 1 if tag == "O" else 1 / max(count, 1)
            assert math.isclose(float(matrix[row, column]), share if same else 0, rel_tol=1e-6)
        total = 1.0 if span == "O" or count else 0.0
        assert math.isclose(float(matrix[row].sum()), total, rel_tol=1e-6)


def test_four_types_have_the_released_quarter_and_nothing_is_seen_at_first() -> None:
    matrix = conversion_matrix(torch.arange(9))
    assert matrix[1].tolist() == [0, 0.25, 0, 0.25, 0, 0.25, 0, 0.25, 0]
    assert matrix[2].tolist() == [0, 0, 0.25, 0, 0.25, 0, 0.25, 0, 0.25]
    assert conversion_matrix(torch.arange(0)).shape == (3, 0)


def test_spans_forget_types_alone() -> None:
    labels = LabelSpace("ner", TYPES)
    ids = torch.arange(len(labels.outputs))
    for tag, span in zip(labels.outputs, span_of(ids).tolist(), strict=True):
        assert SPAN_TAGS[span] == tag[0]
    padded = torch.tensor([[3, 4, -100], [0, -100, -100]])
    assert span_of(padded).tolist() == [[1, 2, -100], [0, -100, -100]]


@pytest.mark.parametrize(("conversion", "weight"), [(0.5, 0.5), (0.0, 0.0), (0.3, 2.0)])
@torch.no_grad()
def test_emissions_and_loss_worked_by_hand(
    conversion: float, weight: float, stir: Stir, make_sample: MakeSample
) -> None:
    labels = LabelSpace("ner", ("PER", "LOC"))
    model: Any = UMTModel.build(labels, conversion=conversion, span_loss=weight)
    stir(model).eval()
    model.observe(["PER", "LOC"])
    samples = [
        make_sample("p", kind="ner", length=5),
        make_sample("q", kind="ner", length=3, image="b"),
    ]
    batch, targets = model.processor.collate(samples)
    output = model(batch)
    untyped = model.fusion.auxiliary(output.text_states, output.text_states, output.text_mask)
    own = model.head(output.word_features)
    parts = []
    for row, sample in enumerate(samples):
        for word in range(len(sample.tokens)):
            spans = model.aux_head(untyped[row, word + 1])  # after the class token
            for column in range(5):
                kind = 0 if column == 0 else 2 - column % 2
                share = 1 if column == 0 else 0.5
                expected = (1 - conversion) * own[row, word, column]
                expected = expected + conversion * share * spans[kind]
                assert torch.allclose(output.logits[row, word, column], expected, atol=1e-9)
            assert torch.allclose(output.span_logits[row, word], spans, atol=1e-9)
        count = len(sample.tokens)
        tags = targets[row : row + 1, :count]
        parts.append(
            -model.crf(output.logits[row : row + 1, :count], tags, mask=tags >= 0)
            - weight
            * model.aux_crf(
                output.span_logits[row : row + 1, :count], span_of(tags), mask=tags >= 0
            )
        )
    each = model.loss(output, targets, reduction="none")
    assert torch.allclose(each, torch.stack(parts), atol=1e-9)
    assert torch.allclose(model.loss(output, targets), each.mean(), atol=1e-9)
    assert torch.equal(model.loss(output.scores_only(), targets), model.loss(output, targets))


@pytest.mark.slow
def test_the_encoders_states_are_dropped_once_for_both_branches(
    make_sample: MakeSample, stir: Stir
) -> None:
    model: Any = UMTModel.build(LabelSpace("ner", ("PER",)), dropout=0.25)
    stir(model).train()
    batch, _ = model.processor.collate([make_sample(uid, kind="ner", length=9) for uid in "pqrs"])
    read = []
    for block in (model.fusion.main, model.fusion.auxiliary):
        block.register_forward_pre_hook(lambda _, inputs: read.append(inputs[:2]))
    states = model(batch).text_states
    (main, own), (auxiliary, also) = read
    assert main is own is auxiliary is also
    kept = main != 0
    assert torch.allclose(main[kept], states[kept] / 0.75)
    assert float(kept.double().mean()) == pytest.approx(0.75, abs=0.03)  # of 2,816 units
    read.clear()
    states = model.eval()(batch).text_states
    assert torch.equal(read[0][0], states)


def test_the_span_detector_reads_no_image(make_sample: MakeSample, stir: Stir) -> None:
    model: Any = UMTModel.build(LabelSpace("ner", ("PER",)))
    stir(model).eval()
    batch, _ = model.processor.collate([make_sample("p", kind="ner")])
    spans = model(batch).span_logits
    batch["images"] = 255 - batch["images"]
    assert torch.equal(model(batch).span_logits, spans)


def test_relations_have_no_span_detector() -> None:
    model = UMTModel.build(LabelSpace("re", ("peer",), na="None"))
    assert model.aux_head is None
    assert model.aux_crf is None
    assert model.fusion.auxiliary is None


def test_a_loss_without_span_emissions_is_refused(make_sample: MakeSample) -> None:
    model: Any = UMTModel.build(LabelSpace("ner", ("PER",)))
    batch, targets = model.processor.collate([make_sample("p", kind="ner")])
    bare = ModelOutput.scores_only(model(batch))
    with pytest.raises(ConfigError, match="reads span emissions; ModelOutput has none"):
        model.loss(bare, targets)


def test_wrong_options_name_the_choice() -> None:
    labels = LabelSpace("ner", ("PER",))
    with pytest.raises(ConfigError, match=r"projections='three'; choose one of \['one', 'two'\]"):
        UMTModel.build(labels, projections="three")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"conversion=1.5; give 0 to 1") as caught:
        UMTModel.build(labels, conversion=1.5, span_loss=float("nan"))
    assert caught.value.problems[1] == "span_loss=nan; give 0 or more"


@torch.no_grad()
def test_a_cnn_gives_the_grid(make_sample: MakeSample) -> None:
    """The released backbone is a ResNet; its width is not the text encoder's."""
    model = UMTModel.build(LabelSpace("ner", ("PER",)), vision="test_resnet", pretrained=False)
    batch, _ = model.processor.collate([make_sample("p", kind="ner")])
    assert batch["images"].shape[-1] == 160
    assert model.eval()(batch).logits.shape == (1, 5, 3)
