"""Graph fusion: words and objects exchange messages, each pair through a gate of its own."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mkgc_cl.models.attention_blocks import AddNorm, MaskedAttention

ObjectAttention = Literal["full", "bare"]


class PairGate(nn.Module):
    """What nodes receive from the nodes of the other kind: ``sum_j sigmoid(W [x_i ; o_j]) * o_j``.

    A gate is a vector of width D for each pair. ``W [x ; o]`` is ``W_x x + W_o o``, so that no pair
    is ever concatenated.

    Args:
        width: width D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.receiver = nn.Linear(width, width)
        self.sender = nn.Linear(width, width, bias=False)  # one bias is enough

    def forward(self, receivers: Tensor, senders: Tensor, mask: Tensor) -> Tensor:
        """Sum the messages.

        Args:
            receivers: (B, N, D).
            senders: (B, M, D).
            mask: (B, M) bool, true on senders that are there.

        Returns:
            (B, N, D); zero where no sender is there.
        """
        gates = torch.sigmoid(self.receiver(receivers)[:, :, None] + self.sender(senders)[:, None])
        messages = senders.masked_fill(~mask[..., None], 0.0)
        return (gates * messages[:, None]).sum(dim=2)


class GraphFusionLayer(nn.Module):
    """One layer of UMGF (Zhang et al. 2021): attention within a kind, gates between, feed-forward.

    Words and objects receive from each other what stood there before either update.

    Args:
        width: width D of the nodes.
        heads: number of heads of the attention.
        dropout: probability on attention weights and updates while training.
        object_attention: ``"full"``, or ``"bare"`` (RELEASED CODE: objects attend to one another
            without a value and an output projection).
    """

    def __init__(
        self, width: int, *, heads: int, dropout: float, object_attention: ObjectAttention = "full"
    ) -> None:
        super().__init__()
        self.word_attention = MaskedAttention(width, heads=heads, dropout=dropout)
        self.object_attention = MaskedAttention(width, heads=heads, dropout=dropout)
        if object_attention == "bare":  # drawn all the same: both kinds start from one model
            self.object_attention.value = self.object_attention.output = nn.Identity()
        self.word_gate = PairGate(width)
        self.object_gate = PairGate(width)
        self.word_feed = _feed_forward(width)
        self.object_feed = _feed_forward(width)
        self.word_norms, self.object_norms = (
            nn.ModuleList(AddNorm(width, dropout=dropout) for _ in range(3)) for _ in range(2)
        )

    def forward(
        self, words: Tensor, word_mask: Tensor, objects: Tensor, object_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Update both kinds of nodes.

        Args:
            words: (B, T, D).
            word_mask: (B, T) bool, true on real tokens.
            objects: (B, N, D).
            object_mask: (B, N) bool, true on objects that are there.

        Returns:
            Words (B, T, D) and objects (B, N, D); what is masked never reaches what is not.
        """
        attend, receive, feed = self.word_norms
        words = attend(words, self.word_attention(words, words, word_mask))
        object_attend, object_receive, object_feed = self.object_norms
        objects = object_attend(objects, self.object_attention(objects, objects, object_mask))
        to_words = self.word_gate(words, objects, object_mask)
        to_objects = self.object_gate(objects, words, word_mask)
        words, objects = receive(words, to_words), object_receive(objects, to_objects)
        words = feed(words, self.word_feed(words))
        return words, object_feed(objects, self.object_feed(objects))


class GraphFusion(nn.Module):
    """Stacked graph fusion layers over projected words and objects (Zhang et al. 2021).

    Words are projected by a linear layer, objects by two, each followed by ReLU and dropout.

    RELEASED CODE has one more linear layer between ResNet and the first of these two, with which it
    is one linear map; and it begins all fusion layers as copies of one (Xavier), where here each is
    drawn for itself, as torch draws linear layers.

    Args:
        text_width: width of the text states.
        object_width: width of the objects' vectors.
        width: width D of the nodes.
        layers: number of layers.
        heads: number of heads.
        dropout: see :class:`GraphFusionLayer`; on the objects' projection, too.
        object_attention: see :class:`GraphFusionLayer`.
    """

    def __init__(
        self,
        *,
        text_width: int,
        object_width: int,
        width: int,
        layers: int,
        heads: int,
        dropout: float,
        object_attention: ObjectAttention = "full",
    ) -> None:
        super().__init__()
        self.project_words = nn.Linear(text_width, width)
        self.project_objects = nn.Sequential(
            nn.Linear(object_width, width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.layers = nn.ModuleList(
            GraphFusionLayer(width, heads=heads, dropout=dropout, object_attention=object_attention)
            for _ in range(layers)
        )

    def forward(
        self, text: Tensor, text_mask: Tensor, objects: Tensor, object_mask: Tensor, index: Tensor
    ) -> Tensor:
        """Fuse a batch.

        Args:
            text: (B, T, D_t) states of the text encoder.
            text_mask: (B, T) bool, true on real tokens.
            objects: (U, N, D_v) vectors of the distinct visual inputs' objects.
            object_mask: (U, N) bool, true on objects that are there.
            index: (B,) row of the visual input of each sample.

        Returns:
            Words (B, T, D).
        """
        words = self.project_words(text)
        # objects of one image lose other units in every sample that shows it
        nodes, present = self.project_objects(objects[index]), object_mask[index]
        for layer in self.layers:
            words, nodes = layer(words, text_mask, nodes, present)
        fused: Tensor = words
        return fused


def _feed_forward(width: int) -> nn.Sequential:
    # half as wide within, as released (512, 256, 512)
    return nn.Sequential(nn.Linear(width, width // 2), nn.ReLU(), nn.Linear(width // 2, width))
