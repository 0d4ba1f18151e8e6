"""MPNet's layers by the names that BERT's have, so that a stream can run them one by one.

Song et al. 2020, "MPNet: Masked and Permuted Pre-training for Language Understanding". One table of
relative positions adds to the scores of every layer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

FAMILY = "mpnet"


def named_as_bert(encoder: nn.Module) -> nn.Module:
    """Rename the parts of an MPNet's layers in place; any other encoder is left alone."""
    if getattr(getattr(encoder, "config", None), "model_type", None) != FAMILY:
        return encoder
    parts: Any = encoder
    for layer in parts.encoder.layer:
        if isinstance(layer.attention, _Attention):
            continue
        layer.attention = _Attention(layer.attention, parts.encoder.relative_attention_bias)
    return encoder


def relative_positions(encoder: nn.Module) -> nn.Module | None:
    """The table of relative positions of an encoder that has one."""
    found: nn.Module | None = getattr(encoder.encoder, "relative_attention_bias", None)
    return found


class _Attention(nn.Module):
    def __init__(self, attention: Any, table: nn.Embedding) -> None:
        super().__init__()
        self.self = _SelfAttention(attention.attn, table)
        self.output = _Output(attention)


class _SelfAttention(nn.Module):
    """Query, key and value, and what relative positions add to the scores."""

    def __init__(self, attention: Any, table: nn.Embedding) -> None:
        super().__init__()
        self.query, self.key, self.value = attention.q, attention.k, attention.v
        self.dropout = attention.dropout
        self.num_attention_heads = int(attention.num_attention_heads)
        self._table = (table,)  # the stream's, which all layers read: not this module's own

    def position_bias(self, length: int) -> Tensor:
        """What is added to scores, divided already: (1, H, T, T)."""
        from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

        (table,) = self._table
        place = torch.arange(length, device=table.weight.device)
        distance = place[None] - place[:, None]
        buckets = MPNetEncoder.relative_position_bucket(distance)
        bias: Tensor = table(buckets).permute(2, 0, 1)[None]
        return bias


class _Output(nn.Module):
    """Output projection, residual and normalization."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.dense = attention.attn.o
        self.LayerNorm = attention.LayerNorm
        self.dropout = attention.dropout

    def forward(self, context: Tensor, states: Tensor) -> Tensor:
        """States (B, T, D) of a context (B, T, D) and the states that went in."""
        left: Tensor = self.LayerNorm(self.dropout(self.dense(context)) + states)
        return left
