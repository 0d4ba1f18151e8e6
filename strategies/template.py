"""The training template: every contact with the internals of Avalanche's loop is in this module.

Plugins above it are ordinary ``SupervisedPlugin`` classes; they find here what Avalanche lacks:
batches of samples, groups of parameters, phases, and training that evaluation cannot disturb. What
Avalanche's own metrics and strategies take is in :mod:`mkgc_cl.strategies.measured` and
:mod:`mkgc_cl.strategies.adapted`.
"""

from __future__ import annotations

import copy
import math
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, TypeVar, cast

import numpy as np
import torch
from avalanche.core import SupervisedPlugin
from avalanche.logging import BaseLogger
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor
from torch.optim import Optimizer

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.readiness import require_samples
from mkgc_cl.data.sample_checks import require_known
from mkgc_cl.data.samples import Sample
from mkgc_cl.devices import usable_device
from mkgc_cl.errors import ConfigError, TrainingError
from mkgc_cl.models import DualStreamOutput, ExtractionModel, ModelOutput
from mkgc_cl.scenarios.benchmark import (
    KnowledgeExperience,
    SampleDataset,
    avalanche_dataset,
)
from mkgc_cl.seeds import derive, generator
from mkgc_cl.strategies.compatibility import refusals, refuse
from mkgc_cl.strategies.loaders import Item, Loaders
from mkgc_cl.strategies.loading import Interleave
from mkgc_cl.strategies.measured import measure
from mkgc_cl.strategies.stages import StepPolicy

Precision = Literal["fp32", "bf16"]
Loss = Callable[[ModelOutput, Tensor], Tensor]
RateFactor = Callable[[Mapping[str, Any]], float]
"""Factor on the learning rate of a parameter group, given the group."""

Result = TypeVar("Result")


