"""Edits of the download in miniature, and images to decode."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mkgc_cl.data import image_cache
from mkgc_cl.data.images import FileImage


@pytest.fixture
def edit(download: Path) -> Callable[[str, Callable[[str], str]], Path]:
    """Change a text file of the miniature download."""

    def apply(name: str, change: Callable[[str], str]) -> Path:
        path = download / name
        path.write_bytes(change(path.read_bytes().decode()).encode())
        return path

    return apply


@pytest.fixture
def save_noise() -> Callable[..., FileImage]:
    """Write an image of noise: ``save_noise(path, seed, width, height)``."""

    def save(path: Path, seed: int, width: int = 50, height: int = 40) -> FileImage:
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        return FileImage(path)

    return save


@pytest.fixture
def sources(tmp_path: Path, save_noise: Callable[..., FileImage]) -> list[FileImage]:
    """Seven images of different shapes."""
    folder = tmp_path / "samples"
    folder.mkdir()
    return [save_noise(folder / f"{i}.jpg", i, 40 + i, 60 - 3 * i) for i in range(7)]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of the images that were decoded, in order."""
    keys: list[str] = []
    original = image_cache.pixels_of

    def counted(source: FileImage, *args: object) -> object:
        keys.append(source.key)
        return original(source, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(image_cache, "pixels_of", counted)
    return keys
