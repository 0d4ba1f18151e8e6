"""The recipe of MSPT for the tables; :func:`mkgc_cl.strategies.mspt` assembles it on a model."""

from __future__ import annotations

from mkgc_cl.data.samples import LabelSpace
from mkgc_cl.memory.exemplars import NaPolicy
from mkgc_cl.memory.selection import Selection
from mkgc_cl.models import DualStreamModel
from mkgc_cl.models.attention import KeyShape
from mkgc_cl.models.base import Pooling, Tagger
from mkgc_cl.models.dual_stream import Interaction
from mkgc_cl.objectives.distillation import Axis
from mkgc_cl.objectives.modulation import Target
from mkgc_cl.strategies.assembly import mspt
from mkgc_cl.strategies.exemplar_store import Scope
from mkgc_cl.strategies.modulation import Schedule
from mkgc_cl.strategies.recipe import Encoders, Training
from mkgc_cl.strategies.replay import ReplaySchedule
from mkgc_cl.strategies.template import MultimodalStrategy
from mkgc_cl.strategies.token_distillation import TokenDistillationPlugin, check_tagger


def mspt_recipe(
    labels: LabelSpace,
    encoders: Encoders,
    training: Training,
    *,
    interaction: Interaction = "shared-key",
    interaction_layers: int = 3,
    key_shape: KeyShape = "per-position",
    pooling: Pooling = "cls",
    key_lr: float | None = None,
    bias_lr: float | None = None,
    distillation: bool = True,
    modulation: bool = True,
    memory: bool = True,
    alpha: float = 0.3,
    target: Target = "dominant",
    schedule: Schedule = "average",
    noise: bool = False,
    constant_coefficients: tuple[tuple[float, ...], ...] | None = None,
    ad_weight: float = 0.1,
    ad_axis: Axis = "width",
    ad_center: bool = True,
    exemplars: int = 6,
    memory_scope: Scope = "class",
    selection: Selection = "kmeans",
    na_policy: NaPolicy = "merge",
    replay_schedule: ReplaySchedule = "after",
    memory_epochs: int | None = None,
    memory_batch_size: int | None = None,
    memory_lr_scale: float = 1.0,
    tagger: Tagger = "crf",
    token_weight: float = 0.0,
) -> MultimodalStrategy:
    """MSPT (Chen et al., IJCAI 2024), every part a toggle.

    Args:
        labels: the stream's classes.
        encoders: the encoders; equally wide.
        training: how to train.
        interaction: shared key (the paper), or ordinary attention.
        interaction_layers: top layers that interact (3 of 12: the paper).
        key_shape: of the shared key (one per position: the paper). RELEASED CODE: ``"single"``,
            which is inert.
        pooling: what a relation is read from (both class tokens: the paper, eq. 2).
        key_lr: learning rate of the shared keys; ``lr`` by default (a tenth of it: released code).
        bias_lr: learning rate of the bias maps; ``lr`` by default (released code).
        distillation: use attention distillation (the paper, section 4.3).
        modulation: use gradient modulation (the paper, section 4.2).
        memory: use prototype replay (the paper, section 4.4).
        alpha: strength of the modulation (0.3: the paper, for IMNER; its code has 0.1 for IMRE).
        target: which modality is slowed (the one that leads: ours). PAPER: the other way round.
        schedule: when the coefficients of earlier tasks are used (their average: the paper).
        noise: add noise to the slowed gradients (off: the paper). RELEASED CODE: on.
        constant_coefficients: CONTROL: pairs (text, vision) of every task, which modulation applies
            whatever the batches say, see :mod:`mkgc_cl.strategies.rate_control` (off: the paper).
        ad_weight: weight of the distillation (0.1: the paper).
        ad_axis: side of the maps that is kept (the width: the paper, for IMNER).
        ad_center: compare what the softmax reads of the maps (ours). PAPER: off.
        exemplars: of every slot (6: the paper).
        memory_scope: a slot is a class (the paper), or a task.
        selection: how exemplars are chosen (K-means: the paper).
        na_policy: what becomes of N/A in the memory (one class like any other: ours).
        replay_schedule: when the memory is trained on (a phase after every task: released code).
        memory_epochs: of that phase; by default as many as the task has (released code).
        memory_batch_size: exemplars per step; by default the task's (released code).
        memory_lr_scale: factor on the learning rates in that phase (1: released code).
        tagger: what scores tags (a CRF: the paper).
        token_weight: weight of ExtendNER's teacher for words ``O``, see
            :class:`TokenDistillationPlugin` (0, off: the paper). It wants the softmax tagger, and
            works beside attention distillation, with a model and a pass per sample of its own.

    Raises:
        ConfigError: an option does not fit.
    """
    model = DualStreamModel.build(
        labels,
        text=encoders.text,
        vision=encoders.vision,
        pretrained=encoders.pretrained,
        interaction=interaction,
        interaction_layers=interaction_layers,
        key_shape=key_shape,
        pooling=pooling,
        tagger=tagger,
        images=encoders.images,
        share_captions=encoders.share_captions and encoders.images == "captions",
        max_text_length=encoders.max_text_length,
        freeze_lower=encoders.freeze_lower,
        seed=training.seed,
    )
    teacher = [TokenDistillationPlugin(weight=token_weight)] if token_weight else []
    if teacher:
        check_tagger(model)  # here, not when the run begins
    return mspt(
        model,
        distillation=distillation,
        modulation=modulation,
        memory=memory,
        epochs=training.epochs,
        batch_size=training.batch_size,
        lr=training.lr,
        head_lr=training.head_lr,
        key_lr=key_lr,
        bias_lr=bias_lr,
        weight_decay=training.weight_decay,
        alpha=alpha,
        target=target,
        schedule=schedule,
        noise=noise,
        constant_coefficients=constant_coefficients,
        ad_weight=ad_weight,
        ad_axis=ad_axis,
        ad_center=ad_center,
        memory_size=exemplars,
        memory_scope=memory_scope,
        selection=selection,
        na_policy=na_policy,
        replay_schedule=replay_schedule,
        memory_epochs=memory_epochs,
        memory_batch_size=memory_batch_size,
        memory_lr_scale=memory_lr_scale,
        plugins=teacher,
        device=training.device,
        precision=training.precision,
        evaluator=training.evaluator,
        seed=training.seed,
    )
