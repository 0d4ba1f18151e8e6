"""The mini-batch of samples that models and plugins read."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class MultimodalBatch(dict[str, Tensor]):
    """A dict of tensors that moves as one and knows which samples it holds.

    Avalanche's own plugins call ``x.to(device)`` and ``x.size(0)`` on a batch; a dict subclass with
    both lets them run unmodified.

    Keys (B batch, T tokens, W words, U distinct visual inputs, V crop slots):
        input_ids (B, T) long; attention_mask (B, T) bool;
        word_starts (B, W) long, word_mask (B, W) bool, text_lengths (B,) long, tokens of the text
        without a caption behind it (tagging);
        marker_positions (B, 2) long, start markers of head and tail, entities (B, T) long, the
        entities each token is a piece of: 1 the head, 2 the tail, 3 both (relations);
        visual_index (B,) long; caption_ids, caption_mask (U, P) of captions beside the text;
        images (U, 3, S, S) uint8; crop_0 ... crop_{V-1} (U, 3, s, s) uint8;
        crops_present (U, V) bool; replayed (B,) bool, true on samples that come from a memory.
        The :class:`~mkgc_cl.data.processor.Processor` makes these. One more is read where it is
        there: alignment (B, T, V) float of tokens and crops (:mod:`mkgc_cl.data.alignment`), by
        :class:`~mkgc_cl.models.MEGAModel`.

    Args:
        tensors: the tensors by key.
        uids: identity of each sample, in order.
    """

    def __init__(self, tensors: Mapping[str, Tensor], *, uids: tuple[str, ...]) -> None:
        super().__init__(tensors)
        self.uids = uids

    def to(self, device: torch.device | str, non_blocking: bool = False) -> MultimodalBatch:
        """Return the batch on ``device``."""
        moved = {name: value.to(device, non_blocking=non_blocking) for name, value in self.items()}
        return MultimodalBatch(moved, uids=self.uids)

    def select(self, rows: Tensor) -> MultimodalBatch:
        """Return the samples ``rows`` (N,) of the batch; images stay as they are."""
        images = {name for name in self if name.startswith(("images", "crop", "caption"))}
        index = rows.tolist()
        kept = {name: v if name in images else v[rows] for name, v in self.items()}
        return MultimodalBatch(kept, uids=tuple(self.uids[row] for row in index))

    def size(self, dim: int = 0) -> int:
        """Number of samples (``dim`` 0) or tokens (``dim`` 1)."""
        return int(self["input_ids"].shape[dim])

    def pin_memory(self) -> MultimodalBatch:
        """Return the batch in pinned memory, for copies that overlap with computation."""
        pinned = {name: value.pin_memory() for name, value in self.items()}
        return MultimodalBatch(pinned, uids=self.uids)
