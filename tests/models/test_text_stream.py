"""The text stream run from an encoder's parts against the encoder run by itself."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    MegatronBertConfig,
    MegatronBertModel,
    MPNetConfig,
    MPNetModel,
    RobertaConfig,
    RobertaModel,
)

from mkgc_cl.errors import ConfigError
from mkgc_cl.models.attention import SharedKeyAttention
from mkgc_cl.models.text import TextStream

SIZES: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 20,
}
FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "bert": lambda: BertModel(BertConfig(**SIZES)),
    "roberta": lambda: RobertaModel(RobertaConfig(**SIZES, pad_token_id=1)),
    "mpnet": lambda: MPNetModel(MPNetConfig(**SIZES, pad_token_id=1)),
    "electra": lambda: ElectraModel(ElectraConfig(**SIZES, embedding_size=24)),
}


def stream(encoder: nn.Module, *, shared: bool = False, layers: int = 2, length: int = 12) -> Any:
    source = torch.Generator().manual_seed(0)
    return TextStream(
        encoder, interaction_layers=layers, shared_key=shared, max_length=length, generator=source
    ).eval()


def padded_ids(encoder: Any) -> tuple[Tensor, Tensor]:
    mask = torch.arange(9)[None] < torch.tensor([9, 4, 1])[:, None]
    ids = torch.randint(5, 50, (3, 9), generator=torch.Generator().manual_seed(1))
    return ids.masked_fill(~mask, encoder.config.pad_token_id), mask


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layers", [0, 2, 4])
@torch.no_grad()
def test_self_keys_give_the_encoders_own_output(
    family: str, layers: int, stir: Callable[[nn.Module], nn.Module]
) -> None:
    encoder = stir(FAMILIES[family]()).eval()
    ids, mask = padded_ids(encoder)
    own = copy.deepcopy(encoder)(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    states, maps = stream(encoder, layers=layers).double()(ids, mask, [])
    assert torch.allclose(states[mask], own[mask], atol=1e-5)
    assert len(maps) == layers


@pytest.mark.parametrize(
    "make",
    [
        lambda: BertModel(BertConfig(**SIZES, attn_implementation="eager")),
        FAMILIES["mpnet"],
    ],
)
@torch.no_grad()
def test_maps_are_what_the_layer_attends_with(
    make: Callable[[], nn.Module], stir: Callable[[nn.Module], nn.Module]
) -> None:
    encoder = stir(make()).eval()
    ids, mask = padded_ids(encoder)
    own = copy.deepcopy(encoder)(ids, attention_mask=mask.long(), output_attentions=True)
    _, maps = stream(encoder, layers=2).double()(ids, mask, [])
    for scores, weights in zip(maps, own.attentions[2:], strict=True):
        probabilities = scores.masked_fill(~mask[:, None, None, :], -torch.inf).softmax(dim=-1)
        assert torch.allclose(probabilities, weights, atol=1e-5)


@torch.no_grad()
def test_shared_key_replaces_the_key_of_the_top_layers_alone() -> None:
    encoder: Any = FAMILIES["bert"]()
    before = copy.deepcopy(encoder.encoder.layer)
    text = stream(encoder, shared=True, layers=2)
    kinds = [isinstance(layer.attention.self, SharedKeyAttention) for layer in text.layers]
    assert kinds == [False, False, True, True]
    for old, new in zip(before[2:], text.layers[2:], strict=True):
        for name in ("query", "value"):
            kept = getattr(new.attention.self, name)
            assert torch.equal(kept.weight, getattr(old.attention.self, name).weight)
            assert torch.equal(kept.bias, getattr(old.attention.self, name).bias)
        assert not hasattr(new.attention.self, "key")
    ids, mask = padded_ids(encoder)
    keys = [torch.randn(20, 24), torch.randn(20, 24)]
    states, maps = text(ids, mask, keys)
    for which in range(2):  # each layer reads its own key
        other = [torch.randn(20, 24) if i == which else key for i, key in enumerate(keys)]
        changed, new_maps = text(ids, mask, other)
        assert not torch.allclose(changed, states)
        assert not torch.allclose(new_maps[which], maps[which])
        assert which == 0 or torch.equal(new_maps[0], maps[0])


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_raw_position_embeddings_are_those_the_encoder_adds(family: str) -> None:
    """Put a huge number into one row of the table; the encoder must react at that position only."""
    encoder: Any = FAMILIES[family]().eval()
    text = stream(encoder)
    ids, _ = padded_ids(encoder)
    before = encoder.embeddings(input_ids=ids[:1])
    row = text.positions(torch.tensor(3))
    table = encoder.embeddings.position_embeddings.weight
    (number,) = (table == row).all(dim=1).nonzero().flatten().tolist()
    table[number] += torch.linspace(-50, 50, 24)
    changed = (encoder.embeddings(input_ids=ids[:1]) - before).abs().amax(dim=-1)[0] > 1e-3
    assert changed.nonzero().flatten().tolist() == [3]


@pytest.mark.parametrize(("family", "most"), [("bert", 20), ("roberta", 18), ("electra", 20)])
def test_longest_sample_fits_the_position_table(family: str, most: int) -> None:
    encoder: Any = FAMILIES[family]().eval()
    text = stream(encoder, length=most)
    ids = torch.full((1, most), 7)
    text(ids, torch.ones(1, most, dtype=torch.bool), [])
    with pytest.raises(ConfigError, match=f"max_text_length={most + 1} but the encoder has {most}"):
        stream(FAMILIES[family](), length=most + 1)


def test_more_interaction_layers_than_layers() -> None:
    with pytest.raises(ConfigError, match="4 layers, fewer than 5"):
        stream(FAMILIES["bert"](), layers=5)


REFUSED: dict[str, Callable[[], nn.Module]] = {
    "DistilBertModel is not a BERT-family encoder": lambda: DistilBertModel(
        DistilBertConfig(vocab_size=50, dim=24, n_heads=3, n_layers=2, hidden_dim=40)
    ),
    # the same parts by the same names, normalized before instead of after
    r"MegatronBertModel \(megatron-bert\) is not run as BERT": lambda: MegatronBertModel(
        MegatronBertConfig(**SIZES)
    ),
    "embedding_size equal to hidden_size": lambda: ElectraModel(
        ElectraConfig(**SIZES, embedding_size=12)
    ),
    "Linear is not a BERT-family encoder": lambda: nn.Linear(2, 2),
}


@pytest.mark.parametrize("message", REFUSED)
def test_encoders_that_would_run_wrong_are_refused(message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        stream(REFUSED[message]())


@pytest.mark.parametrize("layers", [0, 1, 4])
def test_freezing_stops_embeddings_and_lower_layers(layers: int) -> None:
    text = stream(FAMILIES["bert"](), shared=True)
    text.freeze_lower(layers)
    frozen = {name for name, p in text.named_parameters() if not p.requires_grad}
    parts = {".".join(name.split(".")[:2]) for name in frozen if name.startswith("layers")}
    assert parts == {f"layers.{index}" for index in range(layers)}
    names = {name for name, _ in text.named_parameters()}
    expected = {n for n in names if n.startswith(tuple(f"layers.{i}." for i in range(layers)))}
    if layers:
        expected |= {name for name in names if name.startswith("embeddings")}
    assert frozen == expected
