"""Samples of one's own: what they are made of, and what is refused when they are made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mkgc_cl.data.sample_checks import check_sample
from mkgc_cl.data.samples import LabelSpace, RelationSample, TaggingSample, VisualInput
from mkgc_cl.errors import DataError

WORDS = ("Jordan", "met", "Ann")
LABELS = LabelSpace("re", ("peer",), na="None")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TaggingSample("x", ["a"], ("O",)), "write tuple(tokens)"),
        (lambda: TaggingSample("x", ("a",), ["O"]), "write tuple(tags)"),
        (lambda: RelationSample("x", list(WORDS), (0, 1), (2, 3), "peer"), "tokens as a tuple"),
        (lambda: RelationSample("x", WORDS, [0, 1], (2, 3), "peer"), "head as a tuple, found list"),
        (lambda: RelationSample("x", WORDS, (0, 1), [2, 3], "peer"), "tail as a tuple, found list"),
        (lambda: RelationSample("x", "Jordan met", (0, 1), (1, 2), "peer"), "found str"),
        (lambda: TaggingSample(7, ("a",), ("O",)), "a uid as text, found 7"),
        (lambda: VisualInput("a.jpg"), "write FileImage(Path('a.jpg'))"),
        (lambda: VisualInput(None, (Path("a.jpg"),)), "write FileImage(Path('a.jpg'))"),
        (lambda: VisualInput(None, (), []), "detected as a tuple"),
    ],
)
def test_wrong_types_are_named_where_the_sample_is_made(
    make: Callable[[], object], words: str
) -> None:
    with pytest.raises(DataError) as caught:
        make()
    assert words in str(caught.value)
    assert caught.value.sample in (None, "x")


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        (RelationSample("x", ("a", 7, "b"), (0, 1), (2, 3), "peer"), "found 7"),  # type: ignore[arg-type]
        (RelationSample("x", ("a", "\ud83d", "b"), (0, 1), (2, 3), "peer"), r"found '\ud83d'"),
        (RelationSample("x", WORDS, (0, 1, 2), (2, 3), "peer"), "found (0, 1, 2)"),  # type: ignore[arg-type]
        (RelationSample("x", WORDS, ("0", "1"), (2, 3), "peer"), "found ('0', '1')"),  # type: ignore[arg-type]
        (RelationSample("x", WORDS, (0, 1), (2, 4), "peer"), "found [2, 4)"),
    ],
)
def test_what_a_model_cannot_read(sample: RelationSample, words: str) -> None:
    with pytest.raises(DataError) as caught:
        check_sample(sample, LABELS)
    assert words in str(caught.value)
    assert caught.value.sample == "x"
