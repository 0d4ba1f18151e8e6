"""What the synthetic stream refuses, and how it says so."""

from __future__ import annotations

import pytest

from mkgc_cl.data.demo import DemoShares, DrawnImage, demo_stream
from mkgc_cl.data.demo.samples import Author, Draft
from mkgc_cl.data.samples import TaskKind
from mkgc_cl.errors import DataError

KINDS: tuple[TaskKind, ...] = ("ner", "re")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "pos"}, "'ner' or 're'"),
        ({"seed": "0"}, "whole number"),
        ({"seed": True}, "whole number"),
        ({"order": ("PER", "LOC", "ORG")}, "no permutation"),
        ({"order": ("PER", "LOC", "ORG", "GPE")}, "no permutation"),
        ({"order": ("PER", "PER", "ORG", "LOC")}, "no permutation"),
        ({"order": "PER"}, "no permutation"),
        ({"task": "re", "order": ("PER", "LOC", "ORG", "MISC")}, "no permutation"),
        ({"train_per_task": 0}, "'train_per_task' is 0"),
        ({"valid_per_task": -1}, "'valid_per_task' is -1"),
        ({"test_size": 2.5}, "'test' is 2.5"),
        ({"image_size": 8}, "too small"),
        ({"task": "re", "test_size": 9}, "at least 3"),
    ],
)
def test_mistakes_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        demo_stream(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"cued": 1.5}, "'cued' is 1.5"),
        ({"unseen": "some"}, "'unseen' is 'some'"),
        ({"shows": 0.9, "misleads": 0.2}, "exceed 1"),
        ({"hidden_only": 1.0}, "no sample with a label"),
        ({"na": 1}, "no sample with a label"),
    ],
)
def test_shares_out_of_range_are_named(shares: dict[str, float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        DemoShares(**shares)


def test_running_out_of_sentences_is_an_error_and_no_endless_loop() -> None:
    author = Author(0, shares=DemoShares(), image_size=32)
    draft = Draft(
        ("this", "is", "the", "only", "sample"), {}, {}, DrawnImage(("logo",), 0), "shows"
    )
    assert author.write(1, lambda: draft, what="train/PER") == [draft]
    with pytest.raises(DataError, match=r"0 of 2 samples for train/PER .* smaller sizes"):
        author.write(2, lambda: draft, what="train/PER")


def test_extreme_shares_still_make_a_stream() -> None:
    for kind in KINDS:
        for value in (0.0, 1.0):
            shares = DemoShares(cued=value, ambiguous=value, unseen=value, hidden_only=0, na=0)
            stream = demo_stream(
                kind, shares=shares, train_per_task=40, valid_per_task=10, test_size=60
            )
            assert len(stream.tasks[0].train) == 40
