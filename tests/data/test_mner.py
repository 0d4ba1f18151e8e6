"""The MNER reader and the counts of the public files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkgc_cl.data import imner_stream
from mkgc_cl.data.locate import MnerPaths
from mkgc_cl.data.mner import TYPES, read_mner, scan_mner
from mkgc_cl.data.textfile import TextFile
from mkgc_cl.errors import DataError

WORD = st.text(min_size=1, max_size=5).filter(
    lambda word: bool(word.strip()) and not set(word) & set("\t\n\r")
)


@st.composite
def sentences(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    words = draw(st.lists(WORD, min_size=1, max_size=8))
    tags: list[str] = []
    for _ in words:
        options = ["O", *(f"B-{name}" for name in TYPES)]
        if tags and tags[-1] != "O":
            options.append(f"I-{tags[-1][2:]}")
        tags.append(draw(st.sampled_from(options)))
    if words[0].startswith("IMGID:"):
        words[0] = "x"
    return words, tags


@pytest.mark.slow
@given(st.lists(sentences(), min_size=1, max_size=4), st.booleans())
def test_any_sentence_survives_the_file_format(
    samples: list[tuple[list[str], list[str]]], unterminated: bool
) -> None:
    lines: list[str] = []
    for number, (words, tags) in enumerate(samples):
        pairs = [f"{word}\t{tag}" for word, tag in zip(words, tags, strict=True)]
        lines += [f"IMGID:{number}", *pairs, ""]
    if unterminated:
        lines.pop()
    found = scan_mner(TextFile(Path("x"), "", tuple(lines)), split="train")
    expected = [(tuple(words), tuple(tags)) for words, tags in samples]
    assert [(row.sample.tokens, row.sample.tags) for row in found] == expected
    assert [row.sample.uid for row in found] == [f"mner/train/{i}" for i in range(len(samples))]
    assert [row.image for row in found] == [str(i) for i in range(len(samples))]
    headers = [n for n, line in enumerate(lines, 1) if line.startswith("IMGID:")]
    assert [row.sample.place for row in found] == [(Path("x"), n) for n in headers]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_other_is_read_as_misc(tmp_path: Path, end: str) -> None:
    path = tmp_path / "train.txt"
    lines = ["IMGID:7", "The\tB-OTHER", "Oscars\tI-OTHER", "BROTHER\tO", "", ""]
    path.write_bytes(end.join(lines).encode())
    (row,) = read_mner(path, split="train")
    assert row.sample.tags == ("B-MISC", "I-MISC", "O")
    assert row.sample.tokens[2] == "BROTHER"
    assert (row.image, row.line) == ("7", 1)


@pytest.mark.data
@pytest.mark.parametrize(
    ("split", "rows", "entities"),
    [
        ("train", 3_373, {"PER": 2_943, "ORG": 1_674, "LOC": 731, "MISC": 701}),
        ("valid", 723, {"PER": 626, "ORG": 375, "LOC": 173, "MISC": 150}),
        ("test", 723, {"PER": 621, "ORG": 395, "LOC": 178, "MISC": 157}),
    ],
)
def test_golden_counts(data_root: Path, split: str, rows: int, entities: dict[str, int]) -> None:
    found = read_mner(MnerPaths(data_root).full(split), split=split)
    assert len(found) == rows
    tags = Counter(tag[2:] for row in found for tag in row.sample.tags if tag[0] == "B")
    assert tags == entities
    assert max(len(row.sample.tokens) for row in found) <= 50


def test_stray_tags_are_read_as_conlleval_does_on_request(download: Path) -> None:
    train = download / "MNER" / "data" / "twitter2017" / "train.txt"
    train.write_text(train.read_text().replace("Rome\tB-LOC\ngreets", "Rome\tI-LOC\ngreets"))
    with pytest.raises(DataError) as caught:
        imner_stream(download, build=True, missing_images="blank")
    assert (caught.value.path, caught.value.line) == (train, 7)
    stream = imner_stream(download, build=True, repair="conlleval", missing_images="blank")
    assert stream.provenance["repaired"] == {"conlleval": 1}
    (sample, *_) = stream.tasks[2].train
    assert sample.tags == ("B-LOC", "O", "O")  # type: ignore[union-attr]
