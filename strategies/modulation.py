"""Gradient modulation: slow the modality that leads (paper, section 4.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, get_args

import torch

from mkgc_cl._checks import at_least, one_of, require
from mkgc_cl.errors import ConfigError
from mkgc_cl.objectives.modulation import (
    Coefficients,
    Target,
    average,
    coefficients,
    contribution_ratio,
)
from mkgc_cl.seeds import generator
from mkgc_cl.strategies.mspt_options import MSPTOptions, Schedule
from mkgc_cl.strategies.plugin import Plugin
from mkgc_cl.strategies.template import MultimodalStrategy

LARGEST_COMPENSATION = 100.0
"""Bound on 1 / coefficient: where a stream is nearly stopped, the terms that are raised for it must
not explode in the shared key, whose step takes nothing back."""


class GradientModulationPlugin(Plugin, supports_distributed=True):
    r"""Scale the step of each modality by its coefficient (eq. 4-9).

    The contribution ratio :math:`\gamma^t_n` (eq. 5-6) is read off each batch of the current task;
    eq. (7) turns it into coefficients. The first task uses them step by step, later tasks the mean
    over the tasks before (eq. 8-9, Remark 1). A step slows the modality that leads and no other; a
    mean may slow both, and does so after every task in which the lead changed (see
    :func:`~mkgc_cl.objectives.modulation.average`). From the second task on, then, the plugin is in
    part a lower learning rate, which a run without it does not have:
    :mod:`mkgc_cl.strategies.rate_control` makes the runs that tell the two apart.

    Eq. (9) is written for SGD, where a factor on the gradient is a factor on the step. An adaptive
    optimizer forgets a constant factor on the gradient, so the plugin scales the learning rate of
    the modality's parameter groups during the step: the same thing for SGD (where it slows weight
    decay and momentum too), and what eq. (9) says for AdamW. Shared key and head belong to neither
    modality; their step is never scaled.

    Loss terms that are not to be modulated (distillation on the maps, replayed samples) enter the
    slowed stream 1/c times as strong (at most 100 times), c its coefficient. Under SGD its smaller
    step takes that back: they move the stream as if nothing were modulated. AdamW forgets how large
    a gradient is and takes c times the step of the gradient that eq. (9) makes, c * task + others:
    the other terms outweigh the task 1 to c as they should, but their reach is that of the step.
    Alone (where a task's gradient is gone) they move the stream c times as far, raised or not. The
    shared key sees those terms at the raised strength. One table escapes: the tagging head adds
    BERT's positions to the image too (eq. 3), where replay stays slowed.

    Args:
        alpha: the paper's alpha (eq. 7), at least 0; 0 observes without acting (paper: 0.3 IMNER;
            released code: 0.1 IMRE).
        target: ``"dominant"`` or ``"paper"``, see
            :func:`~mkgc_cl.objectives.modulation.coefficients`. Means of ``"dominant"`` may slow
            both modalities; ``"paper"`` never slows the text.
        schedule: ``"average"`` as above. RELEASED CODE: ``"per-step"``, step by step in every task,
            so that one modality at most is slowed.
        noise: RELEASED CODE: add normal noise with each gradient's own deviation (OGM-GE; the paper
            does not mention it).
        modulate_distillation: slow the distillation term too.
        modulate_replay: slow replayed samples too (RELEASED CODE does).
        constant_coefficients: CONTROL: a pair (text, vision) from 0 to 1 for every task, applied in
            each of its steps whatever the batches say; ``alpha``, ``target`` and ``schedule`` then
            decide nothing. The ratio is still observed.
        seed: seed of the noise.

    Attributes:
        ratios: gamma of every observed step.
        applied: coefficients applied at those steps.
        boundaries: number of observed steps when each task began.

    Raises:
        ConfigError: ``alpha`` is negative, or an option is not one of the above; later, if the
            optimizer's groups name no modality, or a task comes that no pair is given for.
    """

    def __init__(
        self,
        *,
        alpha: float = MSPTOptions.alpha,
        target: Target = MSPTOptions.target,
        schedule: Schedule = MSPTOptions.schedule,
        noise: bool = MSPTOptions.noise,
        modulate_distillation: bool = False,
        modulate_replay: bool = False,
        constant_coefficients: Sequence[Sequence[float]] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        pairs = [
            f"constant_coefficients of task {task} are {list(pair)}; give two numbers from 0 to 1, "
            "for text and vision"
            for task, pair in enumerate(constant_coefficients or (), start=1)
            if len(pair) != 2 or not all(0 <= number <= 1 for number in pair)
        ]
        require(
            at_least("alpha", alpha, 0),
            one_of("target", target, get_args(Target)),
            one_of("schedule", schedule, get_args(Schedule)),
            pairs,
        )
        self.constant_coefficients = (
            None
            if constant_coefficients is None
            else [Coefficients(*pair) for pair in constant_coefficients]
        )
        self.alpha = alpha
        self.target = target
        self.schedule = schedule
        self.noise = noise
        self.modulate_distillation = modulate_distillation
        self.modulate_replay = modulate_replay
        self.ratios: list[float] = []
        self.applied: list[Coefficients] = []
        self.boundaries: list[int] = []
        self._noise = generator(seed, "modulation-noise")
        self._means: list[Coefficients] = []  # G of every task before this one (eq. 8)
        self._task: list[Coefficients] = []  # g_n of this task
        self._ended = False  # that task
        self._step: Coefficients | None = None  # what the running step applies

    def before_training_exp(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Check the optimizer and mark where the task begins."""
        found = {group.get("modality") for group in strategy.optimizer.param_groups}
        if not found & {"text", "vision"}:
            raise ConfigError(
                [
                    "the optimizer's parameter groups name no modality; build it with "
                    "mkgc_cl.models.build_optimizer"
                ]
            )
        given, task = self.constant_coefficients, strategy.clock.train_exp_counter
        if given is not None and task >= len(given):
            raise ConfigError(
                [
                    f"constant_coefficients has pairs for {len(given)} tasks and this is task "
                    f"{task + 1}; give one for every task"
                ]
            )
        self.boundaries.append(len(self.ratios))
        # here and not after the task, so that no order of plugins puts it before a memory phase
        self._means, self._task, self._ended = self._finished(), [], False

    def after_forward(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Read the ratio off the batch, choose coefficients, shield what is not modulated."""
        self._step = None
        replayed, ranks = strategy.batch.replayed, strategy.ranks
        counted = torch.ones_like(replayed) if self.modulate_replay else ~replayed
        if not strategy.batch.share:
            counted = torch.zeros_like(replayed)
        if not ranks.any(bool(counted.any())):
            return
        output = strategy.dual_output
        with torch.no_grad():
            ratio = contribution_ratio(
                output.text_logits[counted],
                output.vision_logits[counted],
                strategy.mb_y[counted],
                output.seen,
                ranks.totals,
            )
        current = coefficients(ratio, alpha=self.alpha, target=self.target)
        if strategy.phase == "task":
            self._task.append(current)
        if self.constant_coefficients is not None:
            self._step = self.constant_coefficients[strategy.clock.train_exp_counter]
        elif self.schedule == "average" and self._means:
            self._step = average(self._means)
        else:
            self._step = current
        self.ratios.append(ratio)
        self.applied.append(self._step)
        self._shield(strategy, ~counted)

    def before_update(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Scale the learning rates of both modalities for one step."""
        if self._step is None or (self.alpha == 0 and self.constant_coefficients is None):
            return
        strategy.scale_step(self._factor)
        if self.noise:
            for group in strategy.optimizer.param_groups:
                if group.get("modality") in ("text", "vision"):
                    self._add_noise(group["params"], self._factor(group))

    def after_training_exp(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Mark the task as trained to its end: one that an exception cut off is no task before."""
        strategy.when_task_ends(partial(setattr, self, "_ended", True))

    def mean_coefficients(self) -> list[Coefficients]:
        """Mean of the coefficients that were applied in each task; (1, 1) where none was.

        The observed steps of a task weigh the same, those of its memory phase included if they are
        modulated.
        """
        edges = pairwise([*self.boundaries, len(self.applied)])
        tasks = [self.applied[start:end] for start, end in edges]
        return [average(steps or [Coefficients(1.0, 1.0)]) for steps in tasks]

    def traces(self) -> dict[str, list[float]]:
        """Ratio and coefficients of every observed step, and the steps at which tasks begin."""
        return {
            "gamma": list(self.ratios),
            "coefficient_text": [step.text for step in self.applied],
            "coefficient_vision": [step.vision for step in self.applied],
            "boundaries": [float(step) for step in self.boundaries],
        }

    def state_dict(self) -> dict[str, Any]:
        """What steps and ended tasks leave."""
        return {
            "means": [list(mean) for mean in self._finished()],
            "task": [] if self._ended else [list(step) for step in self._task],
            "ratios": list(self.ratios),
            "applied": [list(step) for step in self.applied],
            "boundaries": list(self.boundaries),
            "noise": self._noise.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self._means = [Coefficients(*mean) for mean in state["means"]]
        self._task = [Coefficients(*step) for step in state["task"]]
        self._ended, self._step = False, None  # of whatever it was used for before
        self.ratios = list(state["ratios"])
        self.applied = [Coefficients(*step) for step in state["applied"]]
        self.boundaries = list(state["boundaries"])
        self._noise.set_state(state["noise"])

    def _finished(self) -> list[Coefficients]:
        """Mean coefficients of every task up to the last one (eq. 8)."""
        own = [average(self._task)] if self._task and self._ended else []
        return [*self._means, *own]

    def _factor(self, group: Mapping[str, Any]) -> float:
        step = self._step or Coefficients(1.0, 1.0)
        return {"text": step.text, "vision": step.vision}.get(group.get("modality", ""), 1.0)

    def _shield(self, strategy: MultimodalStrategy, uncounted: torch.Tensor) -> None:
        """Raise the gradient of terms that are not to be modulated by what the step takes off."""
        output, step = strategy.dual_output, self._step
        if step is None or step == (1.0, 1.0):
            return
        streams = (
            (output.text_states, output.text_maps, step.text),
            (output.visual, output.vision_maps, step.vision),
        )
        for entry, maps, coefficient in streams:
            gain = min(1.0 / max(coefficient, 1e-12), LARGEST_COMPENSATION)
            if bool(uncounted.any()) and entry.requires_grad:
                rows = torch.where(uncounted, gain, 1.0).view(-1, *[1] * (entry.dim() - 1))
                entry.register_hook(lambda gradient, rows=rows: gradient * rows)
            if not self.modulate_distillation:
                for scores in maps:
                    if scores.requires_grad:
                        scores.register_hook(lambda gradient, gain=gain: gradient * gain)

    def _add_noise(self, parameters: list[torch.Tensor], factor: float) -> None:
        gain = min(1.0 / max(factor, 1e-12), LARGEST_COMPENSATION)
        for parameter in parameters:
            if parameter.grad is not None and parameter.grad.numel() > 1:
                deviation = float(parameter.grad.std()) + 1e-8
                drawn = torch.randn(parameter.grad.shape, generator=self._noise)
                parameter.grad += drawn.to(parameter.grad) * (deviation * gain)
