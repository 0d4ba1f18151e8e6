"""A ViT whose tokens come from a CNN: the cells of its last feature map in place of patches.

The CNN stays as it is; the layers above it are drawn. So every model that runs a ViT's layers can
look at images through a CNN, as a hybrid ViT does (Dosovitskiy et al. 2021, section 3.1).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mkgc_cl.models import efficientnet
from mkgc_cl.models.feature_cache import EncoderDigest, FeatureCache, image_keys, structure

PRESET = f"{efficientnet.PRESET}-vit"
WIDTH, DEPTH, HEADS = 384, 6, 6


class TokenSource(nn.Module):
    """Patch embedding by a frozen CNN: one token per cell of its last feature map.

    Has what timm's own patch embedding has. The class token joins the mean of the tokens, see
    :class:`~mkgc_cl.models.vision.VisionStream`.

    Args:
        cnn: a timm CNN without classifier.
        width: width D of the tokens.

    Attributes:
        cache: where feature maps are kept by image; ``None`` encodes anew.
    """

    trains = False
    mean_token = True
    cnn: Any
    cache: FeatureCache | None

    def __init__(self, cnn: nn.Module, *, width: int) -> None:
        super().__init__()
        self.cnn = cnn.requires_grad_(False).eval()
        side = int(self.cnn.pretrained_cfg["input_size"][-1])
        stride = int(self.cnn.feature_info[-1]["reduction"])
        self.img_size = (side, side)
        self.patch_size = (stride, stride)
        self.num_patches = (side // stride) ** 2
        self.reduce = nn.Linear(int(self.cnn.num_features), width)
        self.norm = nn.Identity()
        self.cache = None
        self._digest = EncoderDigest(cnn, structure(cnn))

    def train(self, mode: bool = True) -> TokenSource:
        """Set the mode of the projection; the CNN, and its statistics, stay as they are."""
        super().train(mode)
        self.cnn.eval()
        return self

    def proj(self, pixels: Tensor) -> Tensor:
        """Tokens of normalized pixels (U, 3, s, s), where the cells lie: (U, D, s', s')."""
        side = pixels.shape[-1] // self.patch_size[0]
        cells: Tensor = self.reduce(self._cells(pixels))
        return cells.transpose(1, 2).reshape(len(cells), -1, side, side)

    def forward(self, pixels: Tensor) -> Tensor:
        """Tokens (U, P, D) of normalized pixels (U, 3, S, S)."""
        cells: Tensor = self.reduce(self._cells(pixels))
        return cells

    def _cells(self, pixels: Tensor) -> Tensor:
        """Feature maps as rows of cells (U, P, C), those kept not encoded."""
        if self.cache is None:
            return self._encode(pixels)
        return self.cache.read_images(
            image_keys(pixels),
            encoder=self._digest(),
            part="grid",
            encode=lambda rows: self._encode(pixels[rows]),
        ).to(pixels.device)

    @torch.no_grad()
    def _encode(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.cnn.forward_features(pixels)
        return features.flatten(2).transpose(1, 2)


def efficientnet_vit(*, pretrained: bool = True) -> nn.Module:
    """A ViT of 384 x 6 over EfficientNet-Lite0: 7 x 7 tokens of 224 px images.

    Args:
        pretrained: load the CNN's weights; all others are drawn from the global generator, see
            :func:`mkgc_cl.seeds.seeded`.

    Raises:
        ConfigError: the CNN's package is not there, or carries another file.
    """
    from timm.models.vision_transformer import VisionTransformer

    source = TokenSource(efficientnet.load_efficientnet(pretrained=pretrained), width=WIDTH)
    nn.init.trunc_normal_(source.reduce.weight, std=0.02)  # as timm draws linear layers
    nn.init.zeros_(source.reduce.bias)
    vit: Any = VisionTransformer(
        img_size=source.img_size[0],
        patch_size=source.patch_size[0],
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        num_classes=0,
    )
    vit.patch_embed = source
    vit.pretrained_cfg = source.cnn.pretrained_cfg
    module: nn.Module = vit
    return module
