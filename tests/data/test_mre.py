"""The MRE reader: what it keeps, what it never runs, and the counts of the public files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkgc_cl.data.locate import MRE_SPLITS, MrePaths
from mkgc_cl.data.mre import RelationRow, parse_row, read_mre, read_relation_names

WORDS = st.text(min_size=1, max_size=6).filter(lambda word: "\n" not in word and "\r" not in word)


@st.composite
def rows(draw: st.DrawFn) -> dict[str, object]:
    tokens = draw(st.lists(WORDS, min_size=1, max_size=6))
    spans = []
    for _ in range(2):
        start = draw(st.integers(0, len(tokens) - 1))
        spans.append([start, draw(st.integers(start + 1, len(tokens)))])
    head, tail = spans
    return {
        "token": tokens,
        "h": {"name": " ".join(tokens[slice(*head)]), "pos": head},
        "t": {"name": " ".join(tokens[slice(*tail)]), "pos": tail},
        "img_id": "a.jpg",
        "relation": "/per/per/peer",
    }


@pytest.mark.slow
@given(rows())
def test_any_row_survives_the_file_format(row: dict[str, object]) -> None:
    parsed = parse_row(repr(row), uid="mre/train/0")
    assert list(parsed.sample.tokens) == row["token"]
    assert list(parsed.sample.head) == row["h"]["pos"]  # type: ignore[index]
    assert list(parsed.sample.tail) == row["t"]["pos"]  # type: ignore[index]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("last", [True, False], ids=["terminated", "unterminated"])
def test_line_ends_and_exotic_separators_do_not_cut_rows(
    tmp_path: Path, end: bytes, last: bool
) -> None:
    row = "{'token': ['a\x85b', '\u2028', 'c'], 'h': {'name': '\u2028', 'pos': [1, 2]}, "
    row += "'t': {'name': 'c', 'pos': [2, 3]}, 'img_id': '%d.jpg', 'relation': 'None'}"
    path = tmp_path / "ours_val.txt"
    path.write_bytes(end.join((row % i).encode() for i in range(3)) + (end if last else b""))
    found = read_mre(path, split="val")
    assert [r.sample.uid for r in found] == ["mre/val/0", "mre/val/1", "mre/val/2"]
    assert found[0].sample.tokens == ("a\x85b", "\u2028", "c")
    assert [r.sample.place for r in found] == [(path, 1), (path, 2), (path, 3)]


def test_a_file_is_parsed_again_only_when_its_bytes_change(download: Path) -> None:
    path = MrePaths(download).full("train")
    first = read_mre(path, split="train")
    assert read_mre(path, split="train") is first
    path.write_bytes(path.read_bytes().replace(b"Rome", b"Oslo"))
    again = read_mre(path, split="train")
    assert again[0].sample.tokens[-1] == "Oslo"
    assert first[0].sample.tokens[-1] == "Rome"


@pytest.fixture(scope="module")
def full(data_root: Path) -> dict[str, tuple[RelationRow, ...]]:
    paths = MrePaths(data_root)
    names = read_relation_names(paths.relations)
    return {s: read_mre(paths.full(s), split=s, relations=names) for s in MRE_SPLITS}


# split, rows, images, N/A rows, relations, longest; entity at the end, overlapping, head after tail
GOLDEN = [
    ("train", 12_247, 7_356, 7_744, 23, 35, 104, 59, 14),
    ("val", 1_624, 931, 1_000, 23, 35, 16, 3, 5),
    ("test", 1_614, 914, 974, 21, 35, 14, 5, 1),
]


@pytest.mark.data
@pytest.mark.parametrize(
    ("split", "rows", "images", "negative", "relations", "longest", "end", "overlap", "touch"),
    GOLDEN,
)
def test_golden_counts(
    full: dict[str, tuple[RelationRow, ...]],
    split: str,
    rows: int,
    images: int,
    negative: int,
    relations: int,
    longest: int,
    end: int,
    overlap: int,
    touch: int,
) -> None:
    samples = [row.sample for row in full[split]]
    assert len(samples) == rows
    assert len({row.image for row in full[split]}) == images
    counts = Counter(sample.relation for sample in samples)
    assert (counts["None"], len(counts)) == (negative, relations)
    assert max(len(sample.tokens) for sample in samples) <= longest
    assert sum(len(s.tokens) in (s.head[1], s.tail[1]) for s in samples) == end
    assert sum(s.head[0] < s.tail[1] and s.tail[0] < s.head[1] for s in samples) == overlap
    assert sum(s.head[0] == s.tail[1] for s in samples) == touch
    assert [s.uid for s in samples] == [f"mre/{split}/{i}" for i in range(rows)]


@pytest.mark.data
@pytest.mark.parametrize(
    ("one", "other", "sentences"), [("train", "val", 5), ("train", "test", 2), ("val", "test", 1)]
)
def test_splits_share_no_image_and_few_sentences(
    full: dict[str, tuple[RelationRow, ...]], one: str, other: str, sentences: int
) -> None:
    assert not {r.image for r in full[one]} & {r.image for r in full[other]}
    shared = {r.sample.tokens for r in full[one]} & {r.sample.tokens for r in full[other]}
    assert len(shared) == sentences


@pytest.mark.data
def test_relation_names_come_by_id(data_root: Path) -> None:
    names = read_relation_names(MrePaths(data_root).relations)
    assert len(names) == 23
    assert (names[0], names[5], names[22]) == ("None", "/per/per/peer", "/misc/loc/held_on")
