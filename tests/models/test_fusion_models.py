"""What every model with a fusion on top owes its users, of both kinds and of both tasks."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.images import BLANK
from mkgc_cl.data.samples import LabelSpace, Sample, VisualInput
from mkgc_cl.errors import ConfigError
from mkgc_cl.models import ExtractionModel, UMGFModel, UMTModel, build_optimizer, parameter_groups
from mkgc_cl.models.heads import UNSEEN_LOGIT
from mkgc_cl.models.span_tags import conversion_matrix

Make = Callable[..., Any]
MakeSample = Callable[..., Sample]
KINDS = ("re", "ner")
LABELS = {
    "re": LabelSpace("re", ("peer", "part_of", "held_on"), na="None"),
    "ner": LabelSpace("ner", ("PER", "LOC")),
}
SMALL = {"width": 16, "layers": 2, "heads": 2}
MODELS: dict[str, tuple[type[ExtractionModel], dict[str, Any]]] = {
    "umt": (UMTModel, {}),
    "umgf": (UMGFModel, SMALL),
    "umgf-image": (UMGFModel, {**SMALL, "images": "image"}),
}
pytestmark = [pytest.mark.parametrize("name", MODELS), pytest.mark.parametrize("kind", KINDS)]


def fresh(name: str, labels: LabelSpace, **options: Any) -> Any:
    model, own = MODELS[name]
    return model.build(labels, **{**own, **options})  # type: ignore[attr-defined]


@pytest.fixture
def make(name: str, kind: str, stir: Callable[[nn.Module], nn.Module]) -> Make:
    """Builds the stirred model of the test in evaluation mode."""

    def build(*, seen: bool = True, **options: Any) -> Any:
        model = fresh(name, LABELS[kind], **options)
        stir(model)
        if seen:
            model.observe(model.labels.classes)
        return model.eval()

    return build


def mixed(make_sample: MakeSample, kind: str) -> list[Sample]:
    """Samples of several lengths; the first and the third share images, the last has none."""
    sizes = (("p", 7, "a", 3), ("q", 3, "b", 1), ("r", 5, "a", 3), ("s", 4, "c", 2))
    samples = [
        make_sample(uid, kind=kind, length=n, image=image, crops=crops)
        for uid, n, image, crops in sizes
    ]
    return [*samples, replace(make_sample("t", kind=kind, length=3), visual=VisualInput(BLANK))]


@torch.no_grad()
def test_a_sample_does_not_feel_its_batch(kind: str, make: Make, make_sample: MakeSample) -> None:
    """Padding, others' images and the slots of absent objects: none of them comes through."""
    model = make()
    samples = mixed(make_sample, kind)
    batch, targets = model.processor.collate(samples)
    together = model(batch)
    losses = model.loss(together, targets, reduction="none")
    decoded = model.decode(together)
    for row, sample in enumerate(samples):
        alone_batch, alone_targets = model.processor.collate([sample])
        alone = model(alone_batch)
        words = alone.logits.shape[1] if kind == "ner" else None
        assert torch.allclose(together.logits[row][:words], alone.logits[0], atol=1e-5)
        assert torch.allclose(together.features[row], alone.features[0], atol=1e-5)
        assert torch.allclose(losses[row], model.loss(alone, alone_targets), atol=1e-5)
        assert decoded[row] == model.decode(alone)[0]
    assert torch.allclose(model.loss(together, targets), losses.mean())


@torch.no_grad()
def test_images_encoded_once_act_as_if_repeated(
    kind: str, make: Make, make_sample: MakeSample
) -> None:
    model = make()
    batch, targets = model.processor.collate(mixed(make_sample, kind))
    index = batch["visual_index"]
    assert index.tolist() == [0, 1, 0, 2, 3]
    tensors = {
        key: tensor[index] if key.startswith(("images", "crop")) else tensor
        for key, tensor in batch.items()
    }
    tensors["visual_index"] = torch.arange(len(index))
    once, each = model(batch), model(MultimodalBatch(tensors, uids=batch.uids))
    assert torch.allclose(once.logits, each.logits, atol=1e-9)
    assert torch.allclose(model.loss(once, targets), model.loss(each, targets), atol=1e-9)


@torch.no_grad()
def test_the_image_matters_where_there_is_one(
    kind: str, make: Make, make_sample: MakeSample
) -> None:
    model = make()
    batch, _ = model.processor.collate(mixed(make_sample, kind))
    logits = model(batch).logits
    for key in batch:
        if key == "images" or key.removeprefix("crop_").isdigit():
            blank = (batch[key] == 128).flatten(1).all(dim=1)
            batch[key] = torch.where(blank[:, None, None, None], batch[key], 255 - batch[key])
    other = model(batch).logits
    for row in range(5):
        same = torch.equal(logits[row], other[row])
        assert same is (row == 4), "only the sample without an image keeps its scores"


