"""Labels that a task left out, by hand."""

from __future__ import annotations

import pytest

from mkgc_cl.memory.completion import completed_tags


@pytest.mark.parametrize(
    ("tags", "read", "expected"),
    [
        ("O O O", "B-LOC I-LOC O", "B-LOC I-LOC O"),
        ("B-PER O O", "B-LOC B-LOC O", "B-PER B-LOC O"),  # the task's own label stands
        ("O B-PER O", "B-LOC I-LOC O", "O B-PER O"),  # an entity comes whole or not at all
        ("B-PER O O", "B-PER I-PER B-PER", "B-PER O O"),  # of its own type none is missing
        ("B-PER O O", "O B-LOC B-ORG", "B-PER B-LOC B-ORG"),
        ("O O", "O O", "O O"),
    ],
)
def test_by_hand(tags: str, read: str, expected: str) -> None:
    assert completed_tags(tags.split(), read.split()) == tuple(expected.split())
