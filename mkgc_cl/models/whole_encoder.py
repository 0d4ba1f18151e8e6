"""Text encoders outside BERT's family, run as ``transformers`` runs them, for models that read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from mkgc_cl.errors import ConfigError
from mkgc_cl.models.text import TextStream

WHOLE_FAMILIES = frozenset(("deberta", "deberta-v2", "distilbert", "mpnet"))
"""Families that are read as ``transformers`` runs them. Of these only MPNet's layers can be run one
by one, too (:mod:`mkgc_cl.models.mpnet`)."""


class WholeEncoder(nn.Module):
    """An encoder in one piece: its states can be read after every layer, nothing in it replaced.

    Stands for a :class:`~mkgc_cl.models.text.TextStream` without interaction.

    Args:
        encoder: a model of :data:`WHOLE_FAMILIES`.
        max_length: longest token sequence.

    Raises:
        ConfigError: the encoder has fewer positions.
    """

    def __init__(self, encoder: nn.Module, *, max_length: int) -> None:
        super().__init__()
        self.encoder = encoder
        parts: Any = encoder
        self.config = parts.config
        self.width = int(parts.config.hidden_size)
        self.max_length = max_length
        positions = int(parts.config.max_position_embeddings)
        if parts.config.model_type == "mpnet":  # its table starts after the padding id
            positions -= parts.embeddings.padding_idx + 1
        if max_length > positions:
            raise ConfigError([f"max_text_length={max_length} but the encoder has {positions}"])

    @property
    def layers(self) -> Any:
        """The layers, for how many there are."""
        parts: Any = self.encoder
        body = parts.transformer if self.config.model_type == "distilbert" else parts.encoder
        return body.layer

    @property
    def heads(self) -> int:
        """Attention heads of a layer."""
        return int(self.config.num_attention_heads)

    @property
    def inner(self) -> int:
        """Width within the feed-forward of a layer."""
        named = "hidden_dim" if self.config.model_type == "distilbert" else "intermediate_size"
        return int(getattr(self.config, named))

    def forward(
        self, input_ids: Tensor, mask: Tensor, keys: list[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Encode token ids (B, T): states (B, T, D) of the last layer, and no map."""
        found = self.encoder(input_ids=input_ids, attention_mask=mask.long())
        return found.last_hidden_state, ()

    def layer_by_layer(
        self, input_ids: Tensor, mask: Tensor, keys: list[Tensor]
    ) -> Iterator[tuple[Tensor, None]]:
        """Yield states (B, T, D) after the embeddings and after every layer, without a map."""
        found = self.encoder(
            input_ids=input_ids, attention_mask=mask.long(), output_hidden_states=True
        )
        for states in found.hidden_states:
            yield states, None

    def freeze_lower(self, layers: int) -> None:
        """Stop training the embeddings and the lowest ``layers`` layers."""
        if layers > 0:
            parts: Any = self.encoder
            parts.embeddings.requires_grad_(False)
            for layer in self.layers[:layers]:
                layer.requires_grad_(False)


def plain_stream(encoder: nn.Module, *, max_length: int) -> TextStream | WholeEncoder:
    """The encoder as it is, for a model that reads its states.

    Raises:
        ConfigError: it is of no family that can be run, or has too few positions.
    """
    if is_whole(encoder):
        return WholeEncoder(encoder, max_length=max_length)
    return TextStream.plain(encoder, max_length=max_length)


def is_whole(encoder: nn.Module) -> bool:
    """Whether an encoder is run in one piece."""
    return getattr(getattr(encoder, "config", None), "model_type", None) in WHOLE_FAMILIES
