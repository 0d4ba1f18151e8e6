"""Which images become tokens of a ViT, and how large they are."""

from __future__ import annotations

from torch import nn

from mkgc_cl._checks import one_of, require
from mkgc_cl.data.views import ViewPlan
from mkgc_cl.data.visuals import Images
from mkgc_cl.models.captions import CAPTION_LENGTH
from mkgc_cl.models.encoders import image_side
from mkgc_cl.models.vision import check_vit


def view_plan(images: Images, vision: nn.Module) -> ViewPlan:
    """Sides of the images, in the released code's proportions (224 : 128 : 64), whole patches.

    Args:
        images: which images become tokens; ``"crops"`` is the released code's input. With
            ``"captions"`` words do.
        vision: a timm ViT, or for captions a text encoder.

    Raises:
        ConfigError: ``images`` is unknown, or ``vision`` is no timm ViT.
    """
    if images == "captions":
        return ViewPlan(image=0, caption=CAPTION_LENGTH)
    check_vit(vision)
    side = image_side(vision)
    patch = int(vision.patch_embed.patch_size[0])  # type: ignore[index, union-attr]
    scaled = [max(patch, round(side * part / 224 / patch) * patch) for part in (128, 64)]
    plans = {
        "image": ViewPlan(image=side),
        "crops": ViewPlan(image=0, grounding=scaled[0], detected=scaled[1]),
        "image+crops": ViewPlan(image=side, grounding=scaled[0], detected=scaled[1]),
    }
    require(one_of("images", images, sorted([*plans, "captions"])))
    return plans[images]
