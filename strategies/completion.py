"""Exemplars rehearsed with labels that their own task left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.samples import Sample, TaggingSample
from mkgc_cl.memory.completion import completed_tags
from mkgc_cl.models import ModelOutput
from mkgc_cl.strategies.plugin import Plugin
from mkgc_cl.strategies.template import MultimodalStrategy


class CompletedLabelsPlugin(Plugin, supports_distributed=True):
    """Let the model as it is complete the labels of exemplars before they are rehearsed.

    An exemplar calls every type of another task ``O``, and a memory teaches that again and again.
    Whenever exemplars are about to be trained on, what the model reads in their words ``O`` takes
    the place of ``O`` (:func:`~mkgc_cl.memory.completion.completed_tags`). The memory itself keeps
    the labels as they came.
    """

    def before_training(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Complete whatever is replayed from now on."""
        strategy.relabel_replayed = lambda samples: completed(strategy, samples)


def completed(strategy: MultimodalStrategy, samples: Sequence[Sample]) -> list[Sample]:
    """Samples with the entities that a strategy's model reads in their words ``O``."""
    network = strategy.network
    names = network.labels.outputs
    if not bool(network.seen.any()):
        return list(samples)

    def look(batch: MultimodalBatch, output: ModelOutput, targets: Any) -> list[list[int]]:
        decided = replace(output.scores_only(), logits=network.read_out(output))
        return network.decode(decided)

    found = [ids for batch in strategy.encode_samples(samples, look) for ids in batch]
    order = strategy.reading_order(samples)
    tags = {row: [names[tag] for tag in ids] for row, ids in zip(order, found, strict=True)}
    return [
        replace(sample, tags=completed_tags(sample.tags, tags[row]))
        if isinstance(sample, TaggingSample)
        else sample
        for row, sample in enumerate(samples)
    ]
