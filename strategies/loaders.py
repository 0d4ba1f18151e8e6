"""Loaders for one model: for training, for evaluation, with a memory's samples marked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.processor import Processor
from mkgc_cl.data.samples import Sample
from mkgc_cl.seeds import generator
from mkgc_cl.strategies.distributed import ALONE, Ranks
from mkgc_cl.strategies.loading import (
    Interleave,
    ReplayBatches,
    TrainingBatches,
    TurnBatches,
)

Item = tuple[Sample, bool]
"""A sample, and whether it comes from a memory."""
Collate = Callable[[Sequence[Item]], tuple[MultimodalBatch, Tensor]]


class Loaders:
    """Makes the loaders of one strategy.

    Args:
        processor: of the model.
        eval_size: samples per evaluation step.
        buckets: batch samples of like length together in training.
        pin: copy batches to pinned memory.
        seed: seed of the loaders' workers.
        ranks: the processes that share every batch of training.
    """

    def __init__(
        self,
        processor: Processor,
        *,
        eval_size: int,
        buckets: bool,
        pin: bool,
        seed: int,
        ranks: Ranks = ALONE,
    ) -> None:
        self._processor = processor
        self._eval_size = eval_size
        self._buckets = buckets
        self._pin = pin
        self._workers = generator(seed, "loader-workers")
        self._ranks = ranks

    def shuffled(
        self, items: Sequence[Item], batch_size: int, source: torch.Generator
    ) -> DataLoader[Any]:
        """A loader for training, its batches drawn anew every epoch."""
        return self._loader(items, self._drawn(items, batch_size, source))

    def beside(
        self,
        current: Sequence[Item],
        memory: Sequence[Item],
        *,
        sizes: tuple[int, int],
        schedule: Interleave,
        sources: tuple[torch.Generator, torch.Generator],
    ) -> DataLoader[Any]:
        """A loader of current samples with memory samples beside every batch, or between batches.

        Args:
            current: the task's samples.
            memory: the memory's, at least one.
            sizes: samples of each per step.
            schedule: beside or between.
            sources: generator of each one's order.
        """
        batches = ReplayBatches(
            self._drawn(current, sizes[0], sources[0]),
            first=len(current),
            size=len(memory),
            batch_size=sizes[1],
            schedule=schedule,
            source=sources[1],
        )
        return self._loader([*current, *memory], batches)

    def in_turn(
        self,
        current: Sequence[Item],
        groups: Sequence[Sequence[Item]],
        *,
        batch_size: int,
        source: torch.Generator,
    ) -> DataLoader[Any]:
        """A loader of current samples with one whole group of memory samples before every batch.

        Args:
            current: the task's samples.
            groups: groups of the memory's samples, none of them empty.
            batch_size: current samples per step.
            source: generator of their order.
        """
        items, positions = list(current), []
        for group in groups:
            positions.append(range(len(items), len(items) + len(group)))
            items += group
        batches = TurnBatches(self._drawn(current, batch_size, source), groups=positions)
        return self._loader(items, batches)

    def once(self, samples: Sequence[Sample], *, shared: bool = False) -> DataLoader[Any]:
        """A loader of every sample once, as for an evaluation.

        Args:
            samples: the samples.
            shared: of this process's share of the batches alone. They are those of one process, so
                that what is read off a sample is the same to the last bit.
        """
        batches = self.in_order(samples)
        own = self._ranks.own(batches) if shared else batches
        return self._loader([(sample, False) for sample in samples], own, self._collate)

    def in_order(self, samples: Sequence[Sample]) -> list[list[int]]:
        """Batches of :meth:`once`, longest samples first so that memory peaks at the start."""
        length = self._processor.length
        order = sorted(range(len(samples)), key=lambda i: (-length(samples[i]), i))
        size = self._eval_size
        return [order[start : start + size] for start in range(0, len(order), size)]

    def collate_dataset(self, items: Sequence[Sequence[Any]]) -> tuple[MultimodalBatch, Tensor]:
        """Collate items of an Avalanche dataset, for loaders that Avalanche makes."""
        return self._processor.collate([item[0] for item in items])

    def _drawn(
        self, items: Sequence[Item], batch_size: int, source: torch.Generator
    ) -> TrainingBatches:
        lengths = [self._processor.length(sample) for sample, _ in items]
        return TrainingBatches(lengths, batch_size=batch_size, source=source, buckets=self._buckets)

    def _loader(
        self, items: Sequence[Item], batches: Iterable[list[int]], collate: Collate | None = None
    ) -> DataLoader[Any]:
        return DataLoader(
            cast(Any, items),
            batch_sampler=batches,
            collate_fn=collate or self._collate_share,
            generator=self._workers,  # the default would draw a seed from the global generator
            pin_memory=self._pin,
        )

    def _collate_share(self, items: Sequence[Item]) -> tuple[MultimodalBatch, Tensor]:
        """Collate this process's share of a batch of training, which all draw in the same way."""
        own = self._ranks.own(items)
        batch, targets = self._collate(own or items[:1])
        batch.share = len(own) / len(items)
        return batch, targets

    def _collate(self, items: Sequence[Item]) -> tuple[MultimodalBatch, Tensor]:
        samples = [sample for sample, _ in items]
        return self._processor.collate(samples, replayed=[flag for _, flag in items])
