"""Images of the synthetic stream samples, drawn on demand from a kind and a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from mkgc_cl.data.demo.scenes import SCENES
from mkgc_cl.data.images import fingerprint_bytes
from mkgc_cl.errors import DataError
from mkgc_cl.seeds import derive

_GRAIN = 7.0
"""Standard deviation of the pixel noise, in grey levels of 0..255."""


@dataclass(frozen=True, slots=True)
class DrawnImage:
    """An image of one scene, or of two side by side; an ``ImageSource``.

    Args:
        kinds: one or two names of ``SCENES``, from left to right.
        seed: seed of everything that varies within a kind.
        size: width and height in pixels.

    Raises:
        DataError: if a kind is unknown, or there are none or more than two.
    """

    kinds: tuple[str, ...]
    seed: int
    size: int = 32

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in SCENES]
        if unknown or len(self.kinds) not in (1, 2):
            raise DataError(f"an image is made of one or two of {list(SCENES)}, not {self.kinds}")

    @property
    def key(self) -> str:
        """Identity: equal keys mean equal pixels."""
        return f"demo/{'+'.join(self.kinds)}/{self.seed}/{self.size}"

    def read(self) -> Image.Image:
        """Draw the image, RGB, ``size`` x ``size``."""
        # the name is part of the stream: another one would draw other images
        rng = np.random.default_rng(derive(self.seed, f"demo/picture/{'+'.join(self.kinds)}"))
        # Painted at twice the size, so that the reduction smooths the edges.
        side = 2 * self.size
        canvas = Image.new("RGB", (side, side))
        width = side // len(self.kinds)
        for place, kind in enumerate(self.kinds):
            canvas.paste(SCENES[kind](rng, width, side), (place * width, 0))
        small = canvas.resize((self.size, self.size), Image.Resampling.BOX)
        light = rng.uniform(0.88, 1.12)
        pixels = np.asarray(small, dtype=np.float64) * light
        pixels += rng.normal(0.0, _GRAIN, pixels.shape)
        return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))

    def fingerprint(self) -> str:
        """Short SHA-256 of the pixels, so that a cache notices a change of the painters."""
        return fingerprint_bytes(self.read().tobytes())
