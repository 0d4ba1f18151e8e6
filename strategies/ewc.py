"""Elastic weight consolidation (Kirkpatrick et al., PNAS 2017) for either task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from mkgc_cl._checks import at_least, one_of, require
from mkgc_cl.data.samples import Sample
from mkgc_cl.errors import DataError, TrainingError
from mkgc_cl.objectives.consolidation import add_quadratic_penalty, diagonal_fisher
from mkgc_cl.seeds import generator
from mkgc_cl.strategies.plugin import Plugin
from mkgc_cl.strategies.template import MultimodalStrategy

EWCMode = Literal["online", "separate", "last"]


class EWCPlugin(Plugin, supports_distributed=True):
    r"""Add :math:`\frac\lambda2 \sum_i F_i (\theta_i - \theta_i^*)^2` to the loss.

    The Fisher information is per sample and of the true labels, in evaluation mode; Avalanche's
    plugin of the same name squares the mean gradient of a batch, so its lambda means something else
    with every batch size. It is taken when the next task begins, of the task before: so it sees
    what a memory phase left, in any order of plugins, and the last task costs nothing.

    Beside :class:`GradientModulationPlugin` the penalty is slowed with the modality it holds, as is
    the step that it works against.

    Memory: ``"online"`` and ``"last"`` hold two copies of the trainable weights, ``"separate"`` two
    for every finished task; while a Fisher is estimated there is one sample's gradient besides, in
    a step two tensors as large as the largest parameter.

    Args:
        weight: lambda, at least 0 (100 as in the code of Han et al. 2020); 0 does nothing.
        mode: ``"online"`` adds a task's Fisher to ``decay`` times the ones before and anchors at
            the latest weights (Schwarz et al. 2018); ``"separate"`` keeps one Fisher and anchor
            per task (Kirkpatrick et al.); ``"last"`` keeps the last task's (RELEASED CODE).
        decay: factor on the Fisher of earlier tasks (``"online"``), in (0, 1].
        samples: samples of a task that the Fisher is estimated on; ``None`` for all.
        seed: seed of their choice.

    Attributes:
        penalties: the unweighted penalty of every step.

    Raises:
        ConfigError: an option is not one of the above.
    """

    def __init__(
        self,
        *,
        weight: float = 100.0,
        mode: EWCMode = "online",
        decay: float = 1.0,
        samples: int | None = 256,
        seed: int = 0,
    ) -> None:
        super().__init__()
        undecayed = mode in ("separate", "last") and decay != 1
        require(
            at_least("weight", weight, 0),
            one_of("mode", mode, get_args(EWCMode)),
            [] if 0 < decay <= 1 else [f"decay={decay}; give a number above 0, at most 1"],
            [f"decay={decay}; mode={mode!r} has no decay, leave it out"] if undecayed else [],
            at_least("samples", samples, 1, none="all"),
        )
        self.weight = weight
        self.mode = mode
        self.decay = decay
        self.samples = samples
        self.penalties: list[float] = []
        self._source = generator(seed, "fisher-samples")
        self._terms: list[tuple[list[Tensor], list[Tensor]]] = []  # (anchors, importances)
        self._previous: tuple[Sample, ...] = ()  # of a task that came to its end
        self._whole = True  # False from the first number that is overwritten to the last

    def before_train_dataset_adaptation(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Consolidate what the task before has taught.

        The earliest callback of a task: a later one would find the new task's outputs unmasked.

        Raises:
            TrainingError: a loss is not finite, or an earlier call ended while it overwrote.
        """
        if self._previous and self.weight > 0:
            self._consolidate(strategy)
        self._previous = ()  # once: a task that is cut off and begun again finds nothing to do

    def after_training_exp(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Keep the task's samples for the next one's beginning."""
        samples = tuple(strategy.experience.samples)
        strategy.when_task_ends(partial(setattr, self, "_previous", samples))

    def after_backward(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Add the penalty to loss and gradients, in memory phases too.

        Raises:
            TrainingError: the consolidation before this task did not come to its end.
        """
        self._require_whole()
        if not self._terms:
            return
        parameters = list(_trainable(strategy.network).values())
        each = [add_quadratic_penalty(parameters, *t, weight=self.weight) for t in self._terms]
        penalty = torch.stack(each).sum()
        self.penalties.append(float(penalty))
        strategy.loss = strategy.loss + self.weight * penalty

    def traces(self) -> dict[str, list[float]]:
        """The penalty of every step."""
        return {"ewc_penalty": list(self.penalties)}

    def held_samples(self) -> list[Sample]:
        """Samples that :meth:`load_state_dict` will be given."""
        return list(self._previous)

    def state_dict(self) -> dict[str, Any]:
        """What later tasks depend on.

        Raises:
            TrainingError: the last consolidation did not come to its end.
        """
        self._require_whole()
        return {
            "terms": [
                {"anchors": [t.clone() for t in anchors], "importances": [t.clone() for t in f]}
                for anchors, f in self._terms
            ],
            "previous": [sample.identity for sample in self._previous],
            "penalties": list(self.penalties),
            "source": self._source.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any], *, samples: Iterable[Sample]) -> None:
        """Go on from :meth:`state_dict`.

        Args:
            state: the state.
            samples: where the samples of the task before are found: the stream's training samples.

        Raises:
            DataError: a sample of the task before is not among them.
        """
        found = {sample.identity: sample for sample in samples}
        missing = [name for name in state["previous"] if name not in found]
        if missing:
            raise DataError(
                f"{len(missing)} samples of the task before are not in the given samples (first: "
                f"{missing[0]}); load with the stream that was trained on"
            )
        self._previous = tuple(found[name] for name in state["previous"])
        self._whole = True
        self._terms = [
            ([t.clone() for t in term["anchors"]], [t.clone() for t in term["importances"]])
            for term in state["terms"]
        ]
        self.penalties = list(state["penalties"])
        self._source.set_state(state["source"])

    def _chosen(self, samples: Sequence[Sample]) -> Sequence[Sample]:
        if self.samples is None or self.samples >= len(samples):
            return samples
        rows = torch.randperm(len(samples), generator=self._source)[: self.samples]
        return [samples[row] for row in rows.tolist()]

    def _consolidate(self, strategy: MultimodalStrategy) -> None:
        """Take Fisher and anchor of the weights as they are, into the tensors that are there.

        Nothing reads the old anchors any more, so the new Fisher is estimated in their place; the
        old one is needed until then. An end before the end (Ctrl-C, a loss that is not finite)
        leaves no anchors, and training and saving are refused until a call comes through. During
        the estimate, which is nearly all of the time, nothing else is lost: the next call does it
        anew. Within the few sums after it the Fisher may be half old and half new, is dropped, and
        that call is refused as well.
        """
        parameters = list(_trainable(strategy.network).values())
        if not self._whole and not self._terms:
            self._require_whole()
        if self.mode == "separate" or not self._terms:
            fisher = self._fisher(strategy, parameters)
            anchors = [parameter.detach().clone() for parameter in parameters]
            self._terms = [*self._terms, (anchors, fisher)]
            return
        anchors, fisher = self._terms[0]
        self._whole = False
        latest = self._fisher(strategy, parameters, out=anchors)
        self._terms = []
        for new, old in zip(latest, fisher, strict=True):
            if self.mode == "online":
                torch.add(new, old, alpha=self.decay, out=old)
            else:
                old.copy_(new)
        for anchor, parameter in zip(anchors, parameters, strict=True):
            anchor.copy_(parameter.detach())
        self._terms = [(anchors, fisher)]
        self._whole = True

    def _fisher(
        self,
        strategy: MultimodalStrategy,
        parameters: Sequence[Tensor],
        out: Sequence[Tensor] | None = None,
    ) -> list[Tensor]:
        """Fisher information on the task before; each process estimates it on a share.

        Its bits must be the same in all: a penalty is added after gradients are reduced, and on a
        GPU no two backward passes need agree to the last bit.
        """
        chosen = self._chosen(self._previous)
        own = strategy.ranks.own(chosen)
        fisher = diagonal_fisher(_losses(strategy, own), parameters, out=out)
        strategy.ranks.average(fisher, len(own) / len(chosen))
        return fisher

    def _require_whole(self) -> None:
        if self._whole:
            return
        again = "train on the next task again" if self._terms else "begin the run anew"
        raise TrainingError(
            "EWC was stopped while it consolidated a task: it has no penalty to train with or to "
            f"save; {again}, or load a state from before"
        )


def _trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _losses(strategy: MultimodalStrategy, samples: Sequence[Sample]) -> Iterator[Tensor]:
    """Loss of each sample alone, in evaluation mode; training goes on as it was."""
    network = strategy.network
    training = network.training
    network.eval()
    try:
        for sample in samples:
            batch, targets = network.processor.collate([sample])
            output = strategy.encode(network, batch.to(strategy.device))
            loss = network.loss(output, targets.to(strategy.device))
            strategy.require_finite(loss.detach().reshape(1), "loss is", batch)
            yield loss
    finally:
        network.train(training)
