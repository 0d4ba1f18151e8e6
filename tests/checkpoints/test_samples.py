"""Samples come back without the files that they were read from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from mkgc_cl.checkpoints.samples import samples_digest, samples_of, samples_state
from mkgc_cl.data.images import BLANK, FileImage
from mkgc_cl.data.samples import RelationSample, Sample, TaggingSample, VisualInput
from mkgc_cl.errors import DataError


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    path = tmp_path / "photo.jpg"
    Image.effect_noise((33, 21), 80).convert("RGB").save(path)
    photo = FileImage(path)
    return [
        RelationSample("a", ("A", "of", "B"), (0, 1), (2, 3), "of", VisualInput(photo)),
        TaggingSample("b", ("A", "x"), ("B-PER", "O"), VisualInput(BLANK, (photo,), caption="c")),
        TaggingSample("c", ("y",), ("O",)),
    ]


def test_words_labels_and_pixels(samples: list[Sample]) -> None:
    pixels = samples[0].visual.image.read().tobytes()  # type: ignore[union-attr]
    fingerprint = samples[0].visual.image.fingerprint()  # type: ignore[union-attr]
    state = samples_state([*samples, samples[0]], images=True)
    assert len(state["images"]) == 1
    samples[0].visual.image.path.unlink()  # type: ignore[union-attr]
    again = samples_of(state)
    assert [s.identity for s in again] == [s.identity for s in samples]
    for one, other in zip(again, samples, strict=True):
        assert replace(one, visual=other.visual) == other
        assert one.visual.key == other.visual.key
    image = again[0].visual.image
    assert image is not None
    assert image.read().tobytes() == pixels
    assert image.fingerprint() == fingerprint
    assert again[1].visual.image == BLANK
    assert again[2].visual.image is None


def test_a_model_of_text_needs_no_images(samples: list[Sample]) -> None:
    state = samples_state(samples, images=False)
    assert state["images"] == {}
    assert samples_of(state)[1].visual == VisualInput(caption="c")
    with pytest.raises(DataError, match="damaged"):
        samples_of({"images": {}, "samples": [{"kind": "re"}]})


def test_a_digest_is_that_of_words_and_labels(samples: list[Sample]) -> None:
    known = samples_digest(samples)
    assert samples_digest([replace(samples[0], visual=VisualInput()), *samples[1:]]) == known
    assert samples_digest([replace(samples[0], relation="in"), *samples[1:]]) != known
    assert samples_digest(samples[::-1]) != known
