"""A readout on the model: it predicts in evaluations, and training does not hear of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mkgc_cl.metrics import Counts
from mkgc_cl.models.base import Readout
from mkgc_cl.models.output import ModelOutput
from mkgc_cl.strategies import continual_evaluator
from mkgc_cl.strategies.evaluation import result_matrix


class Favourite(Readout):
    """One output for every sample or word, whatever the head says."""

    favourite: Tensor

    def __init__(self, favourite: int) -> None:
        super().__init__()
        self.register_buffer("favourite", torch.tensor(favourite))

    def forward(self, output: ModelOutput) -> Tensor:
        scores = torch.zeros_like(output.logits)
        scores[..., int(self.favourite)] = 1e3
        return scores


class Decoded(list[list[int]]):
    """What an evaluation predicted, sample by sample."""

    def watch(self, strategy: Any) -> None:
        decode = strategy.network.decode

        def watched(output: Any) -> Any:
            found = decode(output)
            self.extend(found)
            return found

        strategy.network.decode = watched


def evaluated(kit: Any, kind: str, favourite: int) -> tuple[set[int], Any, Any]:
    """Output ids that an evaluation of the first task predicts, its counts, and the strategy."""
    benchmark = kit.benchmark(kind)
    model = kit.text_model(benchmark.labels)
    strategy = kit.strategy(benchmark.labels, model=model, evaluator=continual_evaluator())
    strategy.train(benchmark.train_stream[0])
    model.readout = Favourite(favourite)
    decoded = Decoded()
    decoded.watch(strategy)
    strategy.eval(benchmark.test_stream[:1])
    return {tag for tags in decoded for tag in tags}, result_matrix(strategy), benchmark


def test_the_readout_predicts(kit: Any, kind: str) -> None:
    predicted, matrix, benchmark = evaluated(kit, kind, 1)
    assert predicted == {1}
    samples = benchmark.test_stream[0].samples
    if kind == "re":  # r0 of two samples each of r0 and r1, and one N/A
        assert matrix.counts("test", after=0, on=0) == Counts(2, 5, 4)
    else:  # B-K0 at every word: an entity of one word each, none of them right
        assert matrix.counts("test", after=0, on=0) == Counts(
            0, sum(len(s.tokens) for s in samples), 5
        )


def test_a_class_not_seen_yet_is_not_predicted(kit: Any, kind: str) -> None:
    """The favourite is of the second task: the others are even, and the first of them wins."""
    predicted, _, benchmark = evaluated(kit, kind, 3)
    outputs = benchmark.labels.outputs
    assert predicted
    assert all(outputs[tag] not in ("r2", "B-K1", "I-K1") for tag in predicted)


@pytest.mark.slow
def test_training_goes_on_as_without(kit: Any, kind: str) -> None:
    benchmark = kit.benchmark(kind)
    ends = []
    for with_readout in (False, True):
        model = kit.text_model(benchmark.labels)
        if with_readout:
            model.readout = Favourite(1)
        ends.append(kit.train(kit.strategy(benchmark.labels, model=model), benchmark))
    assert ends[1].pop("readout.favourite") == 1
    assert kit.same(*ends)
