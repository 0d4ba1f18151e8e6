"""Attention of both streams: fused in the lower layers, explicit maps in the interaction layers."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

KeyShape = Literal["per-position", "single"]


def split_heads(states: Tensor, heads: int) -> Tensor:
    """View states (B, T, D) per head: (B, H, T, D/H)."""
    batch, length, width = states.shape
    return states.view(batch, length, heads, width // heads).transpose(1, 2)


def merge_heads(states: Tensor) -> Tensor:
    """Undo :func:`split_heads`: (B, H, T, D/H) to (B, T, D)."""
    batch, heads, length, width = states.shape
    return states.transpose(1, 2).reshape(batch, length, heads * width)


def fused_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    dropout: float,
    bias: Tensor | None = None,
) -> Tensor:
    """Softmax attention without explicit maps.

    Args:
        query: (B, H, T, D/H), likewise ``key`` and ``value``.
        key: see ``query``.
        value: see ``query``.
        mask: (B, T) bool, true on positions that may be attended; ``None`` for all.
        dropout: probability on the attention weights, 0 in evaluation.
        bias: (1, H, T, T) added to the scores.

    Returns:
        Context (B, T, D).
    """
    allowed = None if mask is None else mask[:, None, None, :]
    if bias is not None:
        bias = bias.to(query.dtype)
        allowed = bias if allowed is None else bias.masked_fill(~allowed, float("-inf"))
    return merge_heads(
        F.scaled_dot_product_attention(query, key, value, attn_mask=allowed, dropout_p=dropout)
    )


def explicit_attention(
    scores: Tensor, value: Tensor, mask: Tensor | None, dropout: float
) -> Tensor:
    """Softmax attention from given scores (eq. 11).

    Args:
        scores: (B, H, T, T) pre-softmax map A; rows are queries, columns are keys.
        value: (B, H, T, D/H).
        mask: (B, T) bool, true on positions that may be attended; ``None`` for all.
        dropout: probability on the attention weights, 0 in evaluation.

    Returns:
        Context (B, T, D).
    """
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None, None, :], float("-inf"))
    weights = F.dropout(scores.softmax(dim=-1), p=dropout, training=dropout > 0)
    return merge_heads(weights @ value)


class SharedKeyAttention(nn.Module):
    """Self-attention whose key is not computed from the input but learned and shared (eq. 10).

    ``A = (Q K^T + B) / sqrt(D / H)``: K is a parameter that both streams of a layer share, one key
    a position, sliced to the stream's length; B is this stream's own bias map per head. Query and
    value projections are the pretrained layer's own.

    RELEASED CODE: one key vector for all positions. It adds the same number to every column of a
    row, which the softmax cancels: attention then depends on neither the input nor the key. Kept as
    ``key_shape="single"`` in :class:`~mkgc_cl.models.DualStreamModel`; a test shows it is inert.

    Args:
        query: projection D to D.
        value: projection D to D.
        heads: number of heads H of this stream.
        max_length: longest sequence n_max of this stream.
        dropout: probability on the attention weights while training.
        generator: source of the bias map's initial values (Xavier uniform).
    """

    def __init__(
        self,
        query: nn.Linear,
        value: nn.Linear,
        *,
        heads: int,
        max_length: int,
        dropout: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.query = query
        self.value = value
        self.heads = heads
        self.dropout = dropout
        self.bias = nn.Parameter(torch.empty(heads, max_length, max_length))
        nn.init.xavier_uniform_(self.bias, generator=generator)

    def forward(self, states: Tensor, mask: Tensor | None, key: Tensor) -> tuple[Tensor, Tensor]:
        """Attend with the shared key.

        Args:
            states: (B, T, D).
            mask: (B, T) bool, true on real positions; ``None`` for all.
            key: (n_max, D) the layer's shared key, or (1, D) for the single vector.

        Returns:
            Context (B, T, D) before the output projection, and the pre-softmax map (B, H, T, T).
        """
        length = states.shape[1]
        query = split_heads(self.query(states), self.heads)
        width = query.shape[-1]
        keys = key.expand(length, -1) if key.shape[0] == 1 else key[:length]
        per_head = keys.view(length, self.heads, width).permute(1, 2, 0)  # (H, D/H, T)
        # PAPER: eq. (10) divides the bias map too; RELEASED CODE does so for text only.
        scores = (query @ per_head + self.bias[:, :length, :length]) / width**0.5
        value = split_heads(self.value(states), self.heads)
        dropout = self.dropout if self.training else 0.0
        return explicit_attention(scores, value, mask, dropout), scores
