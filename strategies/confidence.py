"""How sure a trained system is of what it reads, and how often it is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.processor import IGNORED
from mkgc_cl.data.samples import Sample, TaggingSample, Task
from mkgc_cl.errors import ConfigError
from mkgc_cl.metrics.calibration import (
    Bin,
    abstention_curve,
    expected_calibration_error,
    fitted_temperature,
    reliability,
)
from mkgc_cl.metrics.counts import Counts, relation_counts, span_counts
from mkgc_cl.models import ModelOutput
from mkgc_cl.strategies.template import MultimodalStrategy


@dataclass(frozen=True, slots=True)
class Readings:
    """What a system says of samples, a row for each relation or word.

    Args:
        scores: (N, K) of the outputs seen so far.
        labels: of every row the positions (of K) that its label leaves open.
        sample: which sample a row is of.
        counts: of every sample, what it adds to the score.
    """

    scores: list[list[float]]
    labels: list[frozenset[int]]
    sample: list[int]
    counts: list[Counts]


@dataclass(frozen=True, slots=True)
class Confidence:
    """Whether a system is as sure as it is right.

    Args:
        temperature: fitted on validation.
        before: reliability on test samples as the system is.
        after: the same with the temperature.
        curve: coverage and F1 of the surest samples, ever more of them.
    """

    temperature: float
    before: tuple[Bin, ...]
    after: tuple[Bin, ...]
    curve: tuple[tuple[float, float], ...]

    @property
    def errors(self) -> tuple[float, float]:
        """Expected calibration error before and after, in [0, 1]."""
        return expected_calibration_error(self.before), expected_calibration_error(self.after)


def confidence(strategy: MultimodalStrategy, tasks: Sequence[Task]) -> Confidence:
    """Fit a temperature on the tasks' validation samples, and measure on their test samples.

    Args:
        strategy: trained on these tasks; its model tags without a CRF.
        tasks: the tasks.

    Raises:
        ConfigError: the model tags by a CRF, whose scores are of whole sentences.
    """
    if strategy.network.crf is not None:
        raise ConfigError(
            ["a CRF has no confidence per word; build the system with tagger=softmax"]
        )
    classes = tuple(name for task in tasks for name in task.classes)
    if strategy.network.labels.kind == "ner":
        # a task labels its own types alone: of a word called O all other types are open
        valid = [(task.valid, task.classes) for task in tasks]
    else:
        valid = [(task.valid, classes) for task in tasks]
    fitted_on = readings(strategy, valid)
    temperature = fitted_temperature(fitted_on.scores, fitted_on.labels)
    found = readings(strategy, [(merged([s for task in tasks for s in task.test]), classes)])
    sure, right = _decisions(found, temperature)
    of_sample = [1.0] * len(found.counts)
    for row, sample in enumerate(found.sample):
        of_sample[sample] = min(of_sample[sample], sure[row])
    return Confidence(
        temperature,
        reliability(*_decisions(found, 1.0)),
        reliability(sure, right),
        abstention_curve(of_sample, found.counts),
    )


def readings(
    strategy: MultimodalStrategy, groups: Sequence[tuple[Sequence[Sample], Sequence[str]]]
) -> Readings:
    """Read samples with a trained system.

    Args:
        strategy: the system.
        groups: samples, and the classes that their labels tell of.
    """
    network = strategy.network
    names, tags = network.labels.outputs, network.labels.kind == "ner"
    seen = network.seen_ids
    found = Readings([], [], [], [])
    for samples, classes in groups:
        own = {names[output] for output in network.labels.output_ids(classes)} - {names[0]}
        rest = frozenset(
            place for place, output in enumerate(seen.tolist()) if names[output] not in own
        )
        places = {output: frozenset({place}) for place, output in enumerate(seen.tolist())}

        def look(
            batch: MultimodalBatch,
            output: ModelOutput,
            targets: Tensor,
            own: Sequence[str] = classes,
            rest: frozenset[int] = rest,
            places: dict[int, frozenset[int]] = places,
        ) -> None:
            scores = network.read_out(output)
            decided = network.decode(replace(output.scores_only(), logits=scores))
            for row, ids in enumerate(decided):
                flat = targets[row].flatten()
                gold: list[int] = flat[flat != IGNORED].tolist()
                mine = scores[row].reshape(-1, scores.shape[-1])[: len(gold)]
                found.scores.extend(mine.index_select(-1, seen).tolist())
                found.labels.extend(places[g] if g or not tags else rest for g in gold)
                found.sample.extend([len(found.counts)] * len(gold))
                if tags:
                    read, wanted = ([[names[i] for i in each]] for each in (ids, gold))
                    found.counts.append(span_counts(read, wanted, types=own))
                else:
                    found.counts.append(relation_counts(ids, gold, ignore={0}))

        strategy.encode_samples(samples, look)
    return found


def merged(samples: Sequence[Sample]) -> list[Sample]:
    """Sentences that stand in several tasks, once, with the tags of all of them."""
    by_uid: dict[str, Sample] = {}
    for sample in samples:
        known = by_uid.get(sample.uid)
        if isinstance(sample, TaggingSample) and isinstance(known, TaggingSample):
            pairs = zip(known.tags, sample.tags, strict=True)
            tags = tuple(one if one != "O" else other for one, other in pairs)
            sample = replace(sample, tags=tags)
        by_uid[sample.uid] = sample
    return list(by_uid.values())


def _decisions(found: Readings, temperature: float) -> tuple[list[float], list[bool]]:
    """Confidence of every row's best output, and whether it is right."""
    scores = torch.tensor(found.scores, dtype=torch.float64) / temperature
    best = scores.softmax(dim=1).max(dim=1)
    hits = [
        place in labels for place, labels in zip(best.indices.tolist(), found.labels, strict=True)
    ]
    return best.values.tolist(), hits
