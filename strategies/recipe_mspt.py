"""The recipe of MSPT for the tables; :func:`mkgc_cl.strategies.mspt` assembles it on a model."""

from __future__ import annotations

from mkgc_cl.data.samples import LabelSpace
from mkgc_cl.models import DualStreamModel
from mkgc_cl.models.attention import KeyShape
from mkgc_cl.models.base import Pooling, Tagger
from mkgc_cl.models.dual_stream import Interaction
from mkgc_cl.strategies.assembly import mspt
from mkgc_cl.strategies.mspt_options import MSPTOptions
from mkgc_cl.strategies.recipe import Encoders, Training
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
    tagger: Tagger = "crf",
    token_weight: float = 0.0,
    method: MSPTOptions = MSPTOptions(),  # noqa: B008  # frozen
) -> MultimodalStrategy:
    """MSPT (Chen et al., IJCAI 2024), every part a toggle.

    Args:
        labels: the stream's classes.
        encoders: the encoders.
        training: how to train.
        interaction: shared key (the paper), or ordinary attention.
        interaction_layers: top layers that interact (3 of 12: the paper).
        key_shape: of the shared key (one per position: the paper). RELEASED CODE: ``"single"``,
            which is inert.
        pooling: what a relation is read from (both class tokens: the paper, eq. 2).
        tagger: what scores tags (a CRF: the paper).
        token_weight: weight of ExtendNER's teacher for words ``O``, see
            :class:`TokenDistillationPlugin` (0, off: the paper). It wants the softmax tagger, and
            works beside attention distillation, with a model and a pass per sample of its own.
        method: all others, each an option of its own on the command line.

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
        freeze_vision=encoders.freeze_vision,
        seed=training.seed,
    )
    teacher = [TokenDistillationPlugin(weight=token_weight)] if token_weight else []
    if teacher:
        check_tagger(model)  # here, not when the run begins
    return mspt(model, method, training, plugins=teacher)
