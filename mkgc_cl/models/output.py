"""What a forward pass returns: all that losses, plugins and metrics read, none of it on modules."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """Result of one forward pass.

    Shapes: B batch, U distinct visual inputs of the batch (posts that share a picture are encoded
    once), T text tokens, P visual tokens, W words, H heads, D width, C outputs.

    Args:
        logits: (B, C) relation logits, or (B, W, C) tag emissions; outputs not seen yet are masked.
        text_logits: same shape, from the text stream alone with half the bias (eq. 5).
        vision_logits: same shape, from the vision stream alone with half the bias (eq. 5).
        features: (B, F) input of the head for the whole post, for exemplars and prototypes.
        text_states: (B, T, D) last layer of the text stream.
        text_mask: (B, T) bool, true on real tokens.
        vision_states: (U, P, D) last layer of the vision stream.
        visual: (B, D) visual class token of each post, what the head reads of the picture.
        vision_mask: (U, P) bool, true on tokens of pictures that are there.
        visual_index: (B,) row of the visual input of each post.
        text_maps: pre-softmax attention of the interaction layers, each (B, H, T, T); masked
            positions are not marked in it. The tensors are aliases of what the softmax reads, so a
            hook on them sees the gradient of losses on the maps and of nothing else.
        vision_maps: the same of the vision stream, each (U, H, P, P).
        word_mask: (B, W) bool, true on real words; ``None`` for relations.
    """

    logits: Tensor
    text_logits: Tensor
    vision_logits: Tensor
    features: Tensor
    text_states: Tensor
    text_mask: Tensor
    vision_states: Tensor
    visual: Tensor
    vision_mask: Tensor
    visual_index: Tensor
    text_maps: tuple[Tensor, ...]
    vision_maps: tuple[Tensor, ...]
    word_mask: Tensor | None = None

    def scores_only(self) -> ModelOutput:
        """Return a copy with logits and masks alone, cheap enough to keep during an evaluation."""
        nothing = self.logits.new_empty(0)
        return replace(
            self,
            features=nothing,
            text_states=nothing,
            vision_states=nothing,
            visual=nothing,
            text_maps=(),
            vision_maps=(),
        )
