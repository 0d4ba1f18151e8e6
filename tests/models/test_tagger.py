"""The choice of a tagger, in every model: what it changes, and what it leaves alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from mkgc_cl.data.samples import LabelSpace, Sample
from mkgc_cl.errors import ConfigError
from mkgc_cl.models import (
    DualStreamModel,
    ExtractionModel,
    MEGAModel,
    MKGformerModel,
    TextModel,
    UMGFModel,
    UMTModel,
)
from mkgc_cl.models.heads import BioGrammar

TAGS = LabelSpace("ner", ("PER", "LOC"))
MODELS: dict[str, Callable[..., ExtractionModel]] = {
    "text": TextModel.build,
    "dual-stream": DualStreamModel.build,
    "mkgformer": MKGformerModel.build,
    "umt": UMTModel.build,
    "umgf": lambda labels, **given: UMGFModel.build(
        labels, width=16, layers=2, heads=2, images="image", **given
    ),
    "mega": lambda labels, **given: MEGAModel.build(
        labels, images="image", alignments="semantic", **given
    ),
}


def tagger_of(name: str, **given: Any) -> ExtractionModel:
    model = MODELS[name](TAGS, **given)
    model.observe(TAGS.classes)
    return model.eval()


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_every_model_can_tag_word_by_word(
    name: str, make_sample: Callable[..., Sample], stir: Callable[[nn.Module], nn.Module]
) -> None:
    crf, softmax = tagger_of(name), tagger_of(name, tagger="softmax")
    one, other = crf.state_dict(), softmax.state_dict()
    assert {key.partition(".")[0] for key in one.keys() ^ other.keys()} == {"crf", "grammar"}
    assert all(torch.equal(one[key], other[key]) for key in one.keys() & other.keys())

    samples = [make_sample(uid, kind="ner", length=n) for uid, n in (("p", 5), ("q", 3))]
    batch, targets = crf.processor.collate(samples)
    assert torch.equal(crf(batch).logits, softmax(batch).logits)

    stir(softmax)
    softmax.grammar = BioGrammar(TAGS.outputs).double()  # stirred too, and it is no weight
    decoded = softmax.decode(softmax(batch))
    assert [len(path) for path in decoded] == [5, 3]
    for path in decoded:
        tags = ["O", *(TAGS.outputs[output] for output in path)]
        for before, tag in itertools.pairwise(tags):
            assert tag[0] != "I" or before in (f"B{tag[1:]}", tag), path
    assert torch.isfinite(softmax.loss(softmax(batch), targets))


@pytest.mark.parametrize("name", MODELS)
def test_an_unknown_tagger_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"tagger='hmm'; choose one of \['crf', 'softmax'\]"):
        MODELS[name](TAGS, tagger="hmm")
