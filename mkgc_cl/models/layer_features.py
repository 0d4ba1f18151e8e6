"""Features of a frozen encoder: what stands at the tokens that matter, at layers of one's choice.

A head that trains moves what it needs into the last layer's first tokens; a frozen encoder has not
been asked to. So more of it is read: several layers, opening markers, and means over pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.samples import TaskKind
from mkgc_cl.models.base import Pooling, gather_positions, relation_states
from mkgc_cl.models.text import TextStream
from mkgc_cl.models.whole_encoder import WholeEncoder

BLOCK = 256
"""Tokens that are scored together: few enough for the cache, enough for two threads to share."""

PARTS: dict[TaskKind, int] = {"re": 5, "ner": 2}
"""Vectors that are read from each layer."""


def layer_features(batch: MultimodalBatch, layers: Sequence[Tensor]) -> Tensor:
    """Read a batch off the states of some layers, the parts of a layer side by side.

    Args:
        batch: the batch.
        layers: (B, T, D) states of each layer.

    Returns:
        (B, 5 D L) of relations, see :func:`relation_parts`, or (B, W, 2 D L) of tags, see
        :func:`word_parts`.
    """
    if "word_starts" not in batch:
        return torch.cat([relation_parts(batch, states) for states in layers], dim=-1)
    pieces = word_pieces(batch)
    return torch.cat([word_parts(batch, states, pieces) for states in layers], dim=-1)


def read_layers(
    text: TextStream | WholeEncoder, batch: MultimodalBatch, layers: Sequence[int]
) -> Tensor:
    """Run an encoder up to the deepest of some layers, and read a batch off them.

    Args:
        text: the encoder, in evaluation mode.
        batch: the batch.
        layers: whose states are read, 0 for the embeddings; at least one.

    Returns:
        As of :func:`layer_features`.
    """
    return layer_features(batch, layer_states(text, batch, layers))


def layer_states(
    text: TextStream | WholeEncoder, batch: MultimodalBatch, layers: Sequence[int]
) -> list[Tensor]:
    """Run an encoder up to the deepest of some layers; states (B, T, D) of each of these."""
    kept: dict[int, Tensor] = {}
    for depth, (states, _) in enumerate(
        text.layer_by_layer(batch["input_ids"], batch["attention_mask"], [])
    ):
        if depth in layers:
            kept[depth] = states
        if depth == max(layers):
            break
    return [kept[layer] for layer in layers]


def linear_word_scores(
    batch: MultimodalBatch,
    layers: Sequence[Tensor],
    *,
    rows: Tensor,
    bias: Tensor,
    center: Tensor,
) -> Tensor:
    """Linear scores of words: ``(features - center) @ rows.T + bias``, without the features.

    A mean over pieces and a linear score commute, so tokens are scored, and the K scores of a
    token are averaged rather than its 2 D L features: a fraction of the time.

    Args:
        batch: of tags.
        layers: (B, T, D) states of each layer.
        rows: (K, 2 D L).
        bias: (K,).
        center: (2 D L,).

    Returns:
        (B, W, K), as of :func:`layer_features` up to rounding.
    """
    samples, tokens, width = layers[0].shape
    parts = rows.reshape(len(rows), len(layers), 2, width)
    centers = center.reshape(len(layers), 2, width)
    found = rows.new_zeros(samples * tokens, 2 * len(rows))
    for number, states in enumerate(layers):
        both = parts[:, number].permute(2, 1, 0).flatten(1)  # (D, 2 K): of first pieces, of means
        flat, shift = states.flatten(0, 1), centers[number, 0]
        # block by block: what is in double precision stays in cache
        for some, own in zip(flat.split(BLOCK), found.split(BLOCK), strict=True):
            own.addmm_(some.to(shift.dtype, copy=True).sub_(shift), both)
    first, mean = found.view(samples, tokens, 2, -1).unbind(dim=2)
    pieces = word_pieces(batch)
    averaged = pieces.member.to(found) @ mean / pieces.sizes
    chosen = first.flatten(0, 1).index_select(0, pieces.first.flatten())
    apart = (parts[:, :, 1] * (centers[:, 0] - centers[:, 1])).sum(dim=(1, 2))
    return chosen.view_as(averaged) + averaged + (bias + apart)


def relation_parts(batch: MultimodalBatch, states: Tensor) -> Tensor:
    """``[CLS; head marker; tail marker; mean of the head; mean of the tail]``: (B, 5 D).

    Means are over an entity's pieces, markers that stand inside it left out.

    Args:
        batch: with ``marker_positions`` (B, 2) and ``entities`` (B, T).
        states: (B, T, D) of one layer.
    """
    member = torch.stack([batch.entities & 1, batch.entities >> 1], dim=1)  # (B, 2, T)
    means = _means(member.bool(), states)
    markers = gather_positions(states, batch.marker_positions)
    return torch.cat([relation_states(batch, states, "cls")[:, None], markers, means], 1).flatten(1)


def word_parts(batch: MultimodalBatch, states: Tensor, pieces: WordPieces | None = None) -> Tensor:
    """``[first piece; mean of the pieces]`` of every word: (B, W, 2 D).

    Args:
        batch: with ``word_starts`` and ``word_mask`` (B, W), and ``text_lengths`` (B,).
        states: (B, T, D) of one layer.
        pieces: of :func:`word_pieces`, where several layers are read.
    """
    found = word_pieces(batch) if pieces is None else pieces
    # whole rows: a gather over (B, W, D) places costs as much as a layer's projection
    first = states.flatten(0, 1).index_select(0, found.first.flatten())
    first = first.view(*found.first.shape, states.shape[-1])
    return torch.cat([first, _means(found.member, states, found.sizes)], dim=-1)


class WordPieces(NamedTuple):
    """Where the pieces of words stand.

    Args:
        first: (B, W) rows of their first ones among all B T tokens.
        member: (B, W, T) 1 on their pieces.
        sizes: (B, W, 1) how many they have, at least 1.
    """

    first: Tensor
    member: Tensor
    sizes: Tensor


def word_pieces(batch: MultimodalBatch) -> WordPieces:
    """Find the pieces of the words of a batch."""
    starts, real = batch.word_starts, batch.word_mask
    pieces = batch.text_lengths[:, None] - 1  # what closes the sample is no word
    ends = torch.cat([starts[:, 1:], starts[:, :1]], dim=1)  # of the last word, put right below
    last = real & ~torch.cat([real[:, 1:], torch.zeros_like(real[:, :1])], dim=1)
    ends = torch.where(last, pieces, ends)
    samples, tokens = batch.input_ids.shape
    position = torch.arange(tokens, device=starts.device)
    member = (position >= starts[..., None]) & (position < ends[..., None]) & real[..., None]
    weights = member.float()
    rows = torch.arange(samples, device=starts.device)[:, None] * tokens + starts
    return WordPieces(rows, weights, weights.sum(dim=-1, keepdim=True).clamp(min=1))


def head_part(parts: Tensor, kind: TaskKind, pooling: Pooling) -> Tensor:
    """What a head reads, out of all that is read of the last layer.

    Args:
        parts: (B, 5 D) of relations, (B, W, 2 D) of tags.
        kind: which.
        pooling: of relations.

    Returns:
        First pieces (B, W, D); ``[CLS]`` (B, D), or opening markers (B, 2 D).
    """
    width = parts.shape[-1] // PARTS[kind]
    if kind == "ner":
        return parts[..., :width]
    return parts[:, :width] if pooling == "cls" else parts[:, width : 3 * width]


def default_layers(depth: int, kind: TaskKind) -> tuple[int, ...]:
    """Layers of an encoder of ``depth`` layers that are read unless others are named.

    The last one and the one two thirds up; for words, which are narrower, also the one a third up
    (on validation: 84.2 in the mean against 82.2 without it, IMNER on MiniLM).

    >>> default_layers(6, "re"), default_layers(12, "ner"), default_layers(1, "ner")
    ((4, 6), (4, 8, 12), (1,))
    """
    thirds = (2, 3) if kind == "re" else (1, 2, 3)
    return tuple(sorted({max(1, round(third * depth / 3)) for third in thirds}))


def _means(member: Tensor, states: Tensor, count: Tensor | None = None) -> Tensor:
    """Mean over the tokens (B, N, T) that are members, of states (B, T, D): (B, N, D)."""
    # at least single precision, whatever the encoder ran in
    exact = states.to(torch.promote_types(states.dtype, torch.float32))
    weights = member.to(exact.dtype)
    if count is None:
        count = weights.sum(dim=-1, keepdim=True).clamp(min=1)
    return (weights @ exact) / count
