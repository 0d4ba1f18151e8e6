"""Decoding every image once, without a model, to see whether it can be."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mkgc_cl._cores import usable_cores
from mkgc_cl.data.images import FileImage
from mkgc_cl.errors import ImageError


def broken_images(paths: Sequence[Path]) -> list[ImageError]:
    """Decode images, several at a time; return what is wrong with those that cannot be.

    Args:
        paths: the files.
    """
    from tqdm import tqdm  # type: ignore[import-untyped]

    # Pillow lets other threads run while it decodes.
    with ThreadPoolExecutor(max_workers=min(8, usable_cores())) as pool:
        found = pool.map(_fault, paths)
        shown = tqdm(found, total=len(paths), unit="image", disable=None, leave=False)
        return [error for error in shown if error is not None]


def _fault(path: Path) -> ImageError | None:
    try:
        FileImage(path).read()
    except ImageError as error:
        return error
    return None
