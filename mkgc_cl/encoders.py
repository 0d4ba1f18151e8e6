"""The encoders of a system: one declaration for recipes, settings files and the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mkgc_cl.config import setting


@dataclass(frozen=True)
class Encoders:
    """Which encoders a system is built on; see :mod:`mkgc_cl.models.encoders` for names.

    The stream must have been built for ``images``.
    """

    text: str = setting("tiny", help="text encoder: tiny, minilm, a hub name or a folder")
    vision: str = setting(
        "tiny",
        help="image encoder: tiny, vit-384, dinov2-s, efficientnet-lite0, a timm name or a folder",
    )
    pretrained: bool = setting(True, help="load pretrained weights where there are any")
    images: Literal["image", "crops", "image+crops", "captions"] = setting(
        "image", help="visual input; captions are read by the text encoder that vision names"
    )
    share_captions: bool = setting(False, help="MSPT reads captions by the text encoder's weights")
    captions_behind_text: bool = setting(
        False, help="systems of text alone read captions behind it"
    )
    max_text_length: int = setting(128, help="most tokens a sample may have", minimum=8)
    freeze_lower: int = setting(0, help="lowest layers that do not train", minimum=0)
    freeze_vision: int | None = setting(
        None,
        help="those of the vision stream of MSPT and MKGformer; freeze_lower by default",
        minimum=0,
    )