class MultimodalStrategy(SupervisedTemplate):
    """Train a model on a stream of tasks, with any plugins in any order.

    Differences from Avalanche's template, each of them a measured trap of 0.6.0:

    * batches are :class:`~mkgc_cl.data.batch.MultimodalBatch`, in training loaders too;
    * the optimizer is the one given: Avalanche would put every parameter into its first group;
    * dropout and loaders draw from generators of their own, new for every task, so neither an
      evaluation, nor a plugin that samples, nor a memory phase shifts what training sees (two rows
      of an ablation see the same batches), and the caller's global state is left alone;
    * a sample is scored once per evaluation, however many experiences it stands in.

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
        ConfigError: a device that does not work here, bf16 on one without it, sizes below 1, or a
            plugin, metric or logger of Avalanche that cannot work here.
    """

    dataloader: Any  # of batches; Avalanche leaves its type open

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
        if evaluator is None:
            evaluator = evaluation_plugin()
        wrong = refusals(
            [*(plugins or ()), *evaluator.metrics, *evaluator.loggers],
            task=model.labels.kind,
            device=device.type,
        )
        _check_settings(train_mb_size, train_epochs, eval_mb_size, precision, device, wrong)
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
        self.phase = "task"
        self._phase_loss: Loss | None = None
        self._phase_lr_scale = 1.0
        self._step_factors: list[RateFactor] = []
        self._no_epoch = False
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
        )
        self._scored: dict[tuple[str, ...], tuple[ModelOutput, list[list[int]]]] = {}

    # ---- what plugins use -------------------------------------------------------------------

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
                labels. Terms that plugins add to the loss are added to it, in any order of plugins.
        """
        items = self._items(samples, replayed=True) + self._items(current, replayed=False)
        if not items:
            return
        previous = self.dataloader
        # a task that was stopped early must not stop its memory phase, nor the phase the next task
        self._stop_training = False
        try:
            self.phase, self._phase_loss, self._phase_lr_scale = name, loss, lr_scale
            self.dataloader = self._loaders.shuffled(items, batch_size, source)
            self._steps.begin_stage(self.optimizer)
            for _ in range(epochs):
                self._before_training_epoch()
                self.training_epoch()
                self._after_training_epoch()
        finally:
            self.phase, self._phase_loss, self._phase_lr_scale = "task", None, 1.0
            self.dataloader = previous
            self._stop_training = False

    def scale_step(self, factor: RateFactor) -> None:
        """Scale the learning rates of the step that this iteration takes, and of no other.

        Call in any hook before the step, ``before_update`` at the latest. The factors of several
        calls multiply. The rates are scaled around the optimizer's step alone: every hook and every
        scheduler sees them as they are, and whatever an iteration raises, before its step, in it or
        after it, they are afterwards what they were.

        Args:
            factor: gives the factor on the rate of each parameter group.
        """
        self._step_factors.append(factor)

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

    def features(
        self,
        samples: Sequence[Sample],
        *,
        pool: Callable[[ModelOutput, Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Encode samples in evaluation mode, in batches: (N, F) on the CPU.

        Training goes on as if it had not been called.

        Args:
            samples: the samples.
            pool: reads features (B, F) from a batch's output and labels; its sample features by
                default.

        Raises:
            TrainingError: a feature is not finite; names the samples of the batch.
        """

        def read(batch: MultimodalBatch, output: ModelOutput, targets: Tensor) -> Tensor:
            pooled = output.features if pool is None else pool(output, targets)
            features = pooled.float().cpu()
            self.require_finite(features, "features are", batch)
            return features

        found = torch.cat(self.encode_samples(samples, read))
        order = torch.tensor([i for batch in self._loaders.in_order(samples) for i in batch])
        return found[order.argsort()]

    @torch.no_grad()
    def encode_samples(
        self,
        samples: Sequence[Sample],
        read: Callable[[MultimodalBatch, ModelOutput, Tensor], Result],
    ) -> list[Result]:
        """Read something off samples in evaluation mode, batch by batch, longest samples first.

        Training goes on as if it had not been called.

        Args:
            samples: the samples.
            read: what to make of a batch, its output and its labels.
        """
        training = self.network.training
        self.network.eval()
        found = []
        try:
            for batch, targets in self._loaders.once(samples):
                moved = batch.to(self.device)
                output = self.encode(self.network, moved)
                found.append(read(moved, output, targets.to(self.device)))
        finally:
            self.network.train(training)
        return found

    def encode(self, model: ExtractionModel, batch: MultimodalBatch) -> ModelOutput:
        """Run a model in this strategy's precision: the trained one, or a frozen copy of it."""
        with torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self._precision == "bf16"
        ):
            return cast(ModelOutput, model(batch))

    def snapshot(self) -> ExtractionModel:
        """Return a frozen copy of the model in evaluation mode: a teacher for what comes next."""
        return copy.deepcopy(self.network).eval().requires_grad_(False)

    def require_finite(self, values: Tensor, what: str, batch: MultimodalBatch) -> None:
        """Check values that were computed from a batch.

        Raises:
            TrainingError: one is not finite; names the task and the samples of the batch.
        """
        finite = torch.isfinite(values)
        if not bool(finite.all()):
            task = f" in task {self._experience.task_name!r}" if self.experience else ""
            raise TrainingError(
                f"the {what} {float(values[~finite].flatten()[0]):g}{task} on samples "
                f"{list(batch.uids)}; lower the learning rate or look at these samples"
            )

    def decoded(self) -> list[list[int]]:
        """Best output ids of the current evaluation batch, decoded once per evaluation."""
        return self._scored[self.batch.uids][1]

    def gold(self) -> list[Any]:
        """True output ids of the current batch: one per sample, or a list padded with -100."""
        return cast(list[Any], self.mb_y.tolist())

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
        experiences = _as_list(experiences)
        streams = [] if eval_streams is None else [_as_list(s) for s in eval_streams]
        groups = [experience.samples for experience in experiences]
        require_samples([*groups, *map(_samples_of, streams)], self.network.processor)
        bound = [self._bind(experience) for experience in experiences]
        with _globals_kept(self._cuda_devices()):
            metrics: dict[str, Any] = super().train(bound, streams, **kwargs)
        return metrics

    def _before_training_exp(self, **kwargs: Any) -> None:
        """Give the task its own order and dropout, whatever ran before it."""
        self._no_epoch = False  # asked for by a task that an exception cut off before it trained
        self._steps.begin_stage(self.optimizer)
        task = self.clock.train_exp_counter
        self._order = generator(self._seed, f"order/{task}")
        torch.set_rng_state(generator(self._seed, f"dropout/{task}").get_state())
        for device in self._cuda_devices():
            source = torch.Generator(device).manual_seed(derive(self._seed, f"dropout/{task}"))
            torch.cuda.set_rng_state(source.get_state(), device)
        # Avalanche's A-GEM draws from Python's own
        random.seed(derive(self._seed, f"plugins/{task}"))
        np.random.seed(derive(self._seed, f"plugins/{task}") % 2**32)
        super()._before_training_exp(**kwargs)

    def _train_exp(self, experience: Any, eval_streams: Any = None, **kwargs: Any) -> None:
        """Run the task's epochs, unless a plugin asked for none."""
        if not self._no_epoch:
            super()._train_exp(experience, eval_streams, **kwargs)

    def eval(self, experiences: Any, **kwargs: Any) -> dict[str, Any]:
        """Evaluate on experiences of one stream; each sample is scored once.

        Raises:
            DataError: all that is wrong with samples of the experiences.
        """
        experiences = _as_list(experiences)
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
        self.dataloader = self._loaders.once([sample for sample, _ in self._current_items()])

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
        """Loss of the current batch: the model's, or that of the running phase."""
        if self.is_training and self._phase_loss is not None:
            return self._phase_loss(self.output, self.mb_y)
        return cast(Tensor, super().criterion())

    def backward(self) -> None:
        """Run the backward pass.

        Raises:
            TrainingError: the loss is not finite; names the samples of the batch.
        """
        self.require_finite(self.loss.detach(), "loss is", self.batch)
        super().backward()

    def _before_training_iteration(self, **kwargs: Any) -> None:
        """Forget the factors of an iteration that ended before its step."""
        self._step_factors = []
        super()._before_training_iteration(**kwargs)

    def optimizer_step(self) -> None:
        """Take the step, at the learning rates that :meth:`scale_step` and the phase ask for.

        Gradients are clipped as plugins have left them.
        """
        self._steps.clip(self.optimizer)
        kept = [(group, group["lr"]) for group in self.optimizer.param_groups]
        try:
            for group, rate in kept:
                factors = [factor(group) for factor in (self._phase_factor, *self._step_factors)]
                group["lr"] = math.prod([rate, *factors])
            super().optimizer_step()
        finally:
            for group, rate in kept:
                group["lr"] = rate

    # ---- inside --------------------------------------------------------------------------------

    def _phase_factor(self, group: Mapping[str, Any]) -> float:
        return 1.0 if group.get("role") == "readout" else self._phase_lr_scale

    @property
    def _experience(self) -> KnowledgeExperience:
        return cast(KnowledgeExperience, self.experience)

    def _bind(self, experience: KnowledgeExperience) -> KnowledgeExperience:
        """Give the dataset this model's collate function, for loaders that Avalanche makes."""
        return experience.bind(self._collated(experience.dataset))

    def _collated(self, dataset: Any) -> Any:
        return avalanche_dataset(dataset, collate_fn=self._loaders.collate_dataset)

    def _current_items(self) -> list[Item]:
        """Samples of the adapted dataset, which :meth:`set_training_samples` may have changed."""
        return [(item[0], False) for item in self.adapted_dataset]

    def _items(self, samples: Sequence[Sample], *, replayed: bool) -> list[Item]:
        """Samples as a training loader takes them, all of labels that the model scores by now."""
        seen, own = self.network.seen.tolist(), self._experience.classes_in_this_experience
        names = enumerate(self.network.labels.outputs)
        # a task's own are announced after its loader is made
        known = {name for output, name in names if seen[output] or output in own}
        require_known(samples, known, task=self._experience.task_name)
        return [(sample, replayed) for sample in samples]

    def _cuda_devices(self) -> list[torch.device]:
        return [self.device] if self.device.type == "cuda" else []


