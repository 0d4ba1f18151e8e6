"""The mini-batch of samples that models and plugins read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor


class _MaybeField:
    """A tensor of a batch that may be missing."""

    def __init__(self, meaning: str) -> None:
        self.__doc__ = meaning
        self._key = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._key = name

    def __get__(self, batch: dict[str, Tensor] | None, owner: type) -> Tensor | None:
        return cast(Tensor, self) if batch is None else batch.get(self._key)


class _Field(_MaybeField):
    """A tensor of a batch."""

    def __get__(self, batch: dict[str, Tensor] | None, owner: type) -> Tensor:
        if batch is None:
            return cast(Tensor, self)
        if self._key not in batch:
            raise AttributeError(
                f"this batch has no {self._key!r} ({self.__doc__}); it has {', '.join(batch)}"
            )
        return batch[self._key]


class MultimodalBatch(dict[str, Tensor]):
    """A dict of tensors that moves as one and knows which samples it holds.

    Avalanche's own plugins call ``x.to(device)`` and ``x.size(0)`` on a batch; a dict subclass with
    both lets them run unmodified.

    Every tensor is a field and, for Avalanche and for code of one's own, a key of the same name. A
    field that a batch does not have is an ``AttributeError``, but for those that may be ``None``.

    Args:
        tensors: the tensors by key.
        uids: identity of each sample, in order.
        share: how much of a batch that several processes share this one has. 0 where it has nothing
            of a batch smaller than their number: its sample stands in, and counts for nothing.
    """

    input_ids = _Field("(B, T) long: word pieces")
    attention_mask = _Field("(B, T) bool: true on word pieces, false on padding")
    visual_index = _Field("(B,) long: the row of a sample's images among the U distinct ones")
    replayed = _Field("(B,) bool: true on samples that come from a memory")
    crops_present = _Field("(U, V) bool: which of the V slots for crops hold one")
    word_starts = _Field("tagging: (B, W) long, position of every word's first piece")
    word_mask = _Field("tagging: (B, W) bool, true on words, false on padding")
    text_lengths = _Field("tagging: (B,) long, pieces of the text without a caption behind it")
    marker_positions = _Field("relations: (B, 2) long, start markers of head and tail")
    entities = _Field(
        "relations: (B, T) long, what a piece belongs to: 1 the head, 2 the tail, 3 both"
    )
    images = _MaybeField("(U, 3, S, S) uint8: whole images, where the model looks at them")
    caption_ids = _MaybeField("(U, P) long: word pieces of captions in place of images")
    caption_mask = _MaybeField("(U, P) bool: true on them, false on padding")
    alignment = _MaybeField(
        "(B, T, V) float: of word pieces and crops (mkgc_cl.data.alignment), where there is one"
    )

    def __init__(
        self, tensors: Mapping[str, Tensor], *, uids: tuple[str, ...], share: float = 1.0
    ) -> None:
        super().__init__(tensors)
        self.uids = uids
        self.share = share

    def crop(self, slot: int) -> Tensor:
        """Crops in a slot: (U, 3, s, s) uint8, of the side that its kind has."""
        return self[f"crop_{slot}"]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> MultimodalBatch:
        """Return the batch on ``device``."""
        moved = {name: value.to(device, non_blocking=non_blocking) for name, value in self.items()}
        return MultimodalBatch(moved, uids=self.uids, share=self.share)

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
        return MultimodalBatch(pinned, uids=self.uids, share=self.share)
