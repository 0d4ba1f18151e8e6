"""What a forward pass returns: all that losses, plugins and metrics read, none of it on modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOutput:
    """Result of one forward pass of any model.

    Indexed, or given to a function of torch, it is its :attr:`scores`: code that is written for
    plain classifiers (Avalanche's LwF and MAS) reads it as it is.

    Shapes: B batch, T text tokens, W words, D width, C outputs.

    Args:
        logits: (B, C) relation logits, or (B, W, C) tag emissions; outputs not seen yet are masked.
        features: (B, F) features of the whole sample, for exemplars and prototypes; for relations
            what the head reads.
        text_states: (B, T, D) last layer of the text stream.
        text_mask: (B, T) bool, true on real tokens.
        word_features: (B, W, F) what the tagging head reads; ``None`` for relations.
        word_mask: (B, W) bool, true on real words; ``None`` for relations.
        layer_features: (B, G), or (B, W, G) of words, from layers that the model was told to read
            for a readout; ``None`` in training, and where it was told of none.
        seen: (K,) ids of the outputs that are not masked, in order; ``None`` for all.
    """

    logits: Tensor
    features: Tensor
    text_states: Tensor
    text_mask: Tensor
    word_features: Tensor | None = None
    word_mask: Tensor | None = None
    layer_features: Tensor | None = None
    seen: Tensor | None = None

    @property
    def scores(self) -> Tensor:
        """Logits with one row per sample or, for tags, per real word: (N, C)."""
        return self.logits if self.word_mask is None else self.logits[self.word_mask]

    def __getitem__(self, index: Any) -> Tensor:
        return self.scores[index]

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch on the scores."""
        named = {name: _scores_of(value) for name, value in (kwargs or {}).items()}
        return func(*map(_scores_of, args), **named)

    def scores_only(self) -> ModelOutput:
        """Return a copy with logits and masks alone, cheap enough to keep during an evaluation."""
        nothing = self.logits.new_empty(0)
        return ModelOutput(
            logits=self.logits,
            features=nothing,
            text_states=nothing,
            text_mask=self.text_mask,
            word_mask=self.word_mask,
            seen=self.seen,
        )


def _scores_of(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_scores_of(item) for item in value]
    return value.scores if isinstance(value, ModelOutput) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class DualStreamOutput(ModelOutput):
    """What a dual-stream model returns beside: both streams' scores, states and attention.

    Shapes: U distinct visual inputs of the batch (samples that share an image are encoded once), P
    visual tokens, H heads.

    Args:
        text_logits: as ``logits``, from the text stream alone with half the bias (eq. 5).
        vision_logits: as ``logits``, from the vision stream alone with half the bias (eq. 5).
        vision_states: (U, P, D) last layer of the vision stream.
        visual: (B, D) visual class token of each sample, what the head reads of the image.
        vision_mask: (U, P) bool, true on tokens of images that are there.
        visual_index: (B,) row of the visual input of each sample.
        text_maps: pre-softmax attention of the interaction layers, each (B, H, T, T); masked
            positions are not marked in it. The tensors are aliases of what the softmax reads, so a
            hook on them sees the gradient of losses on the maps and of nothing else.
        vision_maps: the same of the vision stream, each (U, H, P, P).
    """

    text_logits: Tensor
    vision_logits: Tensor
    vision_states: Tensor
    visual: Tensor
    vision_mask: Tensor
    visual_index: Tensor
    text_maps: tuple[Tensor, ...]
    vision_maps: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanOutput(ModelOutput):
    """What a tagging model with an auxiliary span detector returns beside (UMT).

    Args:
        span_logits: (B, W, 3) emissions of O, B, I whatever the type.
    """

    span_logits: Tensor

    def scores_only(self) -> SpanOutput:
        """Keep the span emissions too: the loss reads them."""
        kept = ModelOutput.scores_only(self)
        return SpanOutput(
            logits=kept.logits,
            features=kept.features,
            text_states=kept.text_states,
            text_mask=kept.text_mask,
            word_mask=kept.word_mask,
            seen=kept.seen,
            span_logits=self.span_logits,
        )
