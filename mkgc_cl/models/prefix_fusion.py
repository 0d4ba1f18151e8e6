"""Two encoders layer by layer: images read words as a prefix, words read images as they think.

Chen et al. 2022, "Hybrid Transformer with Multi-level Fusion for Multimodal Knowledge Graph
Completion" (SIGIR): prefix-guided interaction and correlation-aware fusion of its M-Encoder.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mkgc_cl.errors import ConfigError
from mkgc_cl.models.attention import split_heads
from mkgc_cl.models.captions import CaptionStream
from mkgc_cl.models.text import TextStream, attend_text, finish_text_layer, project_text
from mkgc_cl.models.vision import VisionStream
from mkgc_cl.seeds import seeded


class PrefixFusion(nn.Module):
    """Run a text and a vision stream whose top layers take turns.

    Layer by layer, counted from the top where one stream is deeper: the vision block attends over
    its own tokens and, before them, over keys and values of the text layer below (prefix-guided
    interaction); then the text layer adds to its feed-forward what its tokens find in the block's
    output (correlation-aware fusion, :func:`correlate`).

    PAPER: both streams are equally wide (768). Where they are not, linear maps of each layer that
    interacts stand between: keys and values of the words come to the vision's width, and what the
    block leaves to the text's.

    Args:
        text: the text stream.
        vision: the vision stream; or captions in its place, whose layers then read words as a
            ViT's blocks do.
        layers: how many top layers interact (PAPER: 4 of 12).
        generator: source of the fusion weights' initial values (normal, as BERT's own).
        seed: seed of the maps between widths.

    Raises:
        ConfigError: the streams have not that many layers to give.
    """

    def __init__(
        self,
        text: TextStream,
        vision: VisionStream | CaptionStream,
        *,
        layers: int,
        generator: torch.Generator,
        seed: int = 0,
    ) -> None:
        super().__init__()
        # the first text layer that interacts needs one below it, whose keys the block reads
        most = min(len(text.layers) - 1, len(vision.blocks))
        if not 1 <= layers <= most:
            raise ConfigError([f"fusion_layers={layers}; these encoders allow 1 to {most}"])
        self.weights = nn.ParameterList()
        for layer in text.layers[-layers:]:
            weight = torch.empty(layer.intermediate.dense.out_features, text.width)
            nn.init.normal_(weight, std=0.02, generator=generator)
            # RELEASED CODE adds a bias of its own to the one the feed-forward has; PAPER: none
            self.weights.append(nn.Parameter(weight))
        self.bridges: nn.ModuleList | None = None
        if text.width != vision.width:
            with seeded(seed, "fusion-bridges"):
                self.bridges = nn.ModuleList(
                    _Bridge(text.width, vision.width) for _ in self.weights
                )

    def forward(
        self,
        text: TextStream,
        vision: VisionStream | CaptionStream,
        *,
        words: tuple[Tensor, Tensor],
        patches: tuple[Tensor, Tensor],
        visual_index: Tensor,
    ) -> Tensor:
        """Encode embedded samples.

        Args:
            text: the text stream.
            vision: the vision stream.
            words: embedded tokens (B, T, D) and their mask (B, T), true on real ones.
            patches: states (U, P, D) that leave the vision blocks below the fused ones, and their
                mask (U, P), true on tokens of images that are there.
            visual_index: (B,) row of the visual input of each sample.

        Returns:
            States (B, T, D) of the last text layer.
        """
        states, mask = words
        seen, seen_mask = patches
        depth = len(self.weights)
        prefix = (states, states)  # replaced at once: at least one layer does not interact
        for layer in text.layers[:-depth]:
            context, prefix = _read(layer, states, mask)
            states = finish_text_layer(layer, context, states)
        # from here on an image looks different to every sample
        seen, seen_mask = seen[visual_index], seen_mask[visual_index]
        bridges: Any = self.bridges or [None] * depth
        upper = zip(
            self.weights, bridges, text.layers[-depth:], vision.blocks[-depth:], strict=True
        )
        for weight, bridge, layer, block in upper:
            if bridge is not None:
                prefix = bridge.to_vision(prefix)
            context = attend_with_prefix(vision, block, seen, seen_mask, prefix, mask)
            seen = vision.finish(block, context, seen)
            context, prefix = _read(layer, states, mask)
            left = seen if bridge is None else bridge.to_text(seen)
            found = F.linear(correlate(context, left, seen_mask), weight)
            states = finish_text_layer(layer, context, states, added=found)
        return states


class _Bridge(nn.Module):
    """Linear maps between the widths of a text layer, D, and a vision block, D_v."""

    def __init__(self, text: int, vision: int) -> None:
        super().__init__()
        self.key = nn.Linear(text, vision)
        self.value = nn.Linear(text, vision)
        self.to_text = nn.Linear(vision, text)

    def to_vision(self, prefix: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Keys and values of the words, each (B, T, D), as (B, T, D_v)."""
        key, value = prefix
        return self.key(key), self.value(value)


def attend_with_prefix(
    vision: VisionStream | CaptionStream,
    block: Any,
    seen: Tensor,
    seen_mask: Tensor,
    prefix: tuple[Tensor, Tensor],
    mask: Tensor,
) -> Tensor:
    """Attention of a vision block over the words before its own tokens.

    RELEASED CODE attends to padding of the text too, so what a sample's image says depends on how
    far the sample was padded; here padding is masked.

    Args:
        vision: the vision stream.
        block: one of its blocks, of H heads.
        seen: (B, P, D) visual tokens.
        seen_mask: (B, P) bool, true on those of images that are there.
        prefix: keys and values, each (B, T, D), of the text layer below, as wide as ``seen``.
        mask: (B, T) bool, true on real words.

    Returns:
        Context (B, P, D) before the block's output projection.
    """
    query, key, value = vision.project(block, seen)
    heads = query.shape[1]  # the text's own number of heads may be another
    ahead_key, ahead_value = (split_heads(part, heads) for part in prefix)
    both = (query, torch.cat([ahead_key, key], dim=2), torch.cat([ahead_value, value], dim=2))
    return vision.attend(block, both, torch.cat([mask, seen_mask], 1))


def correlate(context: Tensor, seen: Tensor, seen_mask: Tensor) -> Tensor:
    r"""What each token finds in the image: ``softmax(x V^T) V``, one head, not scaled.

    PAPER: x is the text's hidden state. RELEASED CODE takes the context of the layer's attention
    before its output projection, and so does this.

    Args:
        context: (B, T, D) of the text layer's attention.
        seen: (B, P, D) output V of the vision block of the same layer.
        seen_mask: (B, P) bool, true on tokens of images that are there. RELEASED CODE reads blank
            tokens where there is no crop.

    Returns:
        (B, T, D).
    """
    scores = (context @ seen.transpose(1, 2)).masked_fill(~seen_mask[:, None], float("-inf"))
    return scores.softmax(dim=-1) @ seen


def _read(layer: Any, states: Tensor, mask: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Context of a text layer's attention, and its keys and values, each (B, T, D)."""
    query, key, value = project_text(layer.attention.self, states)
    context, _ = attend_text(layer.attention.self, (query, key, value), mask, explicit=False)
    return context, (key, value)
