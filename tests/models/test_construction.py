"""Building the model: what depends on the classes, and options that fit nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from mkgc_cl.data.samples import LabelSpace, Sample
from mkgc_cl.errors import ConfigError, DataError
from mkgc_cl.models import (
    DualStreamModel,
    MEGAModel,
    MKGformerModel,
    TextModel,
    UMGFModel,
    UMTModel,
)
from mkgc_cl.models.encoders import load_text_encoder, load_vision_encoder

Build = Callable[..., DualStreamModel]
MakeSample = Callable[..., Sample]
KINDS = ("re", "ner")


def test_observing_adds_up_and_knows_its_classes(build: Build) -> None:
    model = build("ner", seen=False)
    assert model.seen.tolist() == [False] * 5
    model.observe(["LOC"])
    assert model.seen.tolist() == [True, False, False, True, True]
    model.observe(["PER"])
    assert model.seen.all()
    with pytest.raises(DataError, match="DOG"):
        model.observe(["DOG"])
    other = build("ner", seen=False)
    other.load_state_dict(model.state_dict())
    assert other.seen.all()


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_later_classes_do_not_exist_for_earlier_ones(kind: Any, make_sample: MakeSample) -> None:
    """A stream that goes on after two classes starts from the very same model."""
    na = "None" if kind == "re" else None
    names = ("peer", "part_of") if kind == "re" else ("PER", "LOC")
    short = LabelSpace(kind, names, na=na)
    long = LabelSpace(kind, (*names, "x", "y"), na=na)
    small, large = (DualStreamModel.build(labels, seed=4).eval() for labels in (short, long))
    states = [model.state_dict() for model in (small, large)]
    count = len(short.outputs)
    for name, tensor in states[0].items():
        if name == "_extra_state":  # names of the outputs, which must differ
            continue
        other = states[1][name]
        if tensor.shape != other.shape:
            assert name.startswith(("head.", "crf.", "seen"))
            other = other[tuple(slice(count) for _ in range(1 + (name == "crf.transitions")))]
        assert torch.equal(tensor, other), name
    samples = [
        make_sample(uid, kind=kind) for uid in ("P", "T")
    ]  # labels of the first class or none
    losses = []
    for model in (small, large):
        model.observe(names)
        batch, targets = model.processor.collate(samples)
        output = model(batch)
        losses.append(float(model.loss(output, targets)))
        assert model.decode(output) == small.decode(small(batch))
    assert math.isclose(*losses, rel_tol=1e-6)


WRONG: dict[str, dict[str, Any]] = {
    r"interaction='both'; choose one of \['shared-key', 'self'\]": {"interaction": "both"},
    "pooling='mean'; choose one of": {"pooling": "mean"},
    "key_shape='two'; choose one of": {"key_shape": "two"},
    "images='all'; choose one of": {"images": "all"},
    "interaction_layers=-1; give 0 or more": {"interaction_layers": -1},
    "freeze_lower=-1; give 0 or more": {"freeze_lower": -1},
    "freeze_lower=5; the text encoder has 4 layers": {"freeze_lower": 5},
    "4 layers, fewer than 5": {"interaction_layers": 5},
    "max_text_length=129 but the encoder has 128": {"max_text_length": 129},
    "ResNet is not a timm ViT": {"vision": "test_resnet", "pretrained": False},
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_options_that_fit_nothing_are_refused(message: str, build: Build) -> None:
    with pytest.raises(ConfigError, match=message):
        build("re", **WRONG[message])


COMMON = {"tagger": "hmm", "freeze_lower": -2, "dropout": 2.0}


@pytest.mark.parametrize(
    ("model", "wrong"),
    [
        (DualStreamModel, {"interaction": "both", "images": "all", "interaction_layers": -1}),
        (UMTModel, {"projections": "three", "conversion": 2.0, "span_loss": -1.0}),
        (UMGFModel, {"images": "grid", "object_attention": "no", "objects": 0, "width": 0}),
        (MEGAModel, {"images": "grid", "alignments": "none"}),
        (MKGformerModel, {"images": "all"}),
        (TextModel, {"pooling": "mean"}),
    ],
)
def test_all_wrong_options_are_reported_at_once(model: Any, wrong: dict[str, Any]) -> None:
    """UMT, UMGF, MKGformer and the dual stream had told them in two rounds, the tagger last."""
    given = {**wrong, **COMMON}
    with pytest.raises(ConfigError) as caught:
        model.build(LabelSpace("ner", ("PER",)), **given)
    named = {problem.partition("=")[0] for problem in caught.value.problems}
    assert named == set(given)


def test_an_option_that_a_model_has_not_is_refused_before_encoders_are_loaded() -> None:
    with pytest.raises(TypeError, match="interacton"):
        DualStreamModel.build(LabelSpace("ner", ("PER",)), text="unknown", interacton="self")


def test_modules_of_ones_own_are_checked_before_they_are_used() -> None:
    text = load_text_encoder("tiny")
    labels = LabelSpace("ner", ("PER",))
    with pytest.raises(ConfigError, match="Linear is not a timm ViT"):
        DualStreamModel(
            labels, text=text.module, tokenizer=text.tokenizer, vision=torch.nn.Linear(2, 2)
        )
    with pytest.raises(ConfigError, match="Linear is not a BERT-family"):
        DualStreamModel(
            labels,
            text=torch.nn.Linear(2, 2),
            tokenizer=text.tokenizer,
            vision=load_vision_encoder("tiny"),
        )


def test_with_and_without_interaction_start_from_the_same_model() -> None:
    """Rows of an ablation differ in the part that is left out and in nothing else."""
    labels = LabelSpace("re", ("peer",), na="None")
    shared, alone = (
        DualStreamModel.build(labels, interaction=how, images="image+crops", seed=3).state_dict()
        for how in ("shared-key", "self")
    )
    common = shared.keys() & alone.keys()
    assert "vision.crop_positions" in common
    assert all(torch.equal(shared[name], alone[name]) for name in common)
