"""UMGF: gates, messages and layers against loops over every pair."""

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
from mkgc_cl.models import UMGFModel
from mkgc_cl.models.graph_fusion import GraphFusion, GraphFusionLayer, PairGate

Stir = Callable[[nn.Module], nn.Module]
MakeSample = Callable[..., Sample]
TAGS = LabelSpace("ner", ("PER", "LOC"))
SMALL: dict[str, Any] = {"width": 16, "layers": 2, "heads": 2}


def random(*shape: int) -> Tensor:
    source = torch.Generator().manual_seed(math.prod(shape))
    return torch.randn(*shape, generator=source, dtype=torch.float64)


def norm(module: Any, row: Tensor) -> Tensor:
    centered = row - row.mean()
    scaled = centered / (centered.square().mean() + module.norm.eps).sqrt()
    return scaled * module.norm.weight + module.norm.bias


def received(gate: Any, receiver: Tensor, senders: list[Tensor]) -> Tensor:
    """``sum_j sigmoid(W [x ; o_j] + b) * o_j`` with one matrix over the concatenated pair."""
    weight = torch.cat([gate.receiver.weight, gate.sender.weight], dim=1)
    total = torch.zeros_like(receiver)
    for sender in senders:
        scores = weight @ torch.cat([receiver, sender]) + gate.receiver.bias
        for i, score in enumerate(scores.tolist()):
            total[i] += sender[i] / (1 + math.exp(-score))
    return total


def attend(block: Any, state: Tensor, context: list[Tensor]) -> Tensor:
    size = len(state) // block.heads
    parts = []
    for head in range(block.heads):
        own = slice(head * size, (head + 1) * size)
        query = block.query(state)[own]
        raised = [math.exp(float(query @ block.key(row)[own]) / size**0.5) for row in context]
        values = [block.value(row)[own] for row in context]
        parts.append(sum(r / sum(raised) * v for r, v in zip(raised, values, strict=True)))
    answer: Tensor = block.output(torch.cat(parts))  # type: ignore[arg-type]
    return answer


