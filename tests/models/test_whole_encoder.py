"""An encoder of another family, read as transformers runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, MPNetConfig, MPNetModel

from mkgc_cl.data.samples import LabelSpace, TaggingSample
from mkgc_cl.errors import ConfigError
from mkgc_cl.models import TextModel, build_optimizer
from mkgc_cl.models.encoders import load_text_encoder

LABELS = LabelSpace("ner", ("PER",))
SPECIAL = ("<s>", "<pad>", "</s>", "[UNK]", "<mask>")
SAMPLES = [
    TaggingSample("a", ("abc", "b", "c"), ("B-PER", "I-PER", "O")),
    TaggingSample("b", ("c",), ("O",)),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny MPNet with a vocabulary of letters."""
    path: Path = tmp_path_factory.mktemp("mpnet")
    pieces = [*SPECIAL, *"abc@#", *(f"##{letter}" for letter in "abc")]
    (path / "vocab.txt").write_text("\n".join(pieces))
    torch.manual_seed(4)
    config = MPNetConfig(
        vocab_size=len(pieces), hidden_size=16, num_hidden_layers=3, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=34, pad_token_id=1, initializer_range=0.3,
    )  # fmt: skip
    MPNetModel(config).save_pretrained(path)
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
    with pytest.raises(ConfigError, match="not a BERT-family encoder"):
        load_text_encoder(folder)
    with pytest.raises(ConfigError, match="max_text_length=33 but the encoder has 32"):
        TextModel.build(LABELS, text=folder, max_text_length=33)
