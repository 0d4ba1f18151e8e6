"""Encoders of other families, read as transformers runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModel,
    DebertaConfig,
    DebertaV2Config,
    DistilBertConfig,
    MPNetConfig,
)

from mkgc_cl.data.images import BLANK
from mkgc_cl.data.samples import LabelSpace, TaggingSample, VisualInput
from mkgc_cl.errors import ConfigError
from mkgc_cl.inference.saving import from_pretrained, save_pretrained
from mkgc_cl.models import (
    DualStreamModel,
    MEGAModel,
    MKGformerModel,
    TextModel,
    UMGFModel,
    UMTModel,
    build_optimizer,
)

LABELS = LabelSpace("ner", ("PER",))
SPECIAL = ("<s>", "<pad>", "</s>", "[UNK]", "<mask>")
SAMPLES = [
    TaggingSample("a", ("abc", "b", "c"), ("B-PER", "I-PER", "O")),
    TaggingSample("b", ("c",), ("O",)),
]


SIZES: dict[str, Any] = {
    "num_hidden_layers": 3, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 32,
    "initializer_range": 0.3,
}  # fmt: skip
FAMILIES: dict[str, Callable[[int], Any]] = {
    # of its 34 positions two are taken: its table starts after the padding id
    "mpnet": lambda n: MPNetConfig(
        vocab_size=n, max_position_embeddings=34, pad_token_id=1, **SIZES
    ),
    "distilbert": lambda n: DistilBertConfig(
        vocab_size=n, max_position_embeddings=32, pad_token_id=1, n_layers=3, n_heads=2, dim=16,
        hidden_dim=32, initializer_range=0.3,
    ),
    "deberta": lambda n: DebertaConfig(
        vocab_size=n, max_position_embeddings=32, relative_attention=True,
        pos_att_type=["c2p", "p2c"], pad_token_id=1, **SIZES,
    ),
    "deberta-v2": lambda n: DebertaV2Config(
        vocab_size=n, max_position_embeddings=32, relative_attention=True, position_buckets=8,
        pos_att_type=["c2p", "p2c"], position_biased_input=False, type_vocab_size=0,
        norm_rel_ebd="layer_norm", share_att_key=True, pad_token_id=1, **SIZES,
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny encoder of a family, with a vocabulary of letters."""
    path: Path = tmp_path_factory.mktemp(request.param)
    pieces = [*SPECIAL, *"abc@#", *(f"##{letter}" for letter in "abc")]
    (path / "vocab.txt").write_text("\n".join(pieces))
    names = dict(zip(("cls", "pad", "sep", "unk", "mask"), SPECIAL, strict=True))
    told = {f"{name}_token": piece for name, piece in names.items()}
    told |= {"tokenizer_class": "BertTokenizerFast"}
    (path / "tokenizer_config.json").write_text(json.dumps(told))
    torch.manual_seed(4)
    AutoModel.from_config(FAMILIES[request.param](len(pieces))).save_pretrained(path)
    return str(path)


@torch.no_grad()
def test_its_states_are_the_models_own(folder: str) -> None:
    model = TextModel.build(
        LABELS,
        text=folder,
        layers=None,
        markers="punctuation",
        max_text_length=32,
        tagger="softmax",
    ).eval()
    assert model.layers == (1, 2, 3)
    batch, _ = model.processor.collate(SAMPLES)
    plain: Any = AutoModel.from_pretrained(folder).eval()
    hidden = plain(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"].long(),
        output_hidden_states=True,
    ).hidden_states
    output = model(batch)
    assert torch.allclose(output.text_states, hidden[3], atol=1e-6)
    assert output.layer_features is not None
    for depth in (1, 2, 3):
        first, mean = output.layer_features[0, 0, 32 * (depth - 1) : 32 * depth].chunk(2)
        assert torch.allclose(first, hidden[depth][0, 1], atol=1e-6)
        assert torch.allclose(mean, hidden[depth][0, 1:4].mean(dim=0), atol=1e-6)


def test_it_trains_but_for_what_is_frozen(folder: str) -> None:
    model = TextModel.build(LABELS, text=folder, max_text_length=32, freeze_lower=1)
    model.observe(LABELS.classes)
    batch, targets = model.processor.collate(SAMPLES)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = build_optimizer(model, lr=1e-2)
    assert {group["modality"] for group in optimizer.param_groups} == {"text", "shared"}
    model.loss(model.train()(batch), targets).backward()
    optimizer.step()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert not any(".embeddings." in n or ".layer.0." in n for n in moved)
    assert any(".layer.2." in n for n in moved)


def test_who_cannot_run_it_or_asks_for_too_much_is_told(folder: str) -> None:
    runs_layers = () if "mpnet" in folder else (DualStreamModel.build, MKGformerModel.build)
    for build in runs_layers:
        with pytest.raises(ConfigError, match="layers cannot be run one by one, as MSPT"):
            build(LABELS, text=folder)
    with pytest.raises(ConfigError, match="max_text_length=33 but the encoder has 32"):
        TextModel.build(LABELS, text=folder, max_text_length=33)


@pytest.mark.parametrize("kind", [UMTModel, UMGFModel, MEGAModel])
def test_models_that_read_states_take_it(folder: str, kind: Any, tmp_path: Path) -> None:
    own = {UMTModel: {}, UMGFModel: {"width": 16, "layers": 1}, MEGAModel: {}}[kind]
    own = own | ({"alignments": "semantic"} if kind is MEGAModel else {})
    seen: dict[str, Any] = {"images": "image", "max_text_length": 32, **own}
    model = kind.build(LABELS, text=folder, **seen)
    model.observe(LABELS.classes)
    samples = [replace(sample, visual=VisualInput(BLANK)) for sample in SAMPLES]
    batch, targets = model.processor.collate(samples)
    model.loss(model(batch), targets).backward()
    trained = [p.grad for n, p in model.text.named_parameters() if "layer.1." in n]
    assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in trained)
    save_pretrained(model.eval(), tmp_path / "model")
    again = from_pretrained(tmp_path / "model")
    with torch.no_grad():
        assert torch.equal(again(batch).logits, model(batch).logits)
