"""Images for fusion models: a grid of features per image, or one vector per object."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.images import BLANK_GREY
from mkgc_cl.data.views import ViewPlan
from mkgc_cl.errors import ConfigError
from mkgc_cl.models.captions import CAPTION_LENGTH, CaptionEncoder, Part
from mkgc_cl.models.encoders import image_side
from mkgc_cl.models.feature_cache import EncoderDigest, FeatureCache, image_keys, structure
from mkgc_cl.models.token_source import TokenSource
from mkgc_cl.models.vision import VisionStream, pixel_statistics

Objects = Literal["crops", "image", "captions"]


class ImageEncoder(nn.Module):
    """Any timm backbone, frozen unless asked otherwise.

    RELEASED CODE of UMT leaves its "frozen" ResNet in training mode, so that the running statistics
    of BatchNorm follow whatever is trained on: a hidden state that no replay can bring back. Here a
    frozen backbone stays in evaluation mode for ever, and the statistics stand still even where the
    weights train.

    Args:
        backbone: a timm model without classifier: its ``forward_features`` gives tokens (U, P, D),
            class token and registers first, or a map.
        train_backbone: train its weights.

    Attributes:
        cache: where features are kept by image, for a backbone that does not train; ``None``
            encodes anew.

    Raises:
        ConfigError: the backbone gives neither, or does not say what side its images have.
    """

    backbone: Any
    cache: FeatureCache | None
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, backbone: nn.Module, *, train_backbone: bool = False) -> None:
        super().__init__()
        self.side = image_side(backbone)
        if not self.side or not hasattr(backbone, "forward_features"):
            raise ConfigError(
                [f"{type(backbone).__name__} is not a timm model with a known image side; use one"]
            )
        self.backbone = backbone
        self.trains = train_backbone
        if not train_backbone:
            backbone.requires_grad_(False)
        for name, channel in pixel_statistics(backbone).items():
            self.register_buffer(f"pixel_{name}", channel, persistent=False)
        token = getattr(backbone, "cls_token", None) is not None
        self._pooled = token
        self._prefix = int(getattr(backbone, "num_prefix_tokens", token))
        self._channels_last = getattr(backbone, "output_fmt", "NCHW") == "NHWC"
        self.eval()
        with torch.no_grad():  # look once rather than trust: backbones differ in what they return
            self.width = int(self._tokens(torch.zeros(1, 3, self.side, self.side)).shape[-1])
        self.train()
        self.cache = None
        self._digest = EncoderDigest(backbone, structure(backbone))

    def train(self, mode: bool = True) -> ImageEncoder:
        """Set the mode of what trains; statistics of BatchNorm never move."""
        super().train(mode and self.trains)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def grid(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode whole images as grids.

        Args:
            images: (U, 3, S, S) uint8.

        Returns:
            Features (U, P, D) and a mask (U, P) that is false on blank images.
        """
        tokens = self._read(images, "grid")
        return tokens, shown(images)[:, None].expand(-1, tokens.shape[1])

    def grid_of(self, batch: MultimodalBatch) -> tuple[Tensor, Tensor]:
        """Encode the whole images of a batch; see :meth:`grid`."""
        return self.grid(batch["images"])

    def vectors_of(self, batch: MultimodalBatch) -> Tensor:
        """One vector per distinct whole image of a batch (U, D), zero where it is blank."""
        images = batch["images"][:, None]
        return self.objects(images, shown(images))[:, 0]

    def objects(self, pixels: Tensor, present: Tensor) -> Tensor:
        """Encode objects as the class token of their image, or the mean of its grid.

        Args:
            pixels: (U, N, 3, S, S) uint8.
            present: (U, N) bool, true where there is an object; no other is encoded.

        Returns:
            (U, N, D), zero where there is no object.
        """
        if not bool(present.any()):
            return self.pixel_mean.new_zeros(*present.shape, self.width)
        found = self._read(pixels[present], "vector")[:, 0]
        vectors = found.new_zeros(*present.shape, self.width)
        return vectors.index_put((present,), found)

    def _read(self, pixels: Tensor, part: Part) -> Tensor:
        """Features of (U, 3, S, S): (U, P, D) of the grid or (U, 1, D), those kept not encoded."""
        if self.cache is None or self.trains:
            return self._encode(pixels, part)
        return self.cache.read_images(
            image_keys(pixels, self.pixel_mean, self.pixel_std),
            encoder=self._digest(),
            part=part,
            encode=lambda rows: self._encode(pixels[rows], part),
        ).to(pixels.device)

    def _encode(self, pixels: Tensor, part: Part) -> Tensor:
        tokens = self._tokens(pixels)
        if part == "vector" and self._pooled:
            return tokens[:, :1]
        grid = tokens[:, self._prefix :]
        return grid if part == "grid" else grid.mean(dim=1, keepdim=True)

    def _tokens(self, pixels: Tensor) -> Tensor:
        """Run the backbone on (U, 3, S, S): (U, P, D), class token and registers included."""
        with torch.set_grad_enabled(self.trains and torch.is_grad_enabled()):
            normal = (pixels.float() / 255.0 - self.pixel_mean) / self.pixel_std
            features: Any = self.backbone.forward_features(normal)
        dims = features.dim() if isinstance(features, Tensor) else 0
        if dims not in (3, 4):
            raise ConfigError(
                [f"{type(self.backbone).__name__} gives neither tokens nor a map; use another"]
            )
        if dims == 4 and not self._channels_last:
            features = features.permute(0, 2, 3, 1)
        tokens: Tensor = features.flatten(1, -2)
        return tokens


