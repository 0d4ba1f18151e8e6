"""Captions and images beside a text: read by models that do, and asked for by these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from people import NAMES, PLACES, record

from mkgc_cl.data.images import BLANK
from mkgc_cl.data.samples import LabelSpace, TaggingSample, VisualInput
from mkgc_cl.errors import ConfigError, DataError
from mkgc_cl.inference import Extractor
from mkgc_cl.models import DualStreamModel, ExtractionModel, TextModel

TAGS = LabelSpace("ner", ("PER", "LOC"))
TOLD = [
    {**record(name, place), "caption": f"a photo of {place}"}
    for name, place in zip(NAMES, PLACES, strict=True)
]


@pytest.fixture(scope="module")
def told() -> Extractor:
    """One that reads captions behind the text."""
    made = Extractor.from_encoder("tiny", max_length=32, captions=True)
    made.learn(TOLD)
    return made


def trained(images: Any) -> Extractor:
    model: ExtractionModel = DualStreamModel.build(TAGS, images=images)
    model.observe(TAGS.classes)
    return Extractor.from_model(model)


@pytest.mark.slow
def test_a_caption_is_read_behind_the_text(told: Extractor, tmp_path: Path) -> None:
    found = told({"tokens": TOLD[0]["tokens"], "caption": TOLD[0]["caption"]})
    assert [entity.type for entity in found.entities] == ["PER", "LOC"]
    assert told(tokens=TOLD[0]["tokens"], caption=TOLD[0]["caption"]) == found
    seen = [VisualInput(caption=words) for words in ("a photo of Rome", "something else")]
    part = told.parts["ner"]
    words = tuple(TOLD[0]["tokens"])
    batch = part.processor.batch([TaggingSample("", words, ("O",) * 5, one) for one in seen])
    one, other = part.features(batch)  # type: ignore[attr-defined]
    assert not torch.equal(one, other)
    told.save(tmp_path)
    kept = Extractor.load(tmp_path)
    assert kept(tokens=TOLD[0]["tokens"], caption=TOLD[0]["caption"]) == found
    assert kept.forget(TOLD[:1]) == 2
    with pytest.raises(DataError, match="never learnt"):
        kept.forget([{**TOLD[1], "caption": "of another image"}])


@pytest.mark.slow
def test_a_trained_model_that_reads_captions_is_kept_and_used(tmp_path: Path) -> None:
    extractor = trained("captions")
    asked = {"text": "Ann lives in Rome", "captions": {"short": "a city"}}
    found = extractor(asked)
    extractor.save(tmp_path)
    assert Extractor.load(tmp_path)(asked) == found
    sample = TaggingSample("1", found.tokens, ("O",) * 4, VisualInput(caption="a city"))
    assert extractor(sample).entities == found.entities


def test_a_text_model_with_captions_goes_on_learning() -> None:
    model = TextModel.build(TAGS, captions=True, layers=None, markers="punctuation")
    model.observe(TAGS.classes)
    assert Extractor.from_model(model).parts["ner"].processor.views.behind
    with pytest.raises(ConfigError, match="learns no more"):
        Extractor.from_model(model).learn(TOLD)


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        ("Ann", {}, "reads captions and the text has none; give caption="),
        ("Ann", {"image": "a.png"}, "reads captions and the text has an image, which it does not"),
        ({"text": "Ann", "image": "a.png"}, {}, "reads captions and the text has an image"),
        ({"text": "Ann", "caption": 7}, {}, "a caption as text"),
        ({"text": "Ann", "captions": {"a": "x", "b": "y"}}, {}, "expected one caption"),
        ([{"uid": "7", "text": "Ann"}], {}, "sample 7: the model reads captions"),
        (["Ann"], {"caption": "x"}, "give records with 'caption'"),
    ],
)
def test_who_reads_captions_is_given_captions(
    told: Extractor, given: Any, options: Any, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        told(given, **options)


def test_samples_without_captions_teach_nothing(told: Extractor) -> None:
    before = told.model
    with pytest.raises(DataError) as error:
        told.learn([{**record("Gus", "Pisa"), "uid": "g"}, TOLD[0], {**record("Hal", "Bari")}])
    assert {problem.sample for problem in error.value.problems} == {"g", "Hal/lives/Bari"}
    assert told.model == before


def test_who_reads_images_is_given_images() -> None:
    extractor = trained("image")
    with pytest.raises(DataError, match="looks at images and the text has a caption"):
        extractor({"text": "Ann", "caption": "a man"})
    with pytest.raises(DataError, match="an extractor that reads none"):
        extractor("Ann", caption="a man")
    sample = TaggingSample("1", ("Ann",), ("O",), VisualInput(BLANK, caption="a man"))
    assert extractor(sample).tokens == ("Ann",)
