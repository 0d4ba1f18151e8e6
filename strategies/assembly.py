"""MSPT assembled on a model: the whole method of the paper, every part a toggle."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from avalanche.core import SupervisedPlugin
from avalanche.training.plugins import EvaluationPlugin

from mkgc_cl.errors import ConfigError
from mkgc_cl.memory.exemplars import NaPolicy
from mkgc_cl.memory.selection import Selection
from mkgc_cl.models import DualStreamModel, build_optimizer
from mkgc_cl.objectives.distillation import Axis
from mkgc_cl.objectives.modulation import Target
from mkgc_cl.strategies.distillation import AttentionDistillationPlugin
from mkgc_cl.strategies.evaluation import continual_evaluator
from mkgc_cl.strategies.exemplar_store import Scope
from mkgc_cl.strategies.modulation import GradientModulationPlugin, Schedule
from mkgc_cl.strategies.precision import Precision
from mkgc_cl.strategies.replay import PrototypeReplayPlugin, ReplaySchedule
from mkgc_cl.strategies.template import MultimodalStrategy


def mspt(
    model: DualStreamModel,
    *,
    distillation: bool = True,
    modulation: bool = True,
    memory: bool = True,
    epochs: int = 10,
    batch_size: int = 16,
    lr: float = 3e-5,
    head_lr: float | None = None,
    key_lr: float | None = None,
    bias_lr: float | None = None,
    weight_decay: float = 0.01,
    alpha: float = 0.3,
    target: Target = "dominant",
    schedule: Schedule = "average",
    noise: bool = False,
    constant_coefficients: Sequence[Sequence[float]] | None = None,
    ad_weight: float = 0.1,
    ad_axis: Axis = "width",
    ad_center: bool = True,
    memory_size: int = 6,
    memory_scope: Scope = "class",
    selection: Selection = "kmeans",
    na_policy: NaPolicy = "merge",
    replay_schedule: ReplaySchedule = "after",
    memory_epochs: int | None = None,
    memory_batch_size: int | None = None,
    memory_lr_scale: float = 1.0,
    plugins: Sequence[SupervisedPlugin] = (),
    device: str | torch.device = "cpu",
    precision: Precision = "fp32",
    evaluator: EvaluationPlugin | None = None,
    seed: int = 0,
) -> MultimodalStrategy:
    """Assemble MSPT (Chen et al., IJCAI 2024) on a dual-stream model.

    Rows of Table 3 are toggles: "w/o MI" is a model built with ``interaction="self"``; "w/o AD",
    "w/o GM" and "w/o MM" are ``distillation``, ``modulation`` and ``memory`` set to false. All of
    them off is plain fine-tuning. Without modulation the contribution ratio is still observed
    (alpha 0), so that Figure 4 has its second curve.

    Args:
        model: the model.
        distillation: use :class:`AttentionDistillationPlugin` with ``ad_weight``, ``ad_axis`` and
            ``ad_center``.
        modulation: use :class:`GradientModulationPlugin` with ``alpha``, ``target``, ``schedule``
            and ``noise``.
        memory: use :class:`PrototypeReplayPlugin` with ``memory_size``, ``memory_scope``,
            ``selection``, ``na_policy``, ``replay_schedule``, ``memory_epochs``,
            ``memory_batch_size`` and ``memory_lr_scale``.
        epochs: epochs per task (released code: 10).
        batch_size: samples per step (released code: 2).
        lr: learning rate of the encoders (released code: 3e-5 IMNER, 1e-5 IMRE).
        head_lr: of head and CRF (released code: 0.05 IMNER, as the encoders IMRE).
        key_lr: of the shared keys (released code: a tenth of the encoders').
        bias_lr: of the bias maps.
        weight_decay: on every parameter.
        alpha: strength of the modulation.
        target: which modality is slowed.
        schedule: when the coefficients of earlier tasks are used.
        noise: add OGM-GE's noise.
        constant_coefficients: CONTROL: what modulation applies in each task, whatever the batches
            say; see :mod:`mkgc_cl.strategies.rate_control`.
        ad_weight: weight of the distillation loss.
        ad_axis: side of the maps that is kept.
        ad_center: compare what the softmax reads of the maps. PAPER: off.
        memory_size: exemplars per slot.
        memory_scope: a slot is a class or a task.
        selection: how exemplars are chosen.
        na_policy: what becomes of N/A in the memory.
        replay_schedule: when the memory is trained on.
        memory_epochs: epochs of a memory phase; as many as ``epochs`` by default.
        memory_batch_size: exemplars per step; ``batch_size`` by default.
        memory_lr_scale: factor on the learning rates in a memory phase.
        plugins: what acts beside the method, after its own plugins.
        device: where to train.
        precision: see :class:`MultimodalStrategy`.
        evaluator: metrics and loggers; :func:`continual_evaluator` by default.
        seed: seed of every draw of the run but the model's own.

    Raises:
        ConfigError: an option does not fit.
    """
    if constant_coefficients is not None and not modulation:
        raise ConfigError(
            ["constant_coefficients are applied by modulation, which is off; leave one of them out"]
        )
    own: list[SupervisedPlugin] = [
        GradientModulationPlugin(
            alpha=alpha if modulation else 0.0,
            target=target,
            schedule=schedule,
            noise=noise,
            constant_coefficients=constant_coefficients,
            seed=seed,
        )
    ]
    if distillation:
        own.append(AttentionDistillationPlugin(weight=ad_weight, axis=ad_axis, center=ad_center))
    if memory:
        own.append(
            PrototypeReplayPlugin(
                size=memory_size,
                scope=memory_scope,
                selection=selection,
                na_policy=na_policy,
                schedule=replay_schedule,
                epochs=memory_epochs,
                batch_size=memory_batch_size,
                lr_scale=memory_lr_scale,
                seed=seed,
            )
        )
    return MultimodalStrategy(
        model=model,
        optimizer=build_optimizer(
            model,
            lr=lr,
            head_lr=head_lr,
            key_lr=key_lr,
            bias_lr=bias_lr,
            weight_decay=weight_decay,
        ),
        plugins=[*own, *plugins],
        train_mb_size=batch_size,
        train_epochs=epochs,
        device=device,
        evaluator=evaluator if evaluator is not None else continual_evaluator(),
        precision=precision,
        seed=seed,
    )