def layer(
    block: Any, words: list[Tensor], objects: list[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """One fusion layer over the words and objects that are there."""
    word, obj = block.word_norms, block.object_norms
    words = [norm(word[0], x + attend(block.word_attention, x, words)) for x in words]
    objects = [norm(obj[0], o + attend(block.object_attention, o, objects)) for o in objects]
    told = [norm(word[1], x + received(block.word_gate, x, objects)) for x in words]
    telling = [norm(obj[1], o + received(block.object_gate, o, words)) for o in objects]
    fed = [norm(word[2], x + feed(block.word_feed, x)) for x in told]
    return fed, [norm(obj[2], o + feed(block.object_feed, o)) for o in telling]


def node(projection: Any, vector: Tensor) -> Tensor:
    """``relu(W_2 relu(W_1 o + b_1) + b_2)``: no negative number is left."""
    first, second = (part for part in projection if isinstance(part, nn.Linear))
    inner = (first.weight @ vector + first.bias).clamp(min=0)
    result: Tensor = (second.weight @ inner + second.bias).clamp(min=0)
    return result


def feed(block: Any, row: Tensor) -> Tensor:
    inner = block[0].weight @ row + block[0].bias
    result: Tensor = block[2].weight @ inner.clamp(min=0) + block[2].bias
    return result


@torch.no_grad()
def test_gates_of_every_pair_in_loops(stir: Stir) -> None:
    gate = stir(PairGate(6))
    receivers, senders = random(2, 3, 6), random(2, 4, 6)
    mask = torch.tensor([[True, False, True, True], [False] * 4])
    found = gate(receivers, senders, mask)
    for row in range(2):
        there = [senders[row, i] for i in range(4) if mask[row, i]]
        for place in range(3):
            expected = received(gate, receivers[row, place], there)
            assert torch.allclose(found[row, place], expected, atol=1e-9)
    assert not found[1].any()


@pytest.mark.parametrize("kind", ["full", "bare"])
@torch.no_grad()
def test_the_stack_worked_out_in_loops(kind: Any, stir: Stir) -> None:
    """Projections and two layers; one sample has no object, one has fewer than slots."""
    fusion: Any = stir(
        GraphFusion(
            text_width=5, object_width=7, width=8, layers=2, heads=2, dropout=0.5,
            object_attention=kind,
        )
    ).eval()  # fmt: skip
    text, vectors = random(3, 4, 5), random(3, 3, 7)
    text_mask = torch.tensor([[True] * 4, [True, True, False, False], [True] * 3 + [False]])
    object_mask = torch.tensor([[True, True, False], [False] * 3, [True] * 3])
    index = [0, 1, 2]
    found = fusion(text, text_mask, vectors, object_mask, torch.tensor(index))
    for sample, row in enumerate(index):
        words = [fusion.project_words(x) for x in text[sample, : int(text_mask[sample].sum())]]
        present = [o for o, there in zip(vectors[row], object_mask[row], strict=True) if there]
        objects = [node(fusion.project_objects, o) for o in present]
        for block in fusion.layers:
            words, objects = layer(block, words, objects)
        for place, expected in enumerate(words):
            assert torch.allclose(found[sample, place], expected, atol=1e-9)


def test_objects_are_dropped_after_either_relu(stir: Stir) -> None:
    """The published projection in plain words, from the same state of the generator."""
    fusion: Any = stir(
        GraphFusion(text_width=5, object_width=7, width=8, layers=1, heads=2, dropout=0.4)
    ).train()
    first, second = (part for part in fusion.project_objects if isinstance(part, nn.Linear))
    objects = random(3, 4, 7)
    torch.manual_seed(5)
    found = fusion.project_objects(objects)
    torch.manual_seed(5)
    inner = F.dropout(F.relu(F.linear(objects, first.weight, first.bias)), 0.4)
    expected = F.dropout(F.relu(F.linear(inner, second.weight, second.bias)), 0.4)
    assert torch.equal(found, expected)
    assert float((found == 0).double().mean()) > 0.5  # a half by ReLU, and 0.4 of the rest


def test_samples_that_share_a_image_lose_other_units(stir: Stir) -> None:
    fusion: Any = stir(
        GraphFusion(text_width=5, object_width=7, width=32, layers=1, heads=2, dropout=0.4)
    ).train()
    nodes = []
    fusion.project_objects.register_forward_hook(lambda *call: nodes.append(call[-1]))
    mask = torch.ones(2, 3, dtype=torch.bool)
    fusion(random(2, 3, 5), mask, random(1, 3, 7), mask[:1], torch.tensor([0, 0]))
    assert nodes[0].shape == (2, 3, 32)
    assert not torch.equal(nodes[0][0], nodes[0][1])


def test_bare_attention_of_objects_has_neither_value_nor_output() -> None:
    full, bare = (
        UMGFModel.build(TAGS, object_attention=kind, **SMALL).state_dict()
        for kind in ("full", "bare")
    )
    gone = full.keys() - bare.keys()
    assert len(gone) == 2 * 2 * 2
    assert all(".object_attention.value." in k or ".object_attention.output." in k for k in gone)
    assert all(torch.equal(full[key], bare[key]) for key in bare)


def test_masked_nodes_get_no_gradient(stir: Stir) -> None:
    block = stir(GraphFusionLayer(8, heads=2, dropout=0.0)).eval()
    words, objects = random(2, 4, 8).requires_grad_(), random(2, 3, 8).requires_grad_()
    word_mask = torch.tensor([[True] * 4, [True, True, False, False]])
    object_mask = torch.tensor([[True, False, True], [False] * 3])
    for side, mask in ((0, word_mask), (1, object_mask)):
        found = block(words, word_mask, objects, object_mask)[side]
        for tensor, own in ((words, word_mask), (objects, object_mask)):
            (gradient,) = torch.autograd.grad(found[mask].square().sum(), tensor, retain_graph=True)
            assert torch.equal(gradient.any(dim=-1) & ~own, torch.zeros_like(own))
            assert torch.isfinite(gradient).all()


@torch.no_grad()
def test_emissions_read_the_encoder_and_the_graph(stir: Stir, make_sample: MakeSample) -> None:
    model: Any = UMGFModel.build(TAGS, **SMALL)
    stir(model).eval()
    model.observe(TAGS.classes)
    samples = [
        make_sample("p", kind="ner", crops=2),
        make_sample("q", kind="ner", length=3, image="b"),
    ]
    batch, targets = model.processor.collate(samples)
    output = model(batch)
    assert output.word_features.shape == (2, 5, 64 + 16)
    for row, sample in enumerate(samples):
        for word in range(len(sample.tokens)):
            features = output.word_features[row, word]
            assert torch.equal(features[:64], output.text_states[row, word + 1])
            expected = model.head.weight @ features + model.head.bias
            assert torch.allclose(output.logits[row, word], expected, atol=1e-9)
    negative = -model.crf(
        output.logits, targets.clamp(min=0), mask=targets != -100, reduction="mean"
    )
    assert torch.allclose(model.loss(output, targets), negative, atol=1e-9)


@torch.no_grad()
def test_objects_beyond_the_most_change_nothing(make_sample: MakeSample) -> None:
    """Two objects: of three grounding crops the third, and every detected one, stay unread."""
    model: Any = UMGFModel.build(TAGS, objects=2, **SMALL).eval()
    batch, _ = model.processor.collate([make_sample("p", kind="ner", crops=3)])
    assert {key for key in batch if key.startswith("crop_")} == {f"crop_{i}" for i in range(4)}
    features = model(batch).word_features
    for slot in (2, 3):
        batch[f"crop_{slot}"] = 255 - batch[f"crop_{slot}"]
    assert torch.equal(model(batch).word_features, features)
    batch["crop_1"] = 255 - batch["crop_1"]
    assert not torch.equal(model(batch).word_features, features)


@torch.no_grad()
def test_a_batch_without_any_object_works(make_sample: MakeSample) -> None:
    model: Any = UMGFModel.build(TAGS, **SMALL).eval()
    model.observe(TAGS.classes)
    batch, targets = model.processor.collate(
        [make_sample("p", kind="ner"), make_sample("q", kind="ner")]
    )
    assert not batch["crops_present"].any()
    output = model(batch)
    assert bool(torch.isfinite(output.logits).all())
    assert bool(torch.isfinite(model.loss(output, targets)))


def test_wrong_options_name_the_choice() -> None:
    wrong: dict[str, dict[str, Any]] = {
        r"images='grid'; choose one of \['crops', 'image', 'captions'\]": {"images": "grid"},
        r"object_attention='none'; choose one of \['full', 'bare'\]": {"object_attention": "none"},
        "objects=0; give 1 or more": {"objects": 0},
        "layers=0; give 1 or more": {"layers": 0},
        "width=30 is not a multiple of heads=8": {"width": 30},
    }
    for message, options in wrong.items():
        with pytest.raises(ConfigError, match=message):
            UMGFModel.build(TAGS, **options)
    with pytest.raises(ConfigError) as caught:
        UMGFModel.build(TAGS, heads=0, layers=-1)
    assert len(caught.value.problems) == 2


def test_the_defaults_are_the_released_sizes() -> None:
    model: Any = UMGFModel.build(TAGS)
    assert len(model.fusion.layers) == 6
    assert model.fusion.layers[0].word_attention.heads == 8
    shapes = [tuple(part.weight.shape) for part in model.fusion.layers[0].word_feed if
              isinstance(part, nn.Linear)]  # fmt: skip
    assert shapes == [(256, 512), (512, 256)]
    assert {m.p for m in model.fusion.modules() if isinstance(m, nn.Dropout)} == {0.4}
    assert model.vision.trains
