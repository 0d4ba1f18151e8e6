"""What every recipe is given: encoders, and how to train."""

from __future__ import annotations

from dataclasses import dataclass

from avalanche.core import SupervisedPlugin
from avalanche.training.plugins import EvaluationPlugin

from mkgc_cl.encoders import Encoders as Encoders
from mkgc_cl.models import ExtractionModel, build_optimizer
from mkgc_cl.strategies.evaluation import continual_evaluator
from mkgc_cl.strategies.precision import Precision
from mkgc_cl.strategies.stages import StepPolicy
from mkgc_cl.strategies.template import MultimodalStrategy


@dataclass(frozen=True, slots=True)
class Training:
    """How a system is trained on a task.

    Args:
        epochs: passes over a task (released code of MSPT: 10).
        batch_size: samples per step.
        lr: learning rate of the encoders.
        head_lr: of heads and CRF; ``lr`` by default.
        fusion_lr: of fusion layers between encoders and head; ``lr`` by default, as UMT, UMGF, MEGA
            and MKGformer were published.
        projection_lr: of a linear projection there (RP-CRE, EMAR-BERT); ``lr`` by default.
        weight_decay: on every parameter.
        device: where to train.
        precision: see :class:`~mkgc_cl.strategies.MultimodalStrategy`.
        evaluator: metrics and loggers; :func:`~mkgc_cl.strategies.continual_evaluator` by default.
        seed: seed of every draw of the run, the model's own included.
    """

    epochs: int = 10
    batch_size: int = 16
    lr: float = 3e-5
    head_lr: float | None = None
    fusion_lr: float | None = None
    projection_lr: float | None = None
    weight_decay: float = 0.01
    device: str = "cpu"
    precision: Precision = "fp32"
    evaluator: EvaluationPlugin | None = None
    seed: int = 0


def assemble(
    model: ExtractionModel,
    training: Training,
    *plugins: SupervisedPlugin,
    key_lr: float | None = None,
    bias_lr: float | None = None,
    readout_lr: float | None = None,
    steps: StepPolicy = StepPolicy(),  # noqa: B008  # frozen
) -> MultimodalStrategy:
    """Put a model, its optimizer and plugins together.

    Args:
        model: the model, with its readout if it has one.
        training: how to train.
        plugins: the plugins, in the order in which they act.
        key_lr: learning rate of shared keys.
        bias_lr: of bias maps.
        readout_lr: of a readout that learns.
        steps: what becomes of moments between stages, and of gradients before a step.
    """
    return MultimodalStrategy(
        model=model,
        optimizer=build_optimizer(
            model,
            lr=training.lr,
            head_lr=training.head_lr,
            fusion_lr=training.fusion_lr,
            projection_lr=training.projection_lr,
            key_lr=key_lr,
            bias_lr=bias_lr,
            readout_lr=readout_lr,
            weight_decay=training.weight_decay,
        ),
        plugins=plugins,
        train_mb_size=training.batch_size,
        train_epochs=training.epochs,
        device=training.device,
        precision=training.precision,
        evaluator=training.evaluator or continual_evaluator(),
        steps=steps,
        seed=training.seed,
    )
