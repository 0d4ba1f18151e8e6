"""Captions in the place of images: read by a text encoder of their own."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.views import ViewPlan
from mkgc_cl.errors import ConfigError
from mkgc_cl.models.attention import fused_attention, split_heads
from mkgc_cl.models.feature_cache import EncoderDigest, FeatureCache, image_keys
from mkgc_cl.models.text import TextStream, finish_text_layer, position_bias, project_text
from mkgc_cl.models.whole_encoder import plain_stream

Part = Literal["grid", "vector"]
"""What fusion models read of an image or a caption: its cells or words, or one vector."""

CAPTION_LENGTH = 64
"""Most tokens of a caption, what opens and closes it included; what is longer is cut."""


class CaptionStream(TextStream):
    """The vision stream of a model that reads captions: tokens of words where a ViT has patches.

    Stands for a :class:`~mkgc_cl.models.vision.VisionStream`; its class token is the visual one.
    Captions are padded to one length P, so that maps of a sample have one shape in every batch.

    Args:
        encoder: a BERT-family encoder.
        plan: with the length of captions.
        interaction_layers: how many top layers return their attention maps.
        shared_key: replace the self-key of those layers by the shared key.
        generator: source of the bias maps' initial values.

    Raises:
        ConfigError: the encoder is not of the BERT family, or is shorter than asked for.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        plan: ViewPlan,
        interaction_layers: int,
        shared_key: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__(
            encoder,
            interaction_layers=interaction_layers,
            shared_key=shared_key,
            max_length=plan.caption,
            generator=generator,
        )
        self.plan = plan
        self.length = plan.caption

    def read(
        self, batch: MultimodalBatch, keys: list[Tensor]
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Encode the distinct captions of a batch: states (U, P, D), mask (U, P) and maps."""
        mask = batch["caption_mask"]
        states, maps = self(batch["caption_ids"], mask, keys)
        return states, mask, maps

    # ---- one layer at a time, as prefix fusion runs it ----

    @property
    def blocks(self) -> Any:
        """The layers."""
        return self.layers

    def lower(self, batch: MultimodalBatch, blocks: int) -> tuple[Tensor, Tensor]:
        """States (U, P, D) that leave the lowest ``blocks`` layers, and their mask (U, P)."""
        states: Tensor = self.embeddings(input_ids=batch["caption_ids"])
        mask = batch["caption_mask"]
        for block in self.layers[:blocks]:
            context = self.attend(block, self.project(block, states), mask)
            states = self.finish(block, context, states)
        return states, mask

    def project(self, block: Any, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value of a layer, each (U, H, P, D/H)."""
        attention = block.attention.self
        query, key, value = (
            split_heads(part, attention.num_attention_heads)
            for part in project_text(attention, states)
        )
        return query, key, value

    def attend(self, block: Any, parts: tuple[Tensor, Tensor, Tensor], mask: Tensor) -> Tensor:
        """Context (U, P, D) of a layer's attention over keys and values that may be longer."""
        attention = block.attention.self
        dropout = attention.dropout.p if attention.training else 0.0
        query, key, _ = parts
        bias = position_bias(attention, query.shape[2])
        if bias is not None:  # none to what stands before the caption
            bias = F.pad(bias, (key.shape[2] - query.shape[2], 0))
        return fused_attention(*parts, mask, dropout, bias)

    def finish(self, block: Any, context: Tensor, states: Tensor) -> Tensor:
        """States (U, P, D) that leave a layer."""
        return finish_text_layer(block, context, states)


class CaptionEncoder(nn.Module):
    """Captions for fusion models: their tokens as the grid, or one vector as the only object.

    Stands for a :class:`~mkgc_cl.models.images.ImageEncoder`.

    Args:
        encoder: an encoder of BERT's family, or one that is run whole.
        train_backbone: train its weights.

    Attributes:
        cache: where features are kept by caption, for an encoder that does not train; ``None``
            encodes anew.
    """

    cache: FeatureCache | None

    def __init__(self, encoder: nn.Module, *, train_backbone: bool = False) -> None:
        super().__init__()
        self.stream = plain_stream(encoder, max_length=CAPTION_LENGTH)
        self.width = self.stream.width
        self.trains = train_backbone
        self.plan = ViewPlan(image=0, caption=CAPTION_LENGTH)
        if not train_backbone:
            self.requires_grad_(False)
        self.cache = None
        self._digest = EncoderDigest(self.stream, self.stream.config)

    def train(self, mode: bool = True) -> CaptionEncoder:
        """Set the mode of what trains; a frozen encoder drops nothing out."""
        super().train(mode and self.trains)
        return self

    def grid_of(self, batch: MultimodalBatch) -> tuple[Tensor, Tensor]:
        """Words of the captions (U, P, D) and their mask (U, P), nothing where there are none."""
        return self._read(batch, "grid"), _words(batch)

    def objects_of(self, batch: MultimodalBatch) -> tuple[Tensor, Tensor]:
        """One object per caption, its class token (U, 1, D), and whether it says anything."""
        return self._read(batch, "vector"), _words(batch).any(dim=1, keepdim=True)

    def vectors_of(self, batch: MultimodalBatch) -> Tensor:
        """One vector per caption (U, D), zero where it says nothing."""
        vectors, present = self.objects_of(batch)
        return vectors[:, 0] * present

    def _read(self, batch: MultimodalBatch, part: Part) -> Tensor:
        """States (U, P, D), or the class token's (U, 1, D), those kept not encoded."""
        ids, mask = batch["caption_ids"], batch["caption_mask"]
        if self.cache is None or self.trains:
            return self._encode(ids, mask, part)
        return self.cache.read_images(
            image_keys(ids.masked_fill(~mask, -1)),
            encoder=self._digest(),
            part=part,
            encode=lambda rows: self._encode(ids[rows], mask[rows], part),
        ).to(ids.device)

    def _encode(self, ids: Tensor, mask: Tensor, part: Part) -> Tensor:
        with torch.set_grad_enabled(self.trains and torch.is_grad_enabled()):
            found: tuple[Tensor, object] = self.stream(ids, mask, [])
        states = found[0]
        return states if part == "grid" else states[:, :1]


def _words(batch: MultimodalBatch) -> Tensor:
    """Mask (U, P) of the words of captions, without what opens and closes them."""
    mask = batch["caption_mask"]
    closing = mask.sum(dim=1, keepdim=True) - 1
    position = torch.arange(mask.shape[1], device=mask.device)
    return (position > 0) & (position < closing)


def share_weights(captions: TextStream, text: TextStream) -> None:
    """Let a caption stream have the weights of the text stream, all but its bias maps.

    What is shared belongs to the text: modulation slows it with the text.

    Raises:
        ConfigError: the streams are not of one shape.
    """
    theirs = dict(text.named_parameters())
    for name, parameter in list(captions.named_parameters()):
        if name.endswith("attention.self.bias"):  # the stream's own map (eq. 10)
            continue
        other = theirs.get(name)
        if other is None or other.shape != parameter.shape:
            raise ConfigError([f"captions cannot share {name} with the text; build both alike"])
        owner, _, own = name.rpartition(".")
        setattr(captions.get_submodule(owner), own, other)
