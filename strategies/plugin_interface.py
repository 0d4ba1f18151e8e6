"""What plugins find in a strategy that Avalanche lacks: batches, phases, replay, rates of a step.

There is no Avalanche in it but its loop, by the names of :class:`PluginInterface`'s attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import Optimizer

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.sample_checks import require_known
from mkgc_cl.data.samples import Sample
from mkgc_cl.errors import ConfigError
from mkgc_cl.models import DualStreamOutput, ModelOutput
from mkgc_cl.scenarios.benchmark import KnowledgeExperience, SampleDataset, avalanche_dataset
from mkgc_cl.strategies.checkpoints import Checkpoints
from mkgc_cl.strategies.encoding import Encoding
from mkgc_cl.strategies.loaders import Item
from mkgc_cl.strategies.loading import Interleave
from mkgc_cl.strategies.stages import StepPolicy
from mkgc_cl.strategies.step_rates import RateFactor, StepRates
from mkgc_cl.strategies.task_progress import TaskProgress
from mkgc_cl.strategies.traces import traces_of

Loss = Callable[[ModelOutput, Tensor], Tensor]
Relabel = Callable[[Sequence[Sample]], Sequence[Sample]]
"""Memory samples as they are to be trained on, from how they are kept."""


class PluginInterface(Encoding):
    """The side of a strategy that plugins use.

    Attributes:
        phase: ``"task"``, or the name of the running memory phase.
        plugins: the plugins, in the order in which they act.
        optimizer: the optimizer.
        train_mb_size: samples per training step.
        dataloader: of the running task or phase.
        adapted_dataset: what the task trains on.
        mb_x: the current mini-batch.
        mb_y: its labels.
        mb_output: the model's output on it.
        loss: of the current mini-batch.
        relabel_replayed: how memory samples are labelled before they are trained on.
    """

    phase: str
    plugins: list[Any]
    optimizer: Optimizer
    train_mb_size: int
    dataloader: Any
    adapted_dataset: Any
    mb_x: Any
    mb_y: Any
    mb_output: Any
    loss: Tensor
    relabel_replayed: Relabel | None
    _before_training_epoch: Callable[[], None]
    training_epoch: Callable[[], None]
    _after_training_epoch: Callable[[], None]
    _stop_training: bool
    _phase_loss: Loss | None
    _rates: StepRates
    _steps: StepPolicy
    _order: torch.Generator
    _no_epoch: bool
    _progress: TaskProgress
    _checkpoints: Checkpoints | None
    _endings: list[Callable[[], None]]
    _undoings: list[Callable[[], None]]
    _scored: dict[tuple[str, ...], tuple[ModelOutput, list[list[int]]]]

    @property
    def batch(self) -> MultimodalBatch:
        """The current mini-batch."""
        return cast(MultimodalBatch, self.mb_x)

    @property
    def output(self) -> ModelOutput:
        """The model's output on the current mini-batch."""
        return cast(ModelOutput, self.mb_output)

    @property
    def dual_output(self) -> DualStreamOutput:
        """The same of a dual-stream model, for plugins that read streams or attention.

        Raises:
            ConfigError: the model has no two streams.
        """
        if not isinstance(self.mb_output, DualStreamOutput):
            raise ConfigError(
                [
                    f"{type(self.network).__name__} has no text and vision stream whose scores and "
                    "attention a plugin could read; use a DualStreamModel, or leave the plugin out"
                ]
            )
        return self.mb_output

    @property
    def current_rows(self) -> Tensor:
        """Rows (N,) of the current mini-batch that are the task's own and not replayed.

        None where this process has no share of the batch.
        """
        rows: Tensor = (~self.batch.replayed).nonzero().flatten()
        return rows if self.batch.share else rows[:0]

    def mean_loss(self, losses: Tensor) -> Tensor:
        """Mean of losses of the current mini-batch; the parts of all processes add up to it.

        Whatever a plugin adds to ``loss`` is such a part: of a mean, what this process adds up,
        divided by the number in all processes (``ranks.total``).

        Args:
            losses: one for each sample or span (N,), or their mean over this process's samples.
        """
        if not self.ranks.shared:
            return losses.mean() if losses.dim() else losses
        if not losses.dim():
            return losses * self.batch.share
        own = losses if self.batch.share else losses[:0]
        return own.sum() / self.ranks.total(len(own))

    def traces(self) -> dict[str, list[float]]:
        """Series that the plugins publish (:func:`~mkgc_cl.strategies.traces.traces_of`)."""
        return traces_of(self.plugins)

    def memory_phase(
        self,
        samples: Sequence[Sample],
        *,
        epochs: int,
        batch_size: int,
        source: torch.Generator,
        lr_scale: float = 1.0,
        current: Sequence[Sample] = (),
        name: str = "memory",
        loss: Loss | None = None,
    ) -> None:
        """Train on memory samples alone, with every plugin hearing it as phase ``"memory"``.

        Args:
            samples: the exemplars; nothing happens without any (and without ``current``).
            epochs: passes over them.
            batch_size: exemplars per step.
            source: generator of their order.
            lr_scale: factor on every learning rate in the phase's steps but a readout's, which
                learns in such phases only and has a rate of its own. A scheduler goes on
                meanwhile as it would without the factor.
            current: samples of the running task that a phase of a staged method learns from, too.
            name: what plugins read of ``phase``; anything but ``"task"``.
            loss: what the phase minimizes in place of the model's loss, from a batch's output and
                labels: a value for each sample, or whatever the mean is to be over; or the mean
                over samples. Terms that plugins add to the loss are added to it, in any order of
                plugins.
        """
        items = self._items(samples, replayed=True) + self._items(current, replayed=False)
        if not items:
            return
        previous = self.dataloader
        # a task that was stopped early must not stop its memory phase, nor the phase the next task
        self._stop_training = False
        try:
            self.phase, self._phase_loss, self._rates.phase = name, loss, lr_scale
            self.dataloader = self._loaders.shuffled(items, batch_size, source)
            self._steps.begin_stage(self.optimizer)
            self._run_epochs(epochs)
        finally:
            self.phase, self._phase_loss, self._rates.phase = "task", None, 1.0
            self.dataloader = previous
            self._stop_training = False

    def _run_epochs(self, number: int) -> None:
        """Run the epochs of one stage that are left, until a plugin stops them."""
        for _ in self._progress.epochs(number, self.dataloader):
            self._before_training_epoch()
            if self._stop_training:
                self._stop_training = False
                break
            self.training_epoch()
            self._after_training_epoch()
        if self._checkpoints is not None:
            self._checkpoints.end_stage(self._progress)

    def when_task_ends(self, finish: Callable[[], None]) -> None:
        """Call ``finish`` when the running task has ended; use in ``after_training_exp``.

        That is after the last plugin's ``after_training_exp``, and never where one of them raised:
        a task that is cut off in its memory phase has not ended, and may be begun again.
        """
        self._endings.append(finish)

    def if_cut_off(self, undo: Callable[[], None]) -> None:
        """Call ``undo`` if the running task does not end; use in ``after_training_exp``."""
        self._undoings.append(undo)

    def scale_step(self, factor: RateFactor) -> None:
        """Scale the learning rates of the step that this iteration takes, and of no other.

        Call in any hook before the step, ``before_update`` at the latest. The factors of several
        calls multiply. The rates are scaled around the optimizer's step alone: every hook and every
        scheduler sees them as they are, and whatever an iteration raises, before its step, in it or
        after it, they are afterwards what they were.

        Args:
            factor: gives the factor on the rate of each parameter group.
        """
        self._rates.scale(factor)

    def replay_beside(
        self,
        samples: Sequence[Sample],
        *,
        batch_size: int,
        schedule: Interleave,
        source: torch.Generator,
    ) -> None:
        """Let the task's loader bring memory samples along; call in ``before_training_exp``.

        Args:
            samples: the exemplars; nothing happens without any.
            batch_size: exemplars per step.
            schedule: beside every batch or between batches.
            source: generator of the replay.
        """
        if not samples:
            return
        self.dataloader = self._loaders.beside(
            self._current_items(),
            self._items(samples, replayed=True),
            sizes=(self.train_mb_size, batch_size),
            schedule=schedule,
            sources=(self._order, source),
        )

    def set_training_samples(self, samples: Sequence[Sample]) -> None:
        """Let the task train on ``samples`` in place of its own.

        Call in ``after_train_dataset_adaptation``; they count as current samples, not as replayed.
        """
        self.network.processor.prepare(samples)
        self.adapted_dataset = self._collated(SampleDataset(samples, self._experience.labels))

    def train_no_epoch(self) -> None:
        """Let the task train no epoch: what it brings is learnt after it, in closed form.

        Call in ``before_training_exp``. No sample is loaded, and nothing in the loop is called.
        """
        self._no_epoch = True

    def replay_in_turn(self, groups: Sequence[Sequence[Sample]]) -> None:
        """Put one group of memory samples before every batch; call in ``before_training_exp``.

        Args:
            groups: the exemplars, group by group, each one training step; those without any are
                left out, and nothing happens without a group.
        """
        filled = [self._items(group, replayed=True) for group in groups if group]
        if filled:
            self.dataloader = self._loaders.in_turn(
                self._current_items(), filled, batch_size=self.train_mb_size, source=self._order
            )

    def decoded(self) -> list[list[int]]:
        """Best output ids of the current evaluation batch, decoded once per evaluation."""
        return self._scored[self.batch.uids][1]

    def gold(self) -> list[Any]:
        """True output ids of the current batch: one per sample, or a list padded with -100."""
        return cast(list[Any], self.mb_y.tolist())

    @property
    def _experience(self) -> KnowledgeExperience:
        return cast(KnowledgeExperience, self.experience)

    def _collated(self, dataset: Any) -> Any:
        return avalanche_dataset(dataset, collate_fn=self._loaders.collate_dataset)

    def _current_items(self) -> list[Item]:
        """Samples of the adapted dataset, which :meth:`set_training_samples` may have changed."""
        return [(item[0], False) for item in self.adapted_dataset]

    def _items(self, samples: Sequence[Sample], *, replayed: bool) -> list[Item]:
        """Samples as a training loader takes them, all of labels that the model scores by now."""
        if replayed and samples and self.relabel_replayed is not None:
            samples = self.relabel_replayed(samples)
        seen, own = self.network.seen.tolist(), self._experience.classes_in_this_experience
        names = enumerate(self.network.labels.outputs)
        # a task's own are announced after its loader is made
        known = {name for output, name in names if seen[output] or output in own}
        require_known(samples, known, task=self._experience.task_name)
        return [(sample, replayed) for sample in samples]