def test_outputs_have_the_documented_shapes(
    kind: str, name: str, make: Make, make_sample: MakeSample
) -> None:
    model = make()
    samples = mixed(make_sample, kind)
    batch, _ = model.processor.collate(samples)
    output = model(batch)
    token = 128 if name == "umt" else 64 + 16
    classes, words = len(model.labels.outputs), max(len(sample.tokens) for sample in samples)
    assert output.text_states.shape == (5, batch.size(1), 64)
    assert bool(torch.isfinite(output.logits).all())
    if kind == "re":
        assert output.logits.shape == (5, classes)
        assert output.features.shape == (5, 2 * token)
        assert output.word_features is None
        expected = output.features @ model.head.weight.T + model.head.bias
        assert torch.allclose(output.logits, expected, atol=1e-9)
    else:
        assert output.logits.shape == (5, words, classes)
        assert output.features.shape == (5, token)
        assert output.word_features.shape == (5, words, token)
        assert torch.equal(output.word_mask, batch["word_mask"])
    kept = output.scores_only()
    assert model.decode(kept) == model.decode(output)
    assert kept.text_states.numel() == kept.features.numel() == 0


def test_nothing_is_dropped_before_the_heads(
    kind: str, name: str, make: Make, make_sample: MakeSample
) -> None:
    """As published: in training, too, the head reads its features as they are."""
    model = make(dropout=0.5).train()
    batch, _ = model.processor.collate(mixed(make_sample, kind))
    output = model(batch)
    read = output.features if output.word_features is None else output.word_features
    expected = read @ model.head.weight.T + model.head.bias
    if name == "umt" and kind == "ner":
        spans = conversion_matrix(model.seen_ids).to(output.span_logits.dtype)
        expected = 0.5 * expected + 0.5 * output.span_logits @ spans
    assert torch.allclose(output.logits, expected, atol=1e-9)
    rows = read[(read != 0).any(dim=-1)]  # others are padding
    assert (rows != 0).all()  # dropping puts zeros there


def test_classes_not_seen_yet_cannot_be_chosen_or_learned(
    kind: str, make: Make, make_sample: MakeSample
) -> None:
    model = make(seen=False)
    batch, _ = model.processor.collate(mixed(make_sample, kind))
    assert bool(torch.isfinite(model.loss(model(batch), _negatives(kind, batch))))
    model.observe(model.labels.classes[:1])
    allowed = set(model.labels.output_ids(model.labels.classes[:1]))
    hidden = [i for i in range(len(model.labels.outputs)) if i not in allowed]
    with torch.no_grad():
        model.head.bias[hidden] = 1000.0
        if model.crf is not None:
            model.crf.transitions[:, hidden] = 5.0
            model.crf.start_transitions[hidden] = 5.0
    output = model(batch)
    assert bool((output.logits[..., hidden] == UNSEEN_LOGIT).all())
    assert {i for row in model.decode(output) for i in row} <= allowed
    loss = model.loss(output, _negatives(kind, batch))
    (found,) = torch.autograd.grad(loss, [model.head.weight])
    assert not found[hidden].any()
    assert found[sorted(allowed)].any()


@torch.no_grad()
def test_later_classes_do_not_exist_for_earlier_ones(
    name: str, kind: str, make_sample: MakeSample
) -> None:
    short = LABELS[kind]
    long = LabelSpace(short.kind, (*short.classes, "x", "y"), na=short.na)
    small, large = (fresh(name, labels, seed=4).eval() for labels in (short, long))
    states = [model.state_dict() for model in (small, large)]
    for state in states:
        del state["_extra_state"]  # names of the outputs
    assert states[0].keys() == states[1].keys()
    count = len(short.outputs)
    for key, tensor in states[0].items():
        other = states[1][key]
        if tensor.shape != other.shape:
            assert key.startswith(("head.", "crf.", "seen"))
            other = other[tuple(slice(count) for _ in range(1 + (key == "crf.transitions")))]
        assert torch.equal(tensor, other), key
    losses = []
    for model in (small, large):
        model.observe(short.classes)
        batch, targets = model.processor.collate(mixed(make_sample, kind))
        output = model(batch)
        losses.append(float(model.loss(output, targets)))
        assert model.decode(output) == small.decode(small(batch))
    assert math.isclose(*losses, rel_tol=1e-6)


