"""Sizes of a demonstration stream."""

from __future__ import annotations

from dataclasses import dataclass

from mkgc_cl.errors import DataError

MIN_PICTURE = 16
"""Below this side in pixels the scenes are no longer told apart."""


@dataclass(frozen=True, slots=True)
class DemoSizes:
    """Number of posts and size of their pictures.

    Args:
        train_per_task: training posts of each task.
        valid_per_task: validation posts of each task.
        test: test posts: the sentences every tagging task shares, or all relation tasks together.
        picture: side of the pictures in pixels.

    Raises:
        DataError: a size that is not a positive whole number, or pictures that are too small.
    """

    train_per_task: int
    valid_per_task: int
    test: int
    picture: int

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise DataError(f"size {name!r} is {value!r}; give a whole number of at least 1")
        if self.picture < MIN_PICTURE:
            raise DataError(f"pictures of {self.picture} pixels are too small; use {MIN_PICTURE}+")
