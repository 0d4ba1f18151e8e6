"""The text stream: any BERT-family encoder of ``transformers``, run layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from mkgc_cl.errors import ConfigError
from mkgc_cl.models.attention import (
    SharedKeyAttention,
    explicit_attention,
    fused_attention,
    split_heads,
)
from mkgc_cl.models.mpnet import named_as_bert, relative_positions

# Families whose layers run as BERT's do. Others have the same parts in another order
# (megatron-bert, roberta-prelayernorm, xlm-roberta-xl, esm) or other attention under the same names
# (nystromformer, yoso, mra): run from their parts they give wrong states without any error.
FAMILIES = frozenset(
    ("bert", "camembert", "data2vec-text", "electra", "ernie", "mpnet", "roberta", "xlm-roberta")
)


class TextStream(nn.Module):
    """Run a BERT-family encoder with shared-key attention in its top layers.

    The layers are run from their parts (query, key, value, output, feed-forward), which the family
    shares by name; so the lower layers use fused attention, the top ones return their maps, and
    every pretrained tensor still in use stays where it was. Of MPNet the parts are renamed; in a
    layer with the shared key its bias map (eq. 10) takes the place of the relative positions.

    Args:
        encoder: a model with ``embeddings`` and ``encoder.layer`` as BERT has them, or MPNet.
        interaction_layers: how many top layers return their attention maps.
        shared_key: replace the self-key of those layers by the shared key.
        max_length: longest token sequence.
        generator: source of the bias maps' initial values.

    Attributes:
        config: the encoder's ``transformers`` configuration, from which it is built again.

    Raises:
        ConfigError: the encoder is not of the BERT family, or is shorter than asked for.
    """

    embeddings: Any
    layers: Any
    config: Any

    def __init__(
        self,
        encoder: nn.Module,
        *,
        interaction_layers: int,
        shared_key: bool,
        max_length: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        encoder = named_as_bert(encoder)
        check_bert_family(encoder)
        self.config = getattr(encoder, "config", None)
        self.embeddings = encoder.embeddings
        self.layers = encoder.encoder.layer  # type: ignore[union-attr]
        if (table := relative_positions(encoder)) is not None:
            self.relative = table
        self.width = int(self.embeddings.word_embeddings.weight.shape[1])
        self.max_length = max_length
        self.first_interaction = len(self.layers) - interaction_layers
        if self.first_interaction < 0:
            raise ConfigError(
                [f"the text encoder has {len(self.layers)} layers, fewer than {interaction_layers}"]
            )
        positions = self.embeddings.position_embeddings.weight.shape[0] - self._position_offset
        if max_length > positions:
            raise ConfigError([f"max_text_length={max_length} but the encoder has {positions}"])
        if shared_key:
            for layer in self.layers[self.first_interaction :]:
                attention = layer.attention.self
                layer.attention.self = SharedKeyAttention(
                    attention.query,
                    attention.value,
                    heads=attention.num_attention_heads,
                    max_length=max_length,
                    dropout=attention.dropout.p,
                    generator=generator,
                )

    @classmethod
    def plain(cls, encoder: nn.Module, *, max_length: int) -> TextStream:
        """The encoder as it is: no layer interacts, so nothing is drawn."""
        return cls(
            encoder,
            interaction_layers=0,
            shared_key=False,
            max_length=max_length,
            generator=torch.Generator(),
        )

    @property
    def heads(self) -> int:
        """Attention heads of a layer."""
        return int(self.layers[0].attention.self.num_attention_heads)

    @property
    def inner(self) -> int:
        """Width within the feed-forward of a layer."""
        return int(self.layers[0].intermediate.dense.out_features)

    @property
    def _position_offset(self) -> int:
        # RoBERTa's table starts after the padding id; BERT's starts at 0.
        return int(getattr(self.embeddings, "padding_idx", -1)) + 1

    def positions(self, index: Tensor) -> Tensor:
        """Raw position embeddings of token positions ``index`` (...,): (..., D) (eq. 3)."""
        rows: Tensor = self.embeddings.position_embeddings(index + self._position_offset)
        return rows

    def forward(
        self, input_ids: Tensor, mask: Tensor, keys: list[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Encode token ids.

        Args:
            input_ids: (B, T) token ids.
            mask: (B, T) bool, true on real tokens.
            keys: the shared key of each interaction layer, empty with self-keys.

        Returns:
            States (B, T, D) of the last layer and the interaction layers' maps, each (B, H, T, T).
        """
        maps = []
        for states, scores in self.layer_by_layer(input_ids, mask, keys):  # noqa: B007
            if scores is not None:
                maps.append(scores)
        return states, tuple(maps)

    def layer_by_layer(
        self, input_ids: Tensor, mask: Tensor, keys: list[Tensor]
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield states (B, T, D) after the embeddings and after every layer, with its map.

        Args:
            input_ids: (B, T) token ids.
            mask: (B, T) bool, true on real tokens.
            keys: the shared key of each interaction layer, empty with self-keys.
        """
        states = self.embeddings(input_ids=input_ids)
        yield states, None
        for index, layer in enumerate(self.layers):
            attention = layer.attention.self
            if isinstance(attention, SharedKeyAttention):
                context, scores = attention(states, mask, keys[index - self.first_interaction])
            else:
                explicit = index >= self.first_interaction
                projected = project_text(attention, states)
                context, scores = attend_text(attention, projected, mask, explicit=explicit)
            states = finish_text_layer(layer, context, states)
            yield states, scores

    def freeze_lower(self, layers: int) -> None:
        """Stop training the embeddings and the lowest ``layers`` layers.

        Raises:
            ConfigError: there are fewer.
        """
        if layers > len(self.layers):
            most = len(self.layers)
            raise ConfigError([f"freeze_lower={layers}; the text encoder has {most} layers"])
        if layers > 0:
            self.embeddings.requires_grad_(False)
            for layer in self.layers[:layers]:
                layer.requires_grad_(False)


def check_bert_family(encoder: nn.Module) -> None:
    """Raise :class:`ConfigError` unless ``encoder`` has the parts :class:`TextStream` runs."""
    try:
        layer: Any = encoder.encoder.layer[0]  # type: ignore[index, union-attr]
        parts = (
            encoder.embeddings.word_embeddings,  # type: ignore[union-attr]
            encoder.embeddings.position_embeddings,  # type: ignore[union-attr]
            layer.attention.self.query,
            layer.attention.self.key,
            layer.attention.self.value,
            layer.attention.output.dense,
            layer.intermediate.dense,
            layer.intermediate.intermediate_act_fn,
            layer.output.dense,
        )
    except AttributeError as error:
        raise ConfigError(
            [f"{type(encoder).__name__} is not a BERT-family encoder ({error}); use one"]
        ) from error
    del parts
    family = getattr(getattr(encoder, "config", None), "model_type", None)
    if family is not None and family not in FAMILIES:
        raise ConfigError(
            [f"{type(encoder).__name__} ({family}) is not run as BERT is; use {sorted(FAMILIES)}"]
        )
    if hasattr(encoder, "embeddings_project"):
        raise ConfigError(
            [
                f"{type(encoder).__name__} has embeddings of another width than its layers, which "
                "is not supported; use one with embedding_size equal to hidden_size (electra-base)"
            ]
        )


def project_text(attention: Any, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value of a BERT layer's attention, each (B, T, D) of states (B, T, D)."""
    return attention.query(states), attention.key(states), attention.value(states)


def attend_text(
    attention: Any, projected: tuple[Tensor, Tensor, Tensor], mask: Tensor, *, explicit: bool
) -> tuple[Tensor, Tensor | None]:
    """Ordinary attention of a BERT layer.

    Args:
        attention: the layer's ``attention.self``.
        projected: of :func:`project_text`.
        mask: (B, T) bool, true on real tokens.
        explicit: return the map too.

    Returns:
        Context (B, T, D) before the output projection and, if explicit, the map (B, H, T, T).
    """
    query, key, value = (split_heads(part, attention.num_attention_heads) for part in projected)
    dropout = attention.dropout.p if attention.training else 0.0
    bias = position_bias(attention, query.shape[2])
    if not explicit:
        return fused_attention(query, key, value, mask, dropout, bias), None
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    if bias is not None:
        scores = scores + bias
    return explicit_attention(scores, value, mask, dropout), scores


def position_bias(attention: Any, length: int) -> Tensor | None:
    """What relative positions add to the scores of a layer: (1, H, T, T); nothing but of MPNet."""
    own = getattr(attention, "position_bias", None)
    return None if own is None else own(length)


def finish_text_layer(
    layer: Any, context: Tensor, states: Tensor, *, added: Tensor | None = None
) -> Tensor:
    """Output projection and feed-forward of a BERT layer.

    Args:
        layer: the layer.
        context: (B, T, D) of its attention.
        states: (B, T, D) that went into the layer.
        added: (B, T, I) what joins the feed-forward's inner layer of width I before its activation.

    Returns:
        States (B, T, D) that leave the layer.
    """
    attended = layer.attention.output(context, states)
    if added is None:
        inner = layer.intermediate(attended)
    else:
        inner = layer.intermediate.dense(attended) + added
        inner = layer.intermediate.intermediate_act_fn(inner)
    finished: Tensor = layer.output(inner, attended)
    return finished
