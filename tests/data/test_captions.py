"""Captions in place of images: the file, the streams, what a batch holds of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mkgc_cl.data import LabelSpace, TaggingSample, VisualInput, imner_stream, imre_stream
from mkgc_cl.data.captions import read_captions
from mkgc_cl.data.controls import controlled
from mkgc_cl.data.files import stream_from_files
from mkgc_cl.data.processor import Processor
from mkgc_cl.data.tokenizer import HashTokenizer
from mkgc_cl.data.views import ViewPlan
from mkgc_cl.errors import ConfigError, DataError


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(f"{r if isinstance(r, str) else json.dumps(r)}\n" for r in rows))
    return path


def test_captions_of_one_captioner(tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.jsonl",
        {"image": "17_1.JPG", "captions": {"a": "a dog", "b": "a cat"}},
        {"image": 2, "captions": {"a": "two"}},
    )
    found = read_captions(path, "a")
    assert [found.of(name) for name in ("17_1.jpg", "17_1", "2.png", "3")] == [
        "a dog",
        "a dog",
        "two",
        None,
    ]
    for captioner, fragment in ((None, r"a \(2\), b \(1\)"), ("c", "no captions of 'c'")):
        with pytest.raises(ConfigError, match=fragment):
            read_captions(path, captioner)
    plain = write(tmp_path / "p.jsonl", {"image": "a.jpg", "caption": "x"})
    assert read_captions(plain).of("a") == "x"


def test_every_mistake_with_its_line(tmp_path: Path) -> None:
    good = {"image": "a.jpg", "caption": "x"}
    rows = [good, "{", {"image": 1.5, "caption": "x"}, {"image": "b", "caption": 1}, good]
    with pytest.raises(DataError) as caught:
        read_captions(write(tmp_path / "c.jsonl", *rows))
    assert [p.line for p in caught.value.problems] == [2, 3, 4, 5]


@pytest.mark.parametrize(("build", "image"), [(imner_stream, "train_0"), (imre_stream, "train_0")])
def test_the_benchmarks_show_captions(download: Path, build: Any, image: str) -> None:
    path = write(download / "c.jsonl", {"image": f"{image}.jpg", "caption": "a stage"})
    options = {"tasks": 5} if build is imre_stream else {}
    options |= {"images": "captions", "captions": path}
    with pytest.raises(DataError, match="have no caption"):
        build(download, **options)
    stream = build(download, **options, missing_images="blank")
    first = {s.uid: s.visual for task in stream.tasks for s in task.train}
    key = next(uid for uid in first if uid.endswith("train/0"))
    assert first[key] == VisualInput(caption="a stage")
    assert {v.caption for v in first.values()} == {"a stage", ""}
    made = stream.provenance
    assert (made["images"], made["captioner"]) == ("captions", "c")
    assert made["image_files_blank"] == made["image_files"] - 1
    assert "c.jsonl" in made["files"]
    blank = controlled(stream, "blank-images")
    assert {s.visual.caption for s in blank.tasks[0].train} == {""}
    shuffled = controlled(stream, "shuffled-images")
    told = [s.uid for task in shuffled.tasks for s in task.train if s.visual.caption]
    assert told
    assert key not in told
    with pytest.raises(ConfigError, match="give that, too"):
        build(download, captions=path)
    with pytest.raises(DataError, match="give captions="):
        build(download, images="captions")


def test_own_files_show_captions(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("IMGID:1\nAnn\tB-PER\n\nIMGID:2.png\nBo\tB-PER\n")
    captions = write(
        tmp_path / "c.jsonl", {"image": "1.jpg", "caption": "one"}, {"image": "2", "caption": "two"}
    )
    stream = stream_from_files(
        train=path, test=path, kind="ner", images="captions", captions=captions
    )
    assert [s.visual.caption for s in stream.tasks[0].train] == ["one", "two"]
    assert stream.provenance["samples_without_image"] == 0


def sample(caption: str | None, uid: str = "s") -> TaggingSample:
    return TaggingSample(uid, ("a", "b"), ("B-X", "O"), VisualInput(caption=caption))


def processor(**plan: Any) -> Processor:
    return Processor(
        LabelSpace("ner", ("X",)),
        tokenizer=HashTokenizer(buckets=50),
        max_text_length=8,
        views=ViewPlan(image=0, **plan),
    )


def test_captions_beside_the_text() -> None:
    reader = processor(caption=5)
    dog, cat = (reader.tokenizer.encode_words([word])[0][0] for word in ("dog", "cat"))
    batch, _ = reader.collate(
        [sample("Dog cat.", "1"), sample("", "2"), sample("dog dog cat cat", "3")]
    )
    pad, cls, sep = 0, 1, 2
    dot = reader.tokenizer.encode_words(["."])[0][0]
    assert batch["caption_ids"].tolist() == [
        [cls, dog, cat, dot, sep],
        [cls, sep, pad, pad, pad],
        [cls, dog, dog, cat, sep],  # cut
    ]
    assert batch["caption_mask"].sum(dim=1).tolist() == [5, 2, 5]
    assert batch.select(batch["visual_index"][:1])["caption_ids"].shape == (3, 5)
    with pytest.raises(DataError, match="reads captions"):
        reader.prepare([sample(None)])


def test_captions_behind_the_text() -> None:
    reader = processor(caption=64, behind=True)
    words = [ids[0] for ids in reader.tokenizer.encode_words(["a", "b", "dog", "cat", "sat"])]
    cls, sep = 1, 2
    batch, _ = reader.collate([sample("dog"), sample(""), sample("dog cat sat on it")])
    assert [row[row != 0].tolist() for row in batch["input_ids"]] == [
        [cls, *words[:2], sep, words[2], sep],
        [cls, *words[:2], sep],
        [cls, *words[:2], sep, *words[2:], sep],  # as far as there is room
    ]
    assert batch["text_lengths"].tolist() == [4, 4, 4]
    assert batch["word_starts"].tolist() == [[1, 2]] * 3


def test_a_caption_alone_is_looked_at() -> None:
    assert ViewPlan(image=0, caption=16).looks
    assert ViewPlan(image=0, detected=32).looks
    assert not ViewPlan(image=0).looks