def evaluation_plugin(*metrics: Any, loggers: Sequence[BaseLogger] = ()) -> EvaluationPlugin:
    """Return Avalanche's evaluation plugin; without loggers its values are read by asking.

    Raises:
        ConfigError: a metric or logger of Avalanche that cannot work here.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No loggers specified")
        plugin = EvaluationPlugin(*metrics, loggers=list(loggers))
    refuse([*plugin.metrics, *plugin.loggers])
    return plugin


@contextmanager
def _globals_kept(cuda: list[torch.device]) -> Iterator[None]:
    """Leave the global generators of PyTorch, Python and NumPy as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=cuda):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _as_list(experiences: Any) -> list[KnowledgeExperience]:
    return [experiences] if isinstance(experiences, KnowledgeExperience) else list(experiences)


def _samples_of(experiences: Sequence[KnowledgeExperience]) -> list[Sample]:
    return [sample for experience in experiences for sample in experience.samples]


def _check_settings(
    batch: int,
    epochs: int,
    eval_batch: int,
    precision: Precision,
    device: torch.device,
    wrong: Sequence[str],
) -> None:
    named = {"train_mb_size": batch, "train_epochs": epochs, "eval_mb_size": eval_batch}
    sizes = [f"{name}={value}; give 1 or more" for name, value in named.items() if value < 1]
    wrong = [*sizes, *wrong]
    if precision == "bf16" and not _has_bfloat16(device):
        # bfloat16 without hardware for it is emulated, tens of times slower than fp32
        wrong.append(f"precision='bf16' but device {device} has no bfloat16 units; use 'fp32'")
    if wrong:
        raise ConfigError(wrong)


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cpu":
        # absent in older versions of PyTorch, which then say no
        capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        return any(capabilities.get(units, False) for units in ("avx512_bf16", "amx_bf16", "bf16"))
    return device.type == "cuda" and torch.cuda.is_bf16_supported()
