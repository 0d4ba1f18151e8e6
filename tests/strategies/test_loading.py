"""Batches of positions, apart from any model."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mkgc_cl.seeds import generator
from mkgc_cl.strategies.loading import (
    BUCKET_BATCHES,
    ReplayBatches,
    TrainingBatches,
    TurnBatches,
)


def batches(lengths: list[int], size: int, *, buckets: bool, seed: int = 0) -> TrainingBatches:
    return TrainingBatches(
        lengths, batch_size=size, source=generator(seed, "test"), buckets=buckets
    )


@pytest.mark.slow
@given(st.lists(st.integers(1, 30), min_size=1, max_size=200), st.integers(1, 9), st.booleans())
def test_every_position_once_and_as_many_batches_as_promised(
    lengths: list[int], size: int, buckets: bool
) -> None:
    source = batches(lengths, size, buckets=buckets)
    drawn = list(source)
    assert len(drawn) == len(source) == -(-len(lengths) // size)
    assert sorted(position for batch in drawn for position in batch) == list(range(len(lengths)))
    assert max(map(len, drawn)) <= size


def test_buckets_save_padding_and_still_mix() -> None:
    lengths = torch.randint(3, 60, (400,), generator=generator(0, "lengths")).tolist()

    def padding(drawn: list[list[int]]) -> int:
        return sum(len(b) * max(lengths[i] for i in b) - sum(lengths[i] for i in b) for b in drawn)

    plain = list(batches(lengths, 8, buckets=False))
    source = batches(lengths, 8, buckets=True)
    first, second = list(source), list(source)
    assert padding(first) < 0.2 * padding(plain)
    assert {frozenset(b) for b in first} != {frozenset(b) for b in second}
    widths = [max(lengths[i] for i in b) for b in first[:BUCKET_BATCHES]]
    assert widths != sorted(widths)  # lengths must not come in order


def test_same_seed_same_batches() -> None:
    lengths = list(range(1, 50))
    assert list(batches(lengths, 4, buckets=True)) == list(batches(lengths, 4, buckets=True))
    assert list(batches(lengths, 4, buckets=True)) != list(
        batches(lengths, 4, buckets=True, seed=1)
    )


@given(st.integers(1, 40), st.integers(1, 20), st.integers(1, 9), st.integers(1, 25))
def test_replay_keeps_the_current_batches_as_they_are(
    current: int, memory: int, size: int, beside: int
) -> None:
    """With or without replay the current samples come in the same batches."""
    plain = list(batches([5] * current, size, buckets=True))
    for schedule in ("mixed", "alternate"):
        source = ReplayBatches(
            batches([5] * current, size, buckets=True),
            first=current,
            size=memory,
            batch_size=beside,
            schedule=schedule,  # type: ignore[arg-type]
            source=generator(0, "replay"),
        )
        drawn = list(source)
        assert len(drawn) == len(source)
        own = [[i for i in batch if i < current] for batch in drawn]
        old = [[i for i in batch if i >= current] for batch in drawn]
        assert [batch for batch in own if batch] == plain
        for batch in old if schedule == "mixed" else old[1::2]:
            assert len(batch) == len(set(batch)) == min(beside, memory)
            assert set(batch) <= set(range(current, current + memory))


def test_groups_come_whole_and_in_turn_over_epochs() -> None:
    source = TurnBatches(batches([5] * 7, 3, buckets=False), groups=[range(7, 9), [9]])
    plain = batches([5] * 7, 3, buckets=False)
    wanted = [[7, 8], [9]] * 3
    for epoch in range(2):
        drawn = list(source)
        assert len(drawn) == len(source) == 6
        assert drawn[1::2] == list(plain)
        assert drawn[::2] == wanted[3 * epoch : 3 * epoch + 3]
