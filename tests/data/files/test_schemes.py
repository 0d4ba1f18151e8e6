"""Tag schemes, against seqeval's conlleval and against entities written in each of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from mkgc_cl.data.files.schemes import SCHEMES, Scheme, as_bio, recognize, tag_problem

TYPES = ("PER", "person/artist-other", "人物")


@st.composite
def segments(draw: st.DrawFn) -> list[tuple[int, str | None]]:
    """Lengths of entities (with type) and of gaps (without)."""
    return draw(st.lists(st.tuples(st.integers(1, 4), st.sampled_from((None, *TYPES))), max_size=6))


def written(parts: list[tuple[int, str | None]], scheme: Scheme) -> list[str]:
    tags: list[str] = []
    before = None
    for length, kind in parts:
        if kind is None:
            tags += ["O"] * length
        else:
            first = "I" if scheme == "IOB1" and before != kind else "B"
            last, single = {"BIOES": "ES", "BILOU": "LU"}.get(scheme, ("I", first))
            prefixes = single if length == 1 else first + "I" * (length - 2) + last
            tags += [f"{prefix}-{kind}" for prefix in prefixes]
        before = kind
    return tags


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
@given(parts=segments())
def test_entities_survive_every_scheme(scheme: Scheme, parts: Any) -> None:
    assert as_bio(written(parts, scheme), scheme) == (tuple(written(parts, "BIO")), [])


@pytest.mark.slow
@given(
    st.lists(
        st.one_of(
            st.just("O"), st.builds("{}-{}".format, st.sampled_from("BIES"), st.sampled_from("XY"))
        )
    )
)
def test_broken_tags_are_read_as_conlleval_does(tags: list[str]) -> None:
    bio, _ = as_bio(tags, "BIOES")
    assert get_entities(list(bio)) == get_entities(tags)
    assert as_bio(bio, "BIO") == (bio, [])  # what comes out obeys BIO


@pytest.mark.parametrize(
    ("sentences", "expected"),
    [
        ([["B-A", "I-A", "O"], ["O", "B-B"]], "BIO"),
        ([["I-A", "I-A", "B-A"], ["O", "I-B"]], "IOB1"),
        ([["I-A", "O"], ["O", "B-B"]], "BIO"),  # a stray I in BIO
        ([["B-A", "E-A", "S-B"]], "BIOES"),
        ([["B-A", "L-A"], ["U-B"]], "BILOU"),
        ([["O"]], "BIO"),
    ],
)
def test_recognition(sentences: list[list[str]], expected: str) -> None:
    assert recognize(sentences) == expected


@pytest.mark.parametrize(
    ("scheme", "tags", "positions"),
    [
        ("BIO", ["I-A", "I-A", "O", "B-A", "I-B"], [0, 4]),
        ("BIO", ["B-A", "E-A"], [1]),
        ("IOB1", ["B-A", "O", "I-A", "B-A"], [0]),
        ("BIOES", ["B-A", "O"], [0]),
        ("BIOES", ["B-A", "I-A"], [1]),
        ("BIOES", ["E-A", "S-A", "B-A", "E-A"], [0]),
        ("BILOU", ["U-A", "L-A"], [1]),
    ],
)
def test_what_breaks_a_scheme(scheme: Scheme, tags: list[str], positions: list[int]) -> None:
    assert [index for index, _ in as_bio(tags, scheme)[1]] == positions


@pytest.mark.parametrize("tag", ["B", "B-", "X-PER", "b-PER", "", "O-PER", "BPER"])
def test_what_is_no_tag(tag: str) -> None:
    assert tag_problem(tag)
