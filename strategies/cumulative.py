"""Joint training: every task trains on all samples so far, upper bound of the paper's tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from mkgc_cl.data.samples import Sample
from mkgc_cl.errors import DataError
from mkgc_cl.models import ExtractionModel
from mkgc_cl.strategies.plugin import Plugin
from mkgc_cl.strategies.template import MultimodalStrategy


class CumulativePlugin(Plugin, supports_distributed=True):
    """Train every task on its own samples and on those of all tasks before.

    The paper's "Joint Training" has one A_k for every k, so the union grows task by task (Avalanche
    calls this cumulative; its ``JointTraining`` is a single fit). Samples of earlier tasks are no
    replayed samples: other plugins see them as current ones.

    A sample that stands in two tasks of a tagging stream stays in the union as either task gives
    it: twice, each time with that task's types alone. Merging the tags would be another stream:
    the IMNER stream of ``rule="complete"``, of which ``latest`` keeps each sample once.

    It keeps every sample and is no continual learner: ``keeps_every_sample`` tells ``check_system``
    so.

    Args:
        from_scratch: train every task from the weights that the first one began with, and without
            the optimizer's memory of the tasks before; the result of task k is then that of a fresh
            strategy trained on the union as its task k (order and dropout follow the task's number
            alone). Learning rates stay with whoever sets them. Keeps one copy of the model. Off:
            go on from the weights of the task before.
        latest: a sample that comes again, with other tags, takes the place of its former self.
    """

    keeps_every_sample = True

    def __init__(self, *, from_scratch: bool = True, latest: bool = False) -> None:
        super().__init__()
        self.latest = latest
        self.from_scratch = from_scratch
        self._seen: dict[str, Sample] = {}  # by identity or uid, in order of arrival
        self._initial: dict[str, Tensor] = {}

    def after_train_dataset_adaptation(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Make the task's samples the union, and start afresh where that is asked for.

        Not in the callback before, in which other plugins look back at the previous task's weights.
        """
        for sample in strategy.experience.samples:
            self._seen[sample.uid if self.latest else sample.identity] = sample
        strategy.set_training_samples(list(self._seen.values()))
        if not self.from_scratch:
            return
        if not self._initial:
            self._initial = {name: t.clone() for name, t in _weights(strategy.network).items()}
            return
        with torch.no_grad():
            for name, tensor in _weights(strategy.network).items():
                if name in self._initial:  # a readout that came later is another plugin's to reset
                    tensor.copy_(self._initial[name])
        strategy.optimizer.state.clear()

    def held_samples(self) -> list[Sample]:
        """Samples that :meth:`load_state_dict` will be given."""
        return list(self._seen.values())

    def state_dict(self) -> dict[str, Any]:
        """What later tasks depend on."""
        return {
            "seen": [sample.identity for sample in self._seen.values()],
            "initial": {name: tensor.clone() for name, tensor in self._initial.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any], *, samples: Iterable[Sample]) -> None:
        """Go on from :meth:`state_dict`.

        Args:
            state: the state.
            samples: where the samples of the tasks so far are found: the stream's training samples.

        Raises:
            DataError: one of these samples is not among them.
        """
        found = {sample.identity: sample for sample in samples}
        missing = [name for name in state["seen"] if name not in found]
        if missing:
            raise DataError(
                f"{len(missing)} samples of the tasks so far are not in the given samples (first: "
                f"{missing[0]}); load with the stream that was trained on"
            )
        kept = [found[name] for name in state["seen"]]
        self._seen = {sample.uid if self.latest else sample.identity: sample for sample in kept}
        self._initial = {name: tensor.clone() for name, tensor in state["initial"].items()}


def _weights(model: ExtractionModel) -> dict[str, Tensor]:
    """Every parameter and buffer but which outputs were seen: that is known, not learnt."""
    return {name: tensor for name, tensor in model.state_dict().items() if name != "seen"}
