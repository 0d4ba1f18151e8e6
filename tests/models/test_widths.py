"""MSPT's model of two encoders that are not equally wide, nor cut into as many heads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from mkgc_cl.data.samples import LabelSpace, Sample
from mkgc_cl.models import DualStreamModel, parameter_groups
from mkgc_cl.models.encoders import load_text_encoder

MakeSample = Callable[..., Sample]
Stir = Callable[[nn.Module], nn.Module]
LABELS = {
    "re": LabelSpace("re", ("peer", "part_of", "held_on"), na="None"),
    "ner": LabelSpace("ner", ("PER", "LOC")),
}


def model(kind: str, *, width: int = 24, heads: int = 3, **options: Any) -> Any:
    """A text encoder of 4 heads of 16 beside a ViT of other ones."""
    tiny = load_text_encoder("tiny")
    vit = VisionTransformer(
        img_size=32, patch_size=16, embed_dim=width, depth=3, num_heads=heads, num_classes=0
    )
    made = DualStreamModel(
        LABELS[kind], text=tiny.module, tokenizer=tiny.tokenizer, vision=vit, **options
    )
    made.observe(made.labels.classes)
    return made


@pytest.mark.parametrize("key_shape", ["per-position", "single"])
@torch.no_grad()
def test_the_key_reaches_the_vision_through_a_linear_map(
    key_shape: str, make_sample: MakeSample, stir: Stir
) -> None:
    """Eq. (10) on the vision side, K W in place of K, head by head."""
    made = model("re", interaction_layers=1, key_shape=key_shape)
    stir(made).eval()
    batch, _ = made.processor.collate([make_sample("p"), make_sample("q", image="b")])
    output = made(batch)
    (key,), (bring,) = made.shared_keys, made.key_projections
    attention = made.vision.vit.blocks[-1].attn.shared
    tokens, _ = made.vision.lower(batch, len(made.vision.blocks) - 1)
    query = attention.query(made.vision.vit.blocks[-1].norm1(tokens))
    (found,) = output.vision_maps
    assert found.shape == (2, 3, 5, 5)
    assert output.text_maps[0].shape[1] == 4
    for image in range(2):
        for head in range(3):
            own = slice(8 * head, 8 * head + 8)
            for row in range(5):
                for column in range(5):
                    position = 0 if key_shape == "single" else column
                    brought = bring.weight[own] @ key[position]
                    score = query[image, row, own] @ brought + attention.bias[head, row, column]
                    assert torch.isclose(found[image, head, row, column], score / 8**0.5)


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("interaction", ["shared-key", "self"])
def test_everything_between_the_widths_learns(
    kind: str, interaction: str, make_sample: MakeSample
) -> None:
    made = model(kind, interaction=interaction, interaction_layers=2, dropout=0.0)
    samples = [make_sample(uid, kind=kind, image=uid) for uid in "pqr"]
    batch, targets = made.processor.collate(samples)
    output = made(batch)
    assert output.visual.shape == (3, 64)
    expected = made.projection(output.vision_states[:, 0])[batch["visual_index"]]
    assert torch.equal(output.visual, expected)
    made.loss(output, targets).backward()
    assert len(made.key_projections) == (2 if interaction == "shared-key" else 0)
    for part in (made.projection, made.key_projections):
        assert all(parameter.grad.abs().sum() > 0 for parameter in part.parameters())
    roles = {
        name: (group.modality, group.role)
        for group in parameter_groups(made)
        for name, _ in group.parameters
    }
    assert roles["projection.weight"] == ("shared", "projection")
    if interaction == "shared-key":
        assert roles["key_projections.1.weight"] == ("shared", "key")


def test_equal_widths_have_nothing_between_them() -> None:
    """Whatever their heads: runs from before there were projections stay as they are."""
    made = model("ner", width=64, heads=2)
    assert made.projection is None
    assert not made.key_projections
    assert made.vision_keys() == list(made.shared_keys)
