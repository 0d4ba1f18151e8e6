"""An exported extractor answers as the extractor does."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
import torch
from people import RECORDS

from mkgc_cl.data.samples import LabelSpace, RelationSample, VisualInput
from mkgc_cl.errors import ConfigError, DataError
from mkgc_cl.inference import Extractor
from mkgc_cl.inference.onnx_parts import Exported
from mkgc_cl.inference.scoring import relation_scores, tag_scores
from mkgc_cl.inference.speed import parity, tagging_overhead
from mkgc_cl.models import GaussianOptions, TextModel

pytest.importorskip("onnxruntime")

TEXTS = ["Ann lives in Rome", "Flo dies in Oslo today", "", "nobody", "Ann lives in Bonn " * 20]
NEAR = {"rtol": 1e-4, "atol": 1e-3}
"""Of log posteriors: the encoder's single precision, through weights of some hundreds."""


@pytest.mark.slow
def test_scores_and_answers_are_those_of_the_extractor(taught: Extractor, tmp_path: Path) -> None:
    files = taught.export_onnx(tmp_path / "x")
    assert [file.name for file in files] == ["tags.onnx", "relations.onnx"]
    exported = Extractor.from_onnx(tmp_path / "x")
    assert (exported.types, exported.relations) == (taught.types, taught.relations)
    assert (exported.constraints, exported.model) == (taught.constraints, taught.model)
    # batches and lengths of all sizes, whatever the graph was traced with
    for tokens in ([["Ann"]], [["Bo", "dies"], ["x"] * 29, ["Rome"] * 3]):
        seen = [VisualInput()] * len(tokens)
        mine, theirs = (tag_scores(x.parts["ner"], tokens, seen) for x in (taught, exported))
        for one, other in zip(mine, theirs, strict=True):
            torch.testing.assert_close(one, other, **NEAR)
    pairs = [
        RelationSample("", ("Ann", "lives", "in", "Rome", *["x"] * n), (0, 1), (3, 4), "None")
        for n in (0, 5, 50)
    ]
    mine, theirs = (relation_scores(x.parts["re"], pairs) for x in (taught, exported))
    torch.testing.assert_close(torch.stack(mine), torch.stack(theirs), **NEAR)  # type: ignore[arg-type]
    compared = parity(taught, exported, TEXTS)
    assert (compared.texts, compared.different) == (len(TEXTS), 0)
    assert compared.score < 1e-4
    with pytest.raises(ConfigError, match="learns no more"):
        exported.learn(RECORDS)


@pytest.mark.slow
def test_tags_alone_are_exported_alone(fresh: Extractor, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing was learnt"):
        fresh.export_onnx(tmp_path)
    fresh.learn(RECORDS, types=["PER"])
    assert [file.name for file in fresh.export_onnx(tmp_path)] == ["tags.onnx"]
    assert Extractor.from_onnx(tmp_path)("Ann left").entities[0].type == "PER"
    (tmp_path / "tags.onnx").write_bytes(b"something else")
    with pytest.raises(DataError, match="not what was saved"):
        Extractor.from_onnx(tmp_path)
    with pytest.raises(DataError, match="cannot be read as a graph"):
        Exported(
            "ner",
            {
                **{"classes": [], "negative": None, "outputs": ["O"], "max_length": 8},
                **{"captions": False, "fingerprint": ""},
            },
            b"something else",
            fresh.parts["ner"].processor.tokenizer,
        )


def test_what_cannot_be_exported_is_named(taught: Extractor, tmp_path: Path) -> None:
    model = TextModel.build(LabelSpace("re", ("knows",), "None"))
    model.observe(("knows",))
    with pytest.raises(ConfigError, match="relations are those of a trained model"):
        Extractor.from_model(model).export_onnx(tmp_path)
    part = taught.parts["re"]
    part.readout.options = GaussianOptions(covariance="class")  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="relations: covariance='class' is not exported"):
        taught.export_onnx(tmp_path)


def test_overhead_is_measured_chunk_by_chunk(taught: Extractor) -> None:
    before = taught(tokens=["Ann", "lives"]), taught.parts["ner"], taught.model
    found = tagging_overhead(taught, [["Ann", "lives"]] * 10, chunk=4)
    assert (found.chunks, found.texts) == (3, 10)
    assert found.ratio > 1
    assert found.alone > 0
    assert (taught(tokens=["Ann", "lives"]), taught.parts["ner"], taught.model) == before


def test_overhead_is_all_of_tagging_but_the_passes(
    taught: Extractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every reading of the clock is a second later, and a pass alone takes as long as one in it."""
    clock = itertools.count()
    monkeypatch.setattr(time, "process_time", lambda: float(next(clock)))
    layers = max(taught.parts["ner"].layers)  # type: ignore[attr-defined]
    found = tagging_overhead(taught, [["Ann", "lives"]] * 4)
    # one second each for the embeddings and every layer; between two readings, and round all, one
    passes = layers + 1
    assert found.ratio == (2 * passes + 1) / passes
    assert found.alone == passes  # whose clock is read at both ends alone
    assert found.rate == 4 / (2 * passes + 1)
