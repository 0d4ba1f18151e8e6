"""Features of a frozen encoder, against the encoder's own hidden states read token by token."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from mkgc_cl.data.samples import LabelSpace, RelationSample, Sample, TaggingSample
from mkgc_cl.data.tokenizer import HashTokenizer
from mkgc_cl.errors import ConfigError
from mkgc_cl.models import TextModel
from mkgc_cl.models.encoders import TINY_WIDTH, load_text_encoder

LABELS = {
    "re": LabelSpace("re", ("peer", "part_of"), na="None"),
    "ner": LabelSpace("ner", ("PER",)),
}


class Letters(HashTokenizer):
    """One piece a letter."""

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        return [[100 + ord(letter) for letter in word] for word in words]


def model_of(kind: str, **options: Any) -> tuple[TextModel, Any]:
    """A model in evaluation mode, and its encoder as transformers runs it."""
    encoder = load_text_encoder("tiny")
    plain: Any = copy.deepcopy(encoder.module).eval()
    tokenizer = Letters(buckets=8192)
    model = TextModel(LABELS[kind], text=encoder.module, tokenizer=tokenizer, **options)
    return model.eval(), plain


def relation(words: str, head: tuple[int, int], tail: tuple[int, int]) -> Sample:
    return RelationSample(words, tuple(words.split()), head, tail, "peer")


@torch.no_grad()
def read(
    kind: str, samples: list[Sample], layers: tuple[int, ...]
) -> tuple[Tensor, Any, list[Tensor]]:
    """The model's features, its batch, and all hidden states of the encoder itself."""
    model, plain = model_of(kind, layers=layers)
    batch, _ = model.processor.collate(samples)
    hidden = plain(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"].long(),
        output_hidden_states=True,
    ).hidden_states
    features = model(batch).layer_features
    assert features is not None
    assert features.shape[-1] == model.readout_width
    return features, batch, [hidden[layer] for layer in layers]


def near(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, atol=1e-5)


def test_relations_by_token() -> None:
    """The tail stands inside the head: its markers are no part of the head's mean."""
    samples = [
        # CLS <s> ab <o> c </o> d </s> e SEP
        relation("ab c d e", (0, 3), (1, 2)),
        # CLS <o> fgh </o> <s> i </s> SEP
        relation("fgh i", (1, 2), (0, 1)),
    ]
    places = [
        {"head": 1, "tail": 4, "within head": [2, 3, 5, 7], "within tail": [5]},
        {"head": 6, "tail": 1, "within head": [7], "within tail": [2, 3, 4]},
    ]
    features, _, hidden = read("re", samples, (2, 4))
    for row, at in enumerate(places):
        expected = [
            part
            for states in hidden
            for part in (
                states[row, 0],
                states[row, at["head"]],
                states[row, at["tail"]],
                states[row, at["within head"]].mean(dim=0),
                states[row, at["within tail"]].mean(dim=0),
            )
        ]
        assert near(features[row], torch.cat(expected))


def test_words_by_piece() -> None:
    samples: list[Sample] = [
        TaggingSample("a", ("abc", "d", "ef"), ("B-PER", "I-PER", "O")),
        TaggingSample("b", ("g", "hijklm"), ("O", "B-PER")),  # as long, with fewer words
    ]
    pieces = [[[1, 2, 3], [4], [5, 6]], [[1], [2, 3, 4, 5, 6, 7]]]
    features, batch, hidden = read("ner", samples, (4, 0))
    assert features.shape == (2, 3, 2 * 2 * TINY_WIDTH)
    assert batch["word_mask"].tolist() == [[True] * 3, [True] * 2 + [False]]
    for row, words in enumerate(pieces):
        for word, own in enumerate(words):
            expected = [
                part
                for states in hidden
                for part in (states[row, own[0]], states[row, own].mean(dim=0))
            ]
            assert near(features[row, word], torch.cat(expected))


@pytest.mark.parametrize("kind", ["re", "ner"])
@torch.no_grad()
def test_neither_company_nor_the_head_matters(kind: Any) -> None:
    """A sample's features are its own, and the rest of the output is as without them."""
    if kind == "re":
        samples = [relation("ab c d e", (0, 3), (1, 2)), relation("fgh i", (1, 2), (0, 1))]
    else:
        samples = [TaggingSample("a", ("abc", "d"), ("O",) * 2), TaggingSample("b", ("g",), ("O",))]
    model, _ = model_of(kind, layers=(1, 4))
    bare, _ = model_of(kind)
    batch, _ = model.processor.collate(samples)
    alone, _ = model.processor.collate(samples[1:])
    together, single = model(batch).layer_features, model(alone).layer_features
    assert near(together[1][: single.shape[1]] if kind == "ner" else together[1], single[0])
    assert torch.equal(model(batch).logits, bare(batch).logits)
    assert bare(batch).layer_features is None
    assert bare.readout_width == bare.head.rows.shape[1]
    assert model.train()(batch).layer_features is None  # no loss reads them


def test_layers_there_are_not_are_named_together() -> None:
    with pytest.raises(ConfigError) as caught:
        TextModel.build(LABELS["re"], layers=(5, 3, -1, 3))
    assert [problem.split(",")[0] for problem in caught.value.problems] == [
        "layers names 5",
        "layers names -1",
        "layers names one twice: [5",
    ]


def test_punctuation_stands_round_the_entities() -> None:
    new, known = (TextModel.build(LABELS["re"], markers=kind) for kind in ("new", "punctuation"))  # type: ignore[arg-type]
    sample = relation("@ b # d", (1, 2), (3, 4))
    before, after = (model.processor.encode(sample) for model in (new, known))
    at, sharp = (known.processor.tokenizer.encode_words([word])[0][0] for word in "@#")
    assert after.starts == before.starts == (2, 6)
    assert [after.input_ids[i] for i in (2, 4, 6, 8)] == [at, at, sharp, sharp]
    assert after.input_ids[1] == at  # the sample's own, which marks nothing
    assert after.entities == before.entities == (0, 0, 0, 1, 0, 0, 0, 2, 0, 0)
    assert new.text.embeddings.word_embeddings.weight.shape == (
        known.text.embeddings.word_embeddings.weight.shape
    )
    with pytest.raises(ConfigError, match="choose one of"):
        TextModel.build(LABELS["re"], markers="old")  # type: ignore[arg-type]
