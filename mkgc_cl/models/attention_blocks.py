"""Sample-norm attention blocks in which one sequence reads another, or itself."""

from __future__ import annotations

from torch import Tensor, nn

from mkgc_cl.models.attention import fused_attention, split_heads


class MaskedAttention(nn.Module):
    """Multi-head attention of states over a context (Vaswani et al. 2017), some of it masked.

    A row whose context is masked throughout reads nothing: the result is zero, not the NaN of a
    softmax over nothing.

    Args:
        width: width D.
        heads: number of heads H.
        dropout: probability on the attention weights while training.
    """

    def __init__(self, width: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value: nn.Module = nn.Linear(width, width)
        self.output: nn.Module = nn.Linear(width, width)

    def forward(self, states: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """Attend.

        Args:
            states: (B, T, D), which ask.
            context: (B, S, D), which answers.
            mask: (B, S) bool, true on context that may be read.

        Returns:
            (B, T, D).
        """
        something = mask.any(dim=1)[:, None]
        read = fused_attention(
            split_heads(self.query(states), self.heads),
            split_heads(self.key(context), self.heads),
            split_heads(self.value(context), self.heads),
            mask | ~something,
            self.dropout if self.training else 0.0,
        )
        answer: Tensor = self.output(read).masked_fill(~something[..., None], 0.0)
        return answer


class AddNorm(nn.Module):
    """``LN(x + dropout(update))``.

    Args:
        width: width D.
        dropout: probability on the update while training.
    """

    def __init__(self, width: int, *, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, update: Tensor) -> Tensor:
        """Add ``update`` to ``states``, both (..., D)."""
        added: Tensor = self.norm(states + self.dropout(update))
        return added


class AttentionBlock(nn.Module):
    """A BERT layer whose keys and values may come from another sequence (co-attention).

    Args:
        width: width D.
        heads: number of heads H.
        inner: width of the feed-forward layer.
        dropout: probability on attention weights and updates while training.
    """

    def __init__(self, width: int, *, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.attention = MaskedAttention(width, heads=heads, dropout=dropout)
        self.attended = AddNorm(width, dropout=dropout)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width)
        )
        self.fed = AddNorm(width, dropout=dropout)

    def forward(self, states: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """Let ``states`` (B, T, D) read ``context`` (B, S, D) where ``mask`` (B, S) allows it."""
        states = self.attended(states, self.attention(states, context, mask))
        fed: Tensor = self.fed(states, self.feed_forward(states))
        return fed