def test_a_seed_makes_the_model_and_leaves_the_global_generator(name: str, kind: str) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = fresh(name, LABELS[kind], seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second = fresh(name, LABELS[kind], seed=3).state_dict()
    other = fresh(name, LABELS[kind], seed=4).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert {"head.weight"} <= {key for key in first if not torch.equal(first[key], other[key])}


@pytest.mark.slow
def test_training_lowers_the_loss_and_leaves_frozen_images_alone(
    name: str, kind: str, make_sample: MakeSample
) -> None:
    options = {"dropout": 0.0, "freeze_lower": 1, "train_vision": False}
    model = fresh(name, LABELS[kind], **options).train()
    model.observe(model.labels.classes)
    batch, targets = model.processor.collate(mixed(make_sample, kind))
    start = copy.deepcopy(model.state_dict())
    optimizer = build_optimizer(model, lr=1e-3)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = model.loss(model(batch), targets)
        losses.append(float(loss.detach()))
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, start[key])}
    still = ("vision.", "text.embeddings.", "text.layers.0.", "seen")
    assert not any(key.startswith(still) for key in moved)
    # all that trains is reached: no part of the fusion or the heads hangs loose
    learns = {key for key, parameter in model.named_parameters() if parameter.requires_grad}
    # keys' biases shift every score of a row alike, and the last layer's objects are not read
    idle = {key for key in learns - moved if not key.endswith("key.bias")}
    dead = ("fusion.layers.1.object_", "fusion.layers.0.object_attention.query")
    assert all(key.startswith(dead) for key in idle), sorted(idle)


def test_every_parameter_has_a_group_and_fusion_a_rate(make: Make) -> None:
    model = make(train_vision=True)
    groups = {
        (group.modality, group.role): [key for key, _ in group.parameters]
        for group in parameter_groups(model)
    }
    assert set(groups) == {
        ("text", "encoder"), ("vision", "encoder"), ("shared", "fusion"), ("shared", "head"),
    }  # fmt: skip
    for (_, role), keys in groups.items():
        starts = {
            "encoder": ("text.", "vision."), "fusion": ("fusion.",),
            "head": ("head.", "aux_head.", "crf.", "aux_crf."),
        }[role]  # fmt: skip
        assert all(key.startswith(starts) for key in keys)
    optimizer = build_optimizer(model, lr=1e-3, fusion_lr=0.5)
    rates = {group["role"]: group["lr"] for group in optimizer.param_groups}
    assert rates == {"encoder": 1e-3, "fusion": 0.5, "head": 1e-3}
    frozen = {group.modality for group in parameter_groups(make(train_vision=False))}
    assert frozen == {"text", "shared"}


@pytest.mark.slow
@pytest.mark.parametrize("vision", ["tiny", "test_resnet"])
def test_bfloat16_runs_and_scores_in_single_precision(
    name: str, kind: str, vision: str, make_sample: MakeSample
) -> None:
    options: dict[str, Any] = {"vision": vision, "pretrained": False, "train_vision": True}
    if name == "umgf":
        options["object_attention"] = "bare"
    model = fresh(name, LABELS[kind], **options)
    model.observe(model.labels.classes)
    batch, targets = model.processor.collate(mixed(make_sample, kind))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(batch)
    assert output.logits.dtype == torch.float32
    loss = model.loss(output, targets)
    loss.backward()
    assert bool(torch.isfinite(loss))


def test_a_trained_backbone_gets_gradients(kind: str, make: Make, make_sample: MakeSample) -> None:
    model = make(train_vision=True)
    batch, targets = model.processor.collate(mixed(make_sample, kind))
    model.loss(model(batch), targets).backward()
    assert model.vision.backbone.blocks[0].attn.qkv.weight.grad.any()


def test_options_that_fit_nothing_are_refused(name: str, kind: str) -> None:
    with pytest.raises(ConfigError, match="freeze_lower=-1; give 0 or more"):
        fresh(name, LABELS[kind], freeze_lower=-1)
    with pytest.raises(ConfigError, match="max_text_length=129 but the encoder has 128"):
        fresh(name, LABELS[kind], max_text_length=129)
    with pytest.raises(ConfigError, match="vision encoder 'no_such_net' cannot be loaded"):
        fresh(name, LABELS[kind], vision="no_such_net")


def _negatives(kind: str, batch: MultimodalBatch) -> torch.Tensor:
    if kind == "re":
        return torch.zeros(batch.size(), dtype=torch.long)
    return torch.where(batch["word_mask"], 0, -100)
