"""Coupled cross-modal attention: words that saw the image, an image that read the words."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mkgc_cl.models.attention_blocks import AttentionBlock
from mkgc_cl.seeds import seeded

Projections = Literal["one", "two"]


class CoupledFusion(nn.Module):
    """The multimodal interaction of UMT (Yu et al. 2020) on top of both encoders.

    ``S`` is the text after one more self-attention layer, ``V`` the projected grid. Image-aware
    words are ``A = Cross(S, V)``, the word-aware image is ``B = Cross(V, S)``, word-aware words
    are ``C = Cross(S, B)``; a visual gate ``g = sigmoid(W [C ; A])`` lets ``[C ; g * A]`` through.

    Args:
        width: width D of the text states.
        grid_width: width of the grid's features.
        heads: number of heads of every block.
        inner: width of every feed-forward layer.
        dropout: of every block.
        projections: ``"one"`` projection of the grid for both directions, or ``"two"`` (RELEASED
            CODE: one for A and another for B).
        auxiliary: also have a self-attention layer for span detection, on text alone.
        seed: seed of every parameter.
    """

    def __init__(
        self,
        *,
        width: int,
        grid_width: int,
        heads: int,
        inner: int,
        dropout: float,
        projections: Projections = "one",
        auxiliary: bool,
        seed: int,
    ) -> None:
        super().__init__()

        def block(name: str) -> AttentionBlock:
            # each part draws alone, so that none depends on whether another is there
            with seeded(seed, f"fusion/{name}"):
                return AttentionBlock(width, heads=heads, inner=inner, dropout=dropout)

        def linear(name: str, inputs: int) -> nn.Linear:
            with seeded(seed, f"fusion/{name}"):
                return nn.Linear(inputs, width)

        self.main = block("main")
        self.auxiliary = block("auxiliary") if auxiliary else None
        self.project = linear("project", grid_width)
        self.project_asking = linear("project-asking", grid_width) if projections == "two" else None
        self.image_aware_words = block("image-aware-words")
        self.word_aware_image = block("word-aware-image")
        self.word_aware_words = block("word-aware-words")
        self.gate = linear("gate", 2 * width)

    def forward(
        self, text: Tensor, text_mask: Tensor, grid: Tensor, grid_mask: Tensor, index: Tensor
    ) -> Tensor:
        """Fuse a batch.

        Args:
            text: (B, T, D) states of the text encoder.
            text_mask: (B, T) bool, true on real tokens.
            grid: (U, P, D_v) features of the distinct images.
            grid_mask: (U, P) bool, false on images that are not there.
            index: (B,) row of the image of each sample.

        Returns:
            (B, T, 2D) the word-aware and the gated image-aware half of every token.
        """
        words = self.main(text, text, text_mask)
        answering = self.project(grid)[index]
        asking = answering if self.project_asking is None else self.project_asking(grid)[index]
        mask = grid_mask[index]
        image_aware = self.image_aware_words(words, answering, mask)
        image = self.word_aware_image(asking, words, text_mask)
        word_aware = self.word_aware_words(words, image, mask)
        gate = torch.sigmoid(self.gate(torch.cat([word_aware, image_aware], dim=-1)))
        return torch.cat([word_aware, gate * image_aware], dim=-1)
