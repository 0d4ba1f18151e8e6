"""MPNet's layers, run one by one beside a ViT or in place of one."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import MPNetConfig, MPNetModel

from mkgc_cl.data.images import BLANK
from mkgc_cl.data.samples import LabelSpace, RelationSample, VisualInput
from mkgc_cl.data.tokenizer import HashTokenizer
from mkgc_cl.data.views import ViewPlan
from mkgc_cl.inference.saving import from_pretrained, save_pretrained
from mkgc_cl.models import DualStreamModel, MKGformerModel
from mkgc_cl.models.captions import CaptionStream
from mkgc_cl.models.encoders import load_vision_encoder

LABELS = LabelSpace("re", ("peer",), na="None")


def mpnet() -> Any:
    """Two heads of 12, three layers, with large relative positions."""
    torch.manual_seed(4)
    model = MPNetModel(
        MPNetConfig(
            vocab_size=107, hidden_size=24, num_hidden_layers=3, num_attention_heads=2,
            intermediate_size=32, max_position_embeddings=66, pad_token_id=1,
            initializer_range=0.3,
        )
    )  # fmt: skip
    model.pooler = None
    return model.eval()


@torch.no_grad()
def test_captions_layer_by_layer_with_and_without_words_before_them() -> None:
    encoder = mpnet()
    own = copy.deepcopy(encoder)
    stream: Any = CaptionStream(
        encoder,
        plan=ViewPlan(image=0, caption=9),
        interaction_layers=0,
        shared_key=False,
        generator=torch.Generator(),
    ).eval()
    mask = torch.arange(9)[None] < torch.tensor([9, 4])[:, None]
    ids = torch.randint(5, 100, (2, 9)).masked_fill(~mask, 1)
    states = stream.embeddings(input_ids=ids)
    for block in stream.blocks:
        context = stream.attend(block, stream.project(block, states), mask)
        states = stream.finish(block, context, states)
    expected = own(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    assert torch.allclose(states[mask], expected[mask], atol=1e-5)
    # before them stand four words, one of them padding, at no distance
    block = stream.blocks[0]
    query, key, value = stream.project(block, states)
    ahead = [torch.randn(2, 2, 4, 12) for _ in range(2)]
    there = torch.cat([torch.tensor([[True] * 3 + [False]] * 2), mask], dim=1)
    parts = (query, torch.cat([ahead[0], key], dim=2), torch.cat([ahead[1], value], dim=2))
    context = stream.attend(block, parts, there)
    bias = own.encoder.compute_position_bias(states)
    scores = query @ parts[1].transpose(2, 3) / 12**0.5
    scores[..., 4:] += bias
    weights = scores.masked_fill(~there[:, None, None], -torch.inf).softmax(dim=-1)
    merged = (weights @ parts[2]).transpose(1, 2).flatten(2)
    assert torch.allclose(context, merged, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (DualStreamModel, {"interaction_layers": 2}),
        (DualStreamModel, {"interaction_layers": 2, "interaction": "self"}),
        (MKGformerModel, {"fusion_layers": 1}),
        (DualStreamModel, {"interaction_layers": 1, "images": "captions", "share_captions": True}),
    ],
)
def test_it_stands_beside_a_vit(kind: Any, options: Any, tmp_path: Path) -> None:
    told = options.get("images") == "captions"
    model = kind(
        LABELS,
        text=mpnet(),
        tokenizer=HashTokenizer(buckets=100),
        vision=mpnet() if told else load_vision_encoder("tiny"),
        max_text_length=48,
        **options,
    )
    model.observe(LABELS.classes)
    samples = [
        RelationSample(
            uid, ("a", uid, "b"), (0, 1), (2, 3), "peer", VisualInput(BLANK, caption=uid)
        )
        for uid in "pq"
    ]
    batch, targets = model.processor.collate(samples)
    model.loss(model(batch), targets).backward()
    tables = [name for name, _ in model.named_parameters() if "relative" in name]
    assert tables == ["text.relative.weight"]  # once, and the captions' is the text's
    assert model.text.relative.weight.grad.abs().sum() > 0
    model.eval()
    teacher = copy.deepcopy(model)
    with torch.no_grad():
        before = model(batch).logits
        save_pretrained(model, tmp_path / "model")
        assert torch.equal(from_pretrained(tmp_path / "model")(batch).logits, before)
        model.text.relative.weight.add_(torch.randn(32, 2))
        assert not torch.equal(model(batch).logits, before)
        assert torch.equal(teacher(batch).logits, before)
