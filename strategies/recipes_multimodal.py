"""Recipes of the systems that look at images, and of joint training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from mkgc_cl.data.samples import LabelSpace
from mkgc_cl.errors import ConfigError
from mkgc_cl.memory.exemplars import NaPolicy
from mkgc_cl.models import ExtractionModel
from mkgc_cl.models.base import Tagger
from mkgc_cl.models.coupled import Projections
from mkgc_cl.models.mega import Alignments, MEGAModel
from mkgc_cl.models.mkgformer import MKGformerModel
from mkgc_cl.models.umgf import UMGFModel
from mkgc_cl.models.umt import UMTModel
from mkgc_cl.strategies.cumulative import CumulativePlugin
from mkgc_cl.strategies.ewc import EWCMode, EWCPlugin
from mkgc_cl.strategies.mspt_options import ReplaySchedule
from mkgc_cl.strategies.recipe import Encoders, Training, assemble
from mkgc_cl.strategies.recipes_text import text_model
from mkgc_cl.strategies.replay import PrototypeReplayPlugin
from mkgc_cl.strategies.template import MultimodalStrategy


def umt(
    labels: LabelSpace,
    encoders: Encoders,
    training: Training,
    *,
    projections: Projections = "one",
    conversion: float = 0.5,
    span_loss: float = 0.5,
) -> MultimodalStrategy:
    """Unified multimodal transformer (Yu et al., ACL 2020), fine-tuned task after task.

    Made for tagging; on relations a port without the auxiliary span detection.

    Args:
        labels: the stream's classes.
        encoders: the encoders.
        training: how to train.
        projections: of the image's grid, one for both directions (the paper). RELEASED CODE:
            ``"two"``.
        conversion: weight of the span detector's scores, turned into tags (0.5: the authors' code).
        span_loss: weight of the span detector's loss (0.5: the authors' code).

    Raises:
        ConfigError: an option does not fit, or the stream shows crops alone: it looks at the whole
            image.
    """
    wrong = []
    if encoders.images == "crops":
        wrong.append("UMT looks at the whole image; give encoders.images=image or image+crops")
    if labels.kind == "re" and (conversion, span_loss) != (0.5, 0.5):
        wrong.append(
            "conversion and span_loss are of UMT's span detector, which this stream of relations "
            "has not; leave them out"
        )
    if wrong:
        raise ConfigError(wrong)
    model = UMTModel.build(
        labels,
        text=encoders.text,
        vision=encoders.vision,
        pretrained=encoders.pretrained,
        images="captions" if encoders.images == "captions" else "image",
        projections=projections,
        conversion=conversion,
        span_loss=span_loss,
        max_text_length=encoders.max_text_length,
        freeze_lower=encoders.freeze_lower,
        seed=training.seed,
    )
    return assemble(model, training)


def umgf(
    labels: LabelSpace,
    encoders: Encoders,
    training: Training,
    *,
    width: int = 512,
    layers: int = 6,
    train_vision: bool = True,
) -> MultimodalStrategy:
    """Unified multimodal graph fusion (Zhang et al., AAAI 2021), fine-tuned task after task.

    Made for tagging; on relations a port. Its objects are crops, alone where the stream shows both,
    or the whole image as the one object where ``images="image"``.

    Args:
        labels: the stream's classes.
        encoders: the encoders.
        training: how to train.
        width: of the graph's nodes (512: the authors' code).
        layers: fusion layers (6: the authors' code).
        train_vision: train the image backbone (on: the authors' code). Off, it is as in the other
            fusion models, and the image costs all of them the same.
    """
    model = multimodal(
        UMGFModel.build,
        labels,
        looking_at_objects(encoders),
        training.seed,
        width=width,
        layers=layers,
        train_vision=train_vision,
    )
    return assemble(model, training)


def mega(
    labels: LabelSpace,
    encoders: Encoders,
    training: Training,
    *,
    alignments: Alignments = "both",
    dropout: float = 0.5,
) -> MultimodalStrategy:
    """Dual graph alignment (Zheng et al., ACM MM 2021), fine-tuned task after task.

    Made for relations; on tags a port.

    Args:
        labels: the stream's classes.
        encoders: the encoders.
        training: how to train.
        alignments: how words find objects (by structure and by meaning: the paper).
            ``"semantic"`` is by meaning alone.
        dropout: on what the head reads (0.5: the authors' code).

    Raises:
        ConfigError: by structure needs what no stream of this package holds.
    """
    if alignments == "both":
        raise ConfigError(
            [
                "MEGA aligns words and objects by parses and scene graphs, which the data does not "
                "hold; choose alignments='semantic', or build MEGAModel with a processor that adds "
                "'alignment' to its batches (mkgc_cl.data.alignment)"
            ]
        )
    model = multimodal(
        MEGAModel.build,
        labels,
        looking_at_objects(encoders),
        training.seed,
        alignments=alignments,
        dropout=dropout,
    )
    return assemble(model, training)


def mkgformer(
    labels: LabelSpace,
    encoders: Encoders,
    training: Training,
    *,
    fusion_layers: int | None = None,
    train_head: bool = True,
) -> MultimodalStrategy:
    """MKGformer (Chen et al., SIGIR 2022), fine-tuned task after task.

    Args:
        labels: the stream's classes.
        encoders: the encoders.
        training: how to train.
        fusion_layers: top layers that interact; by default a third of the text layers (4 of 12: the
            authors' code).
        train_head: let the head learn (as in every other system). RELEASED CODE: that of relations
            stays as drawn.
    """
    model = _mkgformer(labels, encoders, training, fusion_layers, train_head=train_head)
    return assemble(model, training)


def m_ewc(
    labels: LabelSpace,
    encoders: Encoders,
    training: Training,
    *,
    fusion_layers: int | None = None,
    train_head: bool = True,
    weight: float = 100.0,
    mode: EWCMode = "online",
    samples: int | None = 256,
) -> MultimodalStrategy:
    """MKGformer with elastic weight consolidation; options as of ``EWC`` and ``MKGformer``."""
    model = _mkgformer(labels, encoders, training, fusion_layers, train_head=train_head)
    plugin = EWCPlugin(weight=weight, mode=mode, samples=samples, seed=training.seed)
    return assemble(model, training, plugin)


def m_replay(
    labels: LabelSpace,
    encoders: Encoders,
    training: Training,
    *,
    fusion_layers: int | None = None,
    train_head: bool = True,
    exemplars: int = 6,
    na_policy: NaPolicy = "merge",
    schedule: ReplaySchedule = "after",
    memory_epochs: int | None = None,
    memory_batch_size: int | None = None,
    memory_lr_scale: float = 1.0,
) -> MultimodalStrategy:
    """MKGformer with replay of random exemplars (paper, section 5.1: "R-Replay").

    Args:
        labels: the stream's classes.
        encoders: the encoders.
        training: how to train.
        fusion_layers: see ``MKGformer``.
        train_head: see ``MKGformer``.
        exemplars: of every class (6: the paper).
        na_policy: what becomes of N/A in the memory (one class like any other: ours).
        schedule: when the memory is trained on (a phase after every task: released code of MSPT).
        memory_epochs: of that phase; by default as many as the task has (released code of MSPT).
        memory_batch_size: exemplars per step; by default the task's (released code of MSPT).
        memory_lr_scale: factor on the learning rates in that phase (1: released code of MSPT).
    """
    model = _mkgformer(labels, encoders, training, fusion_layers, train_head=train_head)
    plugin = PrototypeReplayPlugin(
        size=exemplars,
        selection="random",
        na_policy=na_policy,
        schedule=schedule,
        epochs=memory_epochs,
        batch_size=memory_batch_size,
        lr_scale=memory_lr_scale,
        seed=training.seed,
    )
    return assemble(model, training, plugin)


def m_replay_ewc(
    labels: LabelSpace,
    encoders: Encoders,
    training: Training,
    *,
    fusion_layers: int | None = None,
    train_head: bool = True,
    exemplars: int = 6,
    na_policy: NaPolicy = "merge",
    schedule: ReplaySchedule = "after",
    memory_epochs: int | None = None,
    memory_batch_size: int | None = None,
    memory_lr_scale: float = 1.0,
    weight: float = 100.0,
    mode: EWCMode = "online",
    samples: int | None = 256,
) -> MultimodalStrategy:
    """MKGformer with random replay and elastic weight consolidation; options as of the two.

    The Fisher is that of the task's own samples, taken after the memory phase, as is the anchor.
    """
    strategy = m_replay(
        labels,
        encoders,
        training,
        fusion_layers=fusion_layers,
        train_head=train_head,
        exemplars=exemplars,
        na_policy=na_policy,
        schedule=schedule,
        memory_epochs=memory_epochs,
        memory_batch_size=memory_batch_size,
        memory_lr_scale=memory_lr_scale,
    )
    strategy.plugins.append(
        EWCPlugin(weight=weight, mode=mode, samples=samples, seed=training.seed)
    )
    return strategy


def joint_training(
    labels: LabelSpace,
    encoders: Encoders,
    training: Training,
    *,
    backbone: Literal["MKGformer", "text"] = "MKGformer",
    fusion_layers: int | None = None,
    from_scratch: bool = True,
    latest: bool = False,
    epochs: int | None = None,
    tagger: Tagger = "crf",
) -> MultimodalStrategy:
    """Train on all samples so far at every task: the upper bound of the tables.

    Each sample has the labels it came with. In a tagging stream those are of its own task's types:
    mentions of other types stay ``O`` in the union, too. The bound of complete labels is that of
    the IMNER stream with ``rule="complete"`` (``stream.rule=complete``) and ``latest``.

    Args:
        labels: the stream's classes.
        encoders: the encoders.
        training: how to train.
        backbone: the model that is trained (the paper's is MKGformer; ``"text"`` is Vanilla's).
        fusion_layers: see ``MKGformer``.
        from_scratch: begin every task with the initial weights (paper: "retraining").
        latest: a sample that comes again with other tags takes the place of its former self (ours,
            for streams whose later tags include the earlier ones).
        epochs: passes over all samples so far; by default as many as over a task (the paper says
            nothing). The union grows, so fewer make as many steps.
        tagger: what scores tags (a CRF: the paper).
    """
    model: ExtractionModel = (
        text_model(labels, encoders, training.seed, tagger=tagger)
        if backbone == "text"
        else _mkgformer(labels, encoders, training, fusion_layers, tagger=tagger)
    )
    if epochs is not None:
        training = replace(training, epochs=epochs)
    return assemble(model, training, CumulativePlugin(from_scratch=from_scratch, latest=latest))


def looking_at_objects(encoders: Encoders) -> Encoders:
    """Of a stream that shows whole images and crops, look at the crops: they are the objects."""
    return replace(encoders, images="crops") if encoders.images == "image+crops" else encoders


def multimodal(
    build: Callable[..., ExtractionModel],
    labels: LabelSpace,
    encoders: Encoders,
    seed: int,
    **options: Any,
) -> ExtractionModel:
    """Build a model of these encoders by its class's ``build``."""
    return build(
        labels,
        text=encoders.text,
        vision=encoders.vision,
        pretrained=encoders.pretrained,
        images=encoders.images,
        max_text_length=encoders.max_text_length,
        freeze_lower=encoders.freeze_lower,
        seed=seed,
        **options,
    )


def _mkgformer(
    labels: LabelSpace,
    encoders: Encoders,
    training: Training,
    fusion_layers: int | None,
    *,
    tagger: Tagger = "crf",
    train_head: bool = True,
) -> ExtractionModel:
    return multimodal(
        MKGformerModel.build,
        labels,
        encoders,
        training.seed,
        fusion_layers=fusion_layers,
        freeze_vision=encoders.freeze_vision,
        tagger=tagger,
        train_head=train_head,
    )
