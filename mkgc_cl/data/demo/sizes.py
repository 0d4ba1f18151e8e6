"""Sizes of a synthetic stream."""

from __future__ import annotations

from dataclasses import dataclass

from mkgc_cl.errors import DataError

MIN_IMAGE = 16
"""Below this side in pixels the scenes are no longer told apart."""


@dataclass(frozen=True, slots=True)
class DemoSizes:
    """Number of samples and size of their images.

    Args:
        train_per_task: training samples of each task.
        valid_per_task: validation samples of each task.
        test: test samples: the sentences every tagging task shares, or all relation tasks together.
        image: side of the images in pixels.

    Raises:
        DataError: a size that is not a positive whole number, or images that are too small.
    """

    train_per_task: int
    valid_per_task: int
    test: int
    image: int

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise DataError(f"size {name!r} is {value!r}; give a whole number of at least 1")
        if self.image < MIN_IMAGE:
            raise DataError(f"images of {self.image} pixels are too small; use {MIN_IMAGE}+")
