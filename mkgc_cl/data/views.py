"""Which images of a sample a model looks at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ViewPlan:
    """Which images of a sample become tokens, and at what size.

    Args:
        image: side of the whole image in pixels, 0 to leave it out.
        grounding: side of the grounding crops in pixels, 0 for none.
        detected: side of the detected crops in pixels, 0 for none.
        crops: how many crops of each kind a sample has at most (the released code uses three).
        caption: tokens of the caption, at most; 0 for none. What is longer is cut.
        behind: whether the caption stands behind the text, in the text encoder's own input (ITA;
            Wang et al., NAACL 2022), rather than beside it.
    """

    image: int
    grounding: int = 0
    detected: int = 0
    crops: int = 3
    caption: int = 0
    behind: bool = False

    @property
    def looks(self) -> bool:
        """Whether anything of a sample but its text is read: an image, a crop or a caption."""
        return max(self.image, self.grounding, self.detected, self.caption) > 0

    @property
    def crop_sides(self) -> tuple[int, ...]:
        """Side of every crop slot in order: grounding crops first."""
        sides = [side for side in (self.grounding, self.detected) if side > 0]
        return tuple(side for side in sides for _ in range(self.crops))