def shown(pixels: Tensor) -> Tensor:
    """Which images (..., 3, S, S) uint8 show something: (...) bool, false on the blank one.

    RELEASED CODE of UMT shows a fixed image where one cannot be read; an image that is not there
    takes no part here.
    """
    return (pixels != BLANK_GREY).flatten(-3).any(dim=-1)


def object_plan(objects: Objects, *, side: int, most: int) -> ViewPlan:
    """Views that objects are taken from, all of the backbone's side."""
    if objects == "captions":
        return ViewPlan(image=0, caption=CAPTION_LENGTH)
    if objects == "image":
        return ViewPlan(image=side)
    return ViewPlan(image=0, grounding=side, detected=side, crops=most)


def visual_encoder(
    module: nn.Module, *, images: str, train_backbone: bool
) -> ImageEncoder | CaptionEncoder:
    """Return what a fusion model reads images by, or captions in their place."""
    if images == "captions":
        return CaptionEncoder(module, train_backbone=train_backbone)
    return ImageEncoder(module, train_backbone=train_backbone)


def keep_images(model: nn.Module, cache: FeatureCache) -> bool:
    """Let the frozen encoders of images in a model keep what they read, of captions likewise.

    A vision stream keeps what leaves its frozen blocks.

    Returns:
        Whether it has one.
    """
    readers = [
        part
        for part in model.modules()
        if isinstance(part, ImageEncoder | CaptionEncoder | TokenSource | VisionStream)
        and not part.trains
    ]
    for reader in readers:
        reader.cache = cache
    return bool(readers)


def slot_pixels(batch: MultimodalBatch, plan: ViewPlan) -> tuple[Tensor, Tensor]:
    """Take the object slots of every visual input as they stand.

    Args:
        batch: with the crops of ``plan``, or the whole images, which are then the only object.
        plan: of :func:`object_plan`.

    Returns:
        Pixels (U, V, 3, S, S) and which of them show an object (U, V); V is 1 for whole images.
    """
    if plan.image:
        images = batch["images"][:, None]
        return images, shown(images)
    crops = torch.stack([batch.crop(slot) for slot in range(len(plan.crop_sides))], dim=1)
    return crops, batch.crops_present & shown(crops)


def object_pixels(batch: MultimodalBatch, plan: ViewPlan, most: int) -> tuple[Tensor, Tensor]:
    """Take the first objects of every visual input: grounding crops, then detected ones.

    Args:
        batch: see :func:`slot_pixels`.
        plan: see :func:`slot_pixels`.
        most: number of objects N.

    Returns:
        Pixels (U, N, 3, S, S) and which of them show an object (U, N); N is 1 for whole images.
    """
    pixels, present = slot_pixels(batch, plan)
    # stable, so that those that are there move up in their order
    first = present.long().argsort(dim=1, descending=True, stable=True)[:, :most]
    rows = torch.arange(len(pixels), device=pixels.device)[:, None]
    return pixels[rows, first], present[rows, first]
