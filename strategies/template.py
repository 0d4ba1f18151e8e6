"""The training template: every override of Avalanche's training loop is in this module.

Plugins above it are ordinary ``SupervisedPlugin`` classes; what they find beyond Avalanche's is in
:mod:`mkgc_cl.strategies.plugin_interface` and :mod:`mkgc_cl.strategies.encoding`. What Avalanche's
own metrics and strategies take is in :mod:`mkgc_cl.strategies.measured` and
:mod:`mkgc_cl.strategies.adapted`.

===============================  ==============================================================
override                         what Avalanche 0.6.0 does; *the test that fails without*
===============================  ==============================================================
``train``                        draws from global generators, which anybody else's draw shifts;
                                 *test_train_and_eval_leave_global_randomness_alone*
``_before_training_exp``         goes on with the draws of the task before;
                                 *test_a_memory_phase_does_not_shift_the_order_of_later_batches*
``_train_exp``                   trains every task by gradient, all of its epochs;
                                 *test_a_frozen_encoder_reads_every_sample_once_and_takes_no_step*
``_after_training_exp``          tells plugins in turn, so that to some a task has ended that
                                 another one's memory phase did not come through;
                                 *test_a_task_cut_off_in_its_memory_phase_has_not_ended*
``eval``                         scores a sample once for every experience that holds it;
                                 *test_each_sample_is_scored_once_an_evaluation*
``make_train_dataloader``        ignores the data set's collate function, in training alone;
                                 *test_every_sample_once_an_epoch*
``make_eval_dataloader``         batches samples as they come, and pads short ones to long ones;
                                 *test_each_sample_is_scored_once_an_evaluation*
``check_model_and_optimizer``    does not tell a model which classes a task brings;
                                 *test_samples_of_a_later_task_cannot_be_brought_into_training*
``model_adaptation``             adapts modules in evaluations too;
                                 *test_evaluation_never_changes_training*
``make_optimizer``               puts every parameter into the optimizer's first group;
                                 *test_the_optimizer_stays_as_it_was_given*
``forward``                      takes scores that are not finite for an answer;
                                 *test_each_sample_is_scored_once_an_evaluation*
``criterion``                    has one loss for all of a run;
                                 *test_both_losses_by_hand_and_prototypes_frozen_within_the_epoch*
``backward``                     trains on with a loss that is not finite;
                                 *test_a_loss_that_is_not_finite_names_the_samples*
``_before_training_iteration``   knows no rates of a single step;
                                 *test_whatever_raises_the_rates_are_what_they_were*
``_after_training_iteration``    keeps nothing of a step for a process that is killed;
                                 *test_a_run_goes_on_from_any_step*
``training_epoch``               knows no epoch whose first steps were taken before;
                                 *test_a_run_goes_on_from_any_step*
``optimizer_step``               steps at the rates of the groups, and clips nothing;
                                 *test_the_rate_is_scaled_in_the_step_alone*
``mb_task_id``                   wants task labels as a third part of a batch;
                                 *test_runs_acts_and_repeats*
===============================  ==============================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from avalanche.core import SupervisedPlugin
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor
from torch.optim import Optimizer

from mkgc_cl._checks import at_least, require
from mkgc_cl.data.readiness import require_samples
from mkgc_cl.data.samples import Sample
from mkgc_cl.devices import usable_device
from mkgc_cl.errors import TrainingError
from mkgc_cl.models import ExtractionModel, ModelOutput
from mkgc_cl.scenarios.benchmark import KnowledgeExperience, experiences_of
from mkgc_cl.seeds import generator
from mkgc_cl.strategies.checkpoints import Checkpoints, Resumed
from mkgc_cl.strategies.compatibility import refusals, unshared
from mkgc_cl.strategies.distributed import current_ranks
from mkgc_cl.strategies.evaluator import evaluation_plugin
from mkgc_cl.strategies.loaders import Loaders
from mkgc_cl.strategies.measured import measure
from mkgc_cl.strategies.own_draws import globals_kept, seed_globals
from mkgc_cl.strategies.plugin_interface import Loss, PluginInterface, Relabel
from mkgc_cl.strategies.precision import Precision, wrong_precision
from mkgc_cl.strategies.resumable import Resumable
from mkgc_cl.strategies.shared_gradients import SharedGradients
from mkgc_cl.strategies.stages import StepPolicy
from mkgc_cl.strategies.step_rates import StepRates
from mkgc_cl.strategies.task_progress import TaskProgress


class MultimodalStrategy(Resumable, PluginInterface, SupervisedTemplate):
    """Train a model on a stream of tasks, with any plugins in any order.

    Differences from Avalanche's template, each of them a measured trap of 0.6.0:

    * batches are :class:`~mkgc_cl.data.batch.MultimodalBatch`, in training loaders too;
    * the optimizer is the one given: Avalanche would put every parameter into its first group;
    * dropout and loaders draw from generators of their own, new for every task, so neither an
      evaluation, nor a plugin that samples, nor a memory phase shifts what training sees (two rows
      of an ablation see the same batches), and the caller's global state is left alone;
    * a sample is scored once per evaluation, however many experiences it stands in.

    The processes of a process group (:func:`mkgc_cl.strategies.distributed.join`) build the same
    strategy and train it together: every batch is shared, and so are evaluations.

    Args:
        model: the model; its ``loss`` is the criterion.
        optimizer: built by :func:`mkgc_cl.models.build_optimizer`, or any other.
        plugins: plugins in the order in which they act.
        train_mb_size: samples per training step.
        train_epochs: epochs per task.
        eval_mb_size: samples per evaluation step.
        device: where to train.
        evaluator: metrics and loggers; none by default.
        eval_every: as in Avalanche; -1 evaluates only when asked.
        length_buckets: batch samples of like length together; off for a plain shuffle.
        precision: ``"bf16"`` runs the forward pass in bfloat16 where the device has it.
        steps: what becomes of moments between stages, and of gradients before a step.
        seed: seed of loaders and dropout.

    Raises:
        ConfigError: a device that does not work here, bf16 on one without it, sizes below 1, a
            plugin, metric or logger of Avalanche that cannot work here, or a plugin or metric that
            does not say that it works in processes that share a training.
    """

    def __init__(
        self,
        *,
        model: ExtractionModel,
        optimizer: Optimizer,
        plugins: Sequence[SupervisedPlugin] | None = None,
        train_mb_size: int = 16,
        train_epochs: int = 1,
        eval_mb_size: int = 64,
        device: str | torch.device = "cpu",
        evaluator: EvaluationPlugin | None = None,
        eval_every: int = -1,
        length_buckets: bool = True,
        precision: Precision = "fp32",
        steps: StepPolicy = StepPolicy(),  # noqa: B008  # frozen
        seed: int = 0,
    ) -> None:
        device = usable_device(device)
        self.ranks = current_ranks()
        if evaluator is None:
            evaluator = evaluation_plugin()
        wrong = unshared([*(plugins or ()), *evaluator.metrics], self.ranks)
        wrong += refusals(
            [*(plugins or ()), *evaluator.metrics, *evaluator.loggers],
            task=model.labels.kind,
            device=device.type,
        )
        require(
            at_least("train_mb_size", train_mb_size, 1),
            at_least("train_epochs", train_epochs, 1),
            at_least("eval_mb_size", eval_mb_size, 1),
            wrong,
            wrong_precision(precision, device),
        )
        measure(evaluator)
        super().__init__(
            model=model,
            optimizer=optimizer,
            criterion=model.loss,
            plugins=list(plugins or ()),
            train_mb_size=train_mb_size,
            train_epochs=train_epochs,
            eval_mb_size=eval_mb_size,
            device=device,
            evaluator=evaluator,
            eval_every=eval_every,
        )
        self.network = model
        self._shared_gradients = SharedGradients(self.ranks) if self.ranks.shared else None
        self.phase = "task"
        self._phase_loss: Loss | None = None
        self._rates = StepRates()
        self._no_epoch = False
        self._endings = []
        self._undoings = []
        self.relabel_replayed: Relabel | None = None
        self._precision = precision
        self._steps = steps
        self._seed = seed
        self._order = generator(seed, "order")
        self._loaders = Loaders(
            model.processor,
            eval_size=eval_mb_size,
            buckets=length_buckets,
            pin=self.device.type == "cuda",
            seed=seed,
            ranks=self.ranks,
        )
        self._scored: dict[tuple[str, ...], tuple[ModelOutput, list[list[int]]]] = {}
        self._progress = TaskProgress()
        self._checkpoints: Checkpoints | None = None
        self._resumed: Resumed | None = None

    @property
    def mb_task_id(self) -> Tensor:
        """Task labels (B,) of the current mini-batch, all 0: no task is told at test time."""
        return torch.zeros(len(self.batch.uids), dtype=torch.long, device=self.device)

    # ---- Avalanche's training loop -----------------------------------------------------------

    def train(
        self,
        experiences: Any,
        eval_streams: Any = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Train on one experience or several; see Avalanche. Draws only from own generators.

        Raises:
            DataError: all that is wrong with samples of the experiences given, and of those to
                evaluate on, before the first is trained on.
        """
        experiences = experiences_of(experiences)
        streams = [] if eval_streams is None else [experiences_of(s) for s in eval_streams]
        groups = [experience.samples for experience in experiences]
        require_samples([*groups, *map(_samples_of, streams)], self.network.processor)
        bound = [self._bind(experience) for experience in experiences]
        try:
            with globals_kept(self._cuda_devices()):
                metrics: dict[str, Any] = super().train(bound, streams, **kwargs)
        except TrainingError as error:
            if self._checkpoints is None or self._checkpoints.last is None:
                raise
            last = self._checkpoints.last
            raise TrainingError(f"{error}; the last good checkpoint: {last}") from error
        return metrics

    def _before_training_exp(self, **kwargs: Any) -> None:
        """Give the task its own order and dropout, whatever ran before it."""
        resumed, self._resumed = self._resumed, None
        marks = () if resumed is None else resumed.begin_task(self._experience)
        self._progress.begin_task(marks)
        if self._checkpoints is not None:
            if resumed is not None and marks:
                self._checkpoints.go_on(resumed.body)
            else:
                self._checkpoints.begin_task(self._experience)
        self._no_epoch = False  # asked for by a task that an exception cut off before it trained
        self._steps.begin_stage(self.optimizer)
        task = self.clock.train_exp_counter
        self._order = generator(self._seed, f"order/{task}")
        seed_globals(self._seed, task, self._cuda_devices(), rank=self.ranks.rank)
        super()._before_training_exp(**kwargs)

    def _train_exp(self, experience: Any, eval_streams: Any = None, **kwargs: Any) -> None:
        """Run the task's epochs, unless a plugin asked for none."""
        if not self._no_epoch:
            self._run_epochs(self.train_epochs)

    def training_epoch(self, **kwargs: Any) -> None:
        """Train on the batches of an epoch that are left."""
        loader = self.dataloader
        self.dataloader = self._progress.batches(loader)
        try:
            super().training_epoch(**kwargs)
        finally:
            self.dataloader = loader

    def _after_training_iteration(self, **kwargs: Any) -> None:
        """Count the step, and write a checkpoint if one is due."""
        super()._after_training_iteration(**kwargs)
        self._progress.step += 1
        if self._checkpoints is not None:
            self._checkpoints.step(self._progress)

    def _after_training_exp(self, **kwargs: Any) -> None:
        """End the task once every plugin is through with it, or not at all."""
        try:
            super()._after_training_exp(**kwargs)
        except BaseException:
            for undo in reversed(self._undoings):
                undo()
            raise
        else:
            for finish in self._endings:
                finish()
        finally:
            self._endings, self._undoings = [], []
        self.ranks.require_alike(self.network.parameters(), f"after {self._experience.task_name!r}")
        if self._checkpoints is not None:
            self._checkpoints.end_task()

    def eval(self, experiences: Any, **kwargs: Any) -> dict[str, Any]:
        """Evaluate on experiences of one stream; each sample is scored once.

        Raises:
            DataError: all that is wrong with samples of the experiences.
        """
        experiences = experiences_of(experiences)
        require_samples([_samples_of(experiences)], self.network.processor)
        self._scored = {}
        try:
            bound = [self._bind(experience) for experience in experiences]
            metrics: dict[str, Any] = super().eval(bound, **kwargs)
        finally:
            self._scored = {}
        return metrics

    def make_train_dataloader(self, **kwargs: Any) -> None:
        """Make the loader of the current task's samples."""
        items = self._items([sample for sample, _ in self._current_items()], replayed=False)
        if not items:
            raise TrainingError(
                f"experience {self._experience.task_name!r} has no samples to train on; leave it "
                "out or give it samples"
            )
        self.dataloader = self._loaders.shuffled(items, self.train_mb_size, self._order)

    def make_eval_dataloader(self, **kwargs: Any) -> None:
        """Make the loader of an evaluation: like lengths together, always in the same order."""
        samples = [sample for sample, _ in self._current_items()]
        self.dataloader = self._loaders.once(samples, shared=True)

    def check_model_and_optimizer(self, *args: Any, **kwargs: Any) -> None:
        """Announce the task's classes to the model; the optimizer stays as it was given."""
        self.network.observe(self._experience.classes)
        self.network.to(self.device)

    def model_adaptation(self, model: Any = None) -> Any:
        """Return the model as it is: its head holds every output from the start."""
        return self.network if model is None else model

    def make_optimizer(self, **kwargs: Any) -> None:
        """Keep the optimizer: Avalanche would add every parameter to its first group."""

    def forward(self) -> ModelOutput:
        """Run the model; in an evaluation, once for each batch of samples.

        Raises:
            TrainingError: a score of an evaluation is not finite: the best of such is no answer.
        """
        if self.is_training:
            return self.encode(self.network, self.batch)
        uids = self.batch.uids
        if uids not in self._scored:
            encoded = self.encode(self.network, self.batch)
            output = replace(encoded.scores_only(), logits=self.network.read_out(encoded))
            self.require_finite(output.logits, "scores are", self.batch)
            self._scored[uids] = (output, self.network.decode(output))
        return self._scored[uids][0]

    def criterion(self) -> Tensor:
        """Loss of the current batch: the model's, or that of the running phase.

        In a process of several it is a part, see :meth:`mean_loss`.
        """
        if self.is_training and self._phase_loss is not None:
            return self.mean_loss(self._phase_loss(self.output, self.mb_y))
        return self.mean_loss(cast(Tensor, super().criterion()))

    def backward(self) -> None:
        """Run the backward pass; all processes then hold the gradient of the whole batch.

        Raises:
            TrainingError: the loss is not finite; names the samples of the batch.
        """
        self.require_finite(self.loss.detach(), "loss is", self.batch)
        if self._shared_gradients is None:
            super().backward()
        else:
            retain = self.retain_graph
            self.loss = self._shared_gradients.backward(self.loss, retain_graph=retain)

    def _before_training_iteration(self, **kwargs: Any) -> None:
        """Forget the factors of an iteration that ended before its step."""
        self._rates.forget()
        if self._shared_gradients is not None:
            self._shared_gradients.prepare(self.network)
        super()._before_training_iteration(**kwargs)

    def optimizer_step(self) -> None:
        """Take the step, at the learning rates that :meth:`scale_step` and the phase ask for.

        Gradients are clipped as plugins have left them.
        """
        self._steps.clip(self.optimizer)
        with self._rates.applied(self.optimizer):
            super().optimizer_step()

    # ---- inside --------------------------------------------------------------------------------

    def _bind(self, experience: KnowledgeExperience) -> KnowledgeExperience:
        """Give the dataset this model's collate function, for loaders that Avalanche makes."""
        return experience.bind(self._collated(experience.dataset))

    def _cuda_devices(self) -> list[torch.device]:
        return [self.device] if self.device.type == "cuda" else []


def _samples_of(experiences: Sequence[KnowledgeExperience]) -> list[Sample]:
    return [sample for experience in experiences for sample in experience.samples]
