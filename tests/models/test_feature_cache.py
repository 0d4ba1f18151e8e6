"""Features kept by sample are those that the encoder gives, and are never another encoder's."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mkgc_cl.data.samples import LabelSpace, RelationSample, Sample, TaggingSample, TaskKind
from mkgc_cl.models import TextModel
from mkgc_cl.models.feature_cache import EncoderDigest, FeatureCache, sample_keys
from mkgc_cl.models.output import ModelOutput

LABELS = {
    "re": LabelSpace("re", ("peer", "part_of"), na="None"),
    "ner": LabelSpace("ner", ("PER",)),
}
WORDS = ("Jordan", "won", "in", "Paris", "again", "and", "again")
NEAR = {"rtol": 1e-5, "atol": 1e-5}


def samples(kind: str, sizes: Sequence[int] = (3, 7, 5)) -> list[Sample]:
    """Samples of so many words."""
    if kind == "ner":
        tags = ("B-PER", *["O"] * 6)
        return [TaggingSample(f"n{n}", WORDS[:n], tags[:n]) for n in sizes]
    return [RelationSample(f"r{n}", WORDS[:n], (0, 1), (1, n), "peer") for n in sizes]


def built(kind: TaskKind, folder: Path | None, **options: Any) -> TextModel:
    """A tiny model in evaluation mode, with a cache in a folder."""
    options = {"layers": (1,), "tagger": "softmax", **options}
    model = TextModel.build(LABELS[kind], text="tiny", **options)
    model.observe(model.labels.classes)
    model.cache = None if folder is None else FeatureCache(folder)
    return model.eval()


@torch.no_grad()
def encoded(model: TextModel, which: Sequence[Sample]) -> ModelOutput:
    output: ModelOutput = model(model.processor.collate(list(which))[0])
    return output


def new(model: TextModel) -> int:
    """Samples that had to be encoded."""
    assert model.cache is not None
    return model.cache.encoded


def shards(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("kind", "options"),
    [("ner", {}), ("re", {}), ("re", {"pooling": "cls"}), ("re", {"projection": True})],
)
def test_a_kept_output_is_that_of_the_encoder(kind: Any, options: Any, tmp_path: Path) -> None:
    """Whether all, some or none of a batch was there."""
    one, three = samples(kind)[:1], samples(kind)
    plain = encoded(built(kind, None, **options), three)
    model = built(kind, tmp_path, **options)
    encoded(model, one)
    for expected in (3, 3):
        kept = encoded(model, three)
        assert new(model) == expected
        mask = plain.word_mask if kind == "ner" else torch.ones(3, dtype=torch.bool)
        read = "word_features" if kind == "ner" else "features"
        for name in ("layer_features", "logits", read):
            assert torch.allclose(getattr(kept, name)[mask], getattr(plain, name)[mask], **NEAR)


def test_another_process_encodes_nothing(tmp_path: Path) -> None:
    first, second = built("re", tmp_path), built("re", tmp_path)
    encoded(second, samples("re")[:1])  # it has looked at the folder before the other writes
    output = encoded(first, samples("re"))
    again = encoded(second, samples("re"))
    assert (new(first), new(second)) == (2, 1)
    assert output.layer_features is not None
    assert again.layer_features is not None
    assert torch.equal(output.layer_features, again.layer_features)


def test_a_sample_is_what_the_encoder_is_shown(tmp_path: Path) -> None:
    model = built("re", tmp_path)
    (sample,) = samples("re", [5])
    assert isinstance(sample, RelationSample)
    encoded(model, [sample, replace(sample, uid="other", relation="part_of")])
    encoded(model, [replace(sample, uid="third", relation="None")])
    assert new(model) == 1
    encoded(model, [replace(sample, uid="x", head=(0, 2), tail=(2, 5))])
    assert new(model) == 2
    keys = [sample_keys(model.processor.collate([s])[0])[0] for s in samples("re", [3, 5, 7])]
    together = sample_keys(model.processor.collate(samples("re", [3, 5, 7]))[0])
    assert together == keys  # whatever a sample is padded to
    assert len(set(keys)) == 3


def test_layers_are_kept_one_by_one(tmp_path: Path) -> None:
    encoded(built("ner", tmp_path, layers=(0, 1)), samples("ner"))
    fewer = built("ner", tmp_path, layers=(0,))
    encoded(fewer, samples("ner"))
    assert new(fewer) == 0


def test_a_weight_that_moves_makes_another_encoder(tmp_path: Path) -> None:
    model = built("re", tmp_path)
    before = encoded(model, samples("re")).layer_features
    frozen = copy.deepcopy(model)
    with torch.no_grad():
        next(model.text.parameters()).mul_(2.0)
    after = encoded(model, samples("re")).layer_features
    assert new(model) == 6  # the copy shares the cache, as it does the files
    assert before is not None
    assert after is not None
    assert not torch.allclose(before, after, **NEAR)
    kept = encoded(frozen, samples("re")).layer_features
    assert new(frozen) == 6
    assert kept is not None
    assert torch.equal(kept, before)


def test_settings_and_precision_are_part_of_an_encoder() -> None:
    class Settings:
        def __init__(self, heads: int, path: str) -> None:
            self.plain = {"num_attention_heads": heads, "_name_or_path": path}

        def to_dict(self) -> dict[str, object]:
            return self.plain

    module = torch.nn.Linear(2, 2)
    digests = [EncoderDigest(module, Settings(*given)) for given in ((2, "a"), (4, "a"), (2, "b"))]
    one, other, elsewhere = (digest() for digest in digests)
    assert one == elsewhere != other
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert digests[0]() != one


@pytest.mark.parametrize("harm", ["cut", "changed", "gone", "forged", "pipe"])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.timeout(60)
def test_damage_is_encoded_again(
    harm: str, known: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = built("ner", tmp_path, layers=(4,))
    whole = encoded(model, samples("ner"))
    (path,) = shards(tmp_path)
    data = path.read_bytes()
    if harm == "cut":
        path.write_bytes(data[:-8])
    elif harm == "changed":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif harm in ("gone", "pipe"):
        path.unlink()
        if harm == "pipe":
            os.mkfifo(path)
    else:
        path.write_bytes(b"\0" * len(data))
    reader = model if known else built("ner", tmp_path, layers=(4,))
    again = encoded(reader, samples("ner"))
    assert new(reader) == (6 if known else 3)
    assert again.layer_features is not None
    assert whole.layer_features is not None
    assert torch.equal(again.layer_features, whole.layer_features)
    assert (str(path) in caplog.text) == (harm != "gone")
    assert path.read_bytes() == data  # mended


def test_a_folder_that_cannot_be_written_is_no_obstacle(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "features").write_text("a file in the way")
    model = built("re", tmp_path)
    encoded(model, samples("re"))
    encoded(model, samples("re"))
    assert new(model) == 6
    assert caplog.text.count("features are not kept") == 1


def test_training_is_never_served_from_it(tmp_path: Path) -> None:
    model = built("re", tmp_path).train()
    encoded(model, samples("re"))
    assert new(model) == 0
    assert not shards(tmp_path)
