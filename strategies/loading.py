"""Batches of sample positions: seeded shuffles, length buckets, replay beside, between, in turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Literal

import torch
from torch.utils.data import Sampler

Interleave = Literal["mixed", "alternate"]

BUCKET_BATCHES = 20
"""Batches that are shuffled together before they are cut by length."""


class TrainingBatches(Sampler[list[int]]):
    """Shuffled batches of positions ``0 .. N-1``, with samples of like length together.

    Bucketing shuffles the samples, sorts runs of ``BUCKET_BATCHES`` batches by length, cuts them,
    and
    shuffles the batches: less padding, still a different order and composition every epoch.

    Args:
        lengths: number of tokens of each sample (N).
        batch_size: samples per batch.
        source: generator of this concern; every pass draws on.
        buckets: put samples of like length together; off for a plain shuffle.
    """

    def __init__(
        self, lengths: Sequence[int], *, batch_size: int, source: torch.Generator, buckets: bool
    ) -> None:
        self._lengths = torch.as_tensor(list(lengths))
        self._batch_size = batch_size
        self._source = source
        self._buckets = buckets

    def __len__(self) -> int:
        return -(-len(self._lengths) // self._batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(len(self._lengths), generator=self._source)
        if not self._buckets:
            yield from (batch.tolist() for batch in order.split(self._batch_size))
            return
        batches = []
        for pool in order.split(self._batch_size * BUCKET_BATCHES):
            by_length = pool[self._lengths[pool].argsort(stable=True)]
            batches += [batch.tolist() for batch in by_length.split(self._batch_size)]
        for index in torch.randperm(len(batches), generator=self._source).tolist():
            yield batches[index]


class ReplayBatches(Sampler[list[int]]):
    """Batches of current samples with memory samples beside them or between them.

    Memory samples have the positions ``first .. first + size - 1``.

    Args:
        current: batches of current samples.
        first: position of the first memory sample.
        size: number of memory samples, at least 1.
        batch_size: memory samples per step; all of them where there are fewer.
        schedule: ``"mixed"`` adds them to every current batch; ``"alternate"`` puts a batch of them
            after every current batch.
        source: generator of the replay.
    """

    def __init__(
        self,
        current: Sampler[list[int]],
        *,
        first: int,
        size: int,
        batch_size: int,
        schedule: Interleave,
        source: torch.Generator,
    ) -> None:
        self._current = current
        self._first = first
        self._size = size
        self._batch_size = min(batch_size, size)
        self._schedule = schedule
        self._source = source

    def __len__(self) -> int:
        batches = len(self._current)  # type: ignore[arg-type]
        return batches if self._schedule == "mixed" else 2 * batches

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self._current:
            drawn = torch.randperm(self._size, generator=self._source)[: self._batch_size]
            memory = (drawn + self._first).tolist()
            if self._schedule == "mixed":
                yield batch + memory
            else:
                yield batch
                yield memory


class TurnBatches(Sampler[list[int]]):
    """Before every batch of current samples one group of memory samples, whole, the groups in turn.

    Wang et al. 2019 (EMR). The turn goes on from one pass to the next: where an epoch has fewer
    batches than there are groups, each still gets as many steps as the others.

    Args:
        current: batches of current samples.
        groups: positions of the memory samples, group by group; at least one group.
    """

    def __init__(self, current: Sampler[list[int]], *, groups: Sequence[Sequence[int]]) -> None:
        self._current = current
        self._turn = cycle([list(group) for group in groups])

    def __len__(self) -> int:
        return 2 * len(self._current)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self._current:
            yield next(self._turn)
            yield batch
