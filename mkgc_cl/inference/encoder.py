"""A frozen text encoder that several readouts share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import torch

from mkgc_cl.data.tokenizer import MarkerKind, WordTokenizer
from mkgc_cl.errors import ConfigError
from mkgc_cl.models.encoders import load_text_encoder
from mkgc_cl.models.text import TextStream
from mkgc_cl.models.whole_encoder import WholeEncoder, plain_stream


@dataclass
class FrozenEncoder:
    """An encoder that never trains, and its tokenizer.

    Args:
        stream: the encoder, in evaluation mode.
        tokenizer: its tokenizer.
        name: what it was loaded by, for people.
        markers: the kind of markers round entities.
    """

    stream: TextStream | WholeEncoder
    tokenizer: WordTokenizer
    name: str
    markers: MarkerKind = "punctuation"

    @classmethod
    def load(
        cls, name: str, *, markers: MarkerKind, max_length: int | None, seed: int
    ) -> FrozenEncoder:
        """Load it by name or folder, see :mod:`mkgc_cl.models.encoders`.

        Args:
            name: of the encoder.
            markers: round both entities of a relation.
            max_length: most tokens of a window; ``None`` for 128, or all positions if there are
                fewer.
            seed: of weights that are drawn.

        Raises:
            ConfigError: it cannot be loaded, or has fewer positions.
        """
        loaded = load_text_encoder(name, markers=markers, whole=True, seed=seed)
        stream = plain_stream(loaded.module, max_length=max_length or 128)
        return cls(stream.eval().requires_grad_(False), loaded.tokenizer, name, markers)

    @property
    def width(self) -> int:
        """Width of its states."""
        return self.stream.width

    @property
    def max_length(self) -> int:
        """Most tokens of a window."""
        return self.stream.max_length

    @property
    def depth(self) -> int:
        """Number of its layers."""
        return len(self.stream.layers)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of weights and markers: what was learnt on one encoder is nothing to another."""
        digest = hashlib.sha256(repr(self.tokenizer.marker_ids).encode())
        for name, tensor in sorted(self.stream.state_dict().items()):
            plain = tensor.detach().cpu().contiguous()
            digest.update(f"{name}{plain.dtype}{tuple(plain.shape)}".encode())
            digest.update(memoryview(plain.view(torch.uint8).numpy()).cast("B"))
        return digest.hexdigest()[:20]


def check_layers(layers: tuple[int, ...], depth: int) -> tuple[int, ...]:
    """Return layers that can be read.

    Raises:
        ConfigError: one is not there or is named twice, or there is none.
    """
    wrong = [
        f"layers names {layer}, but the text encoder has layers 0 (embeddings) to {depth}"
        for layer in layers
        if not 0 <= layer <= depth
    ]
    if not layers or len(set(layers)) < len(layers):
        wrong.append(f"layers={list(layers)}; name at least one, and each once")
    if wrong:
        raise ConfigError(wrong)
    return cast(tuple[int, ...], tuple(layers))
