"""The cache gives the pixels of the live path, and decodes each image once."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mkgc_cl.data import image_cache
from mkgc_cl.data.image_cache import ImageCache, pixels_of, resize
from mkgc_cl.data.images import BLANK, FileImage, ImageSource
from mkgc_cl.errors import ImageError

SIZE = 16


def new_cache(tmp_path: Path, **options: object) -> ImageCache:
    return ImageCache(SIZE, directory=tmp_path / "cache", **options)  # type: ignore[arg-type]


def files_of(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "cache").rglob("*") if path.is_file())


# ---------------------------------------------------------------- pixels


def resize_then_crop(image: Image.Image, size: int) -> np.ndarray:
    """What CLIPProcessor does, written out: shorter side to ``size``, then the center."""
    width, height = image.size
    short, long = min(width, height), max(width, height)
    other = int(size * long / short)
    shape = (size, other) if width <= height else (other, size)
    scaled = image.resize(shape, Image.Resampling.BICUBIC)
    left, top = (shape[0] - size) // 2, (shape[1] - size) // 2
    return np.asarray(scaled.crop((left, top, left + size, top + size)))


@settings(deadline=None, max_examples=60)
@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    size=st.integers(1, 40),
    seed=st.integers(0, 9),
)
def test_crop_equals_resizing_then_cropping(width: int, height: int, size: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    ours = resize(image, size, "crop")
    assert ours.shape == (size, size, 3)
    assert ours.dtype == np.uint8
    if max(width, height) <= 16 * min(width, height):
        assert np.array_equal(ours, resize_then_crop(image, size))


def test_squash_keeps_the_ends_that_crop_loses() -> None:
    image = Image.new("RGB", (300, 100), "black")
    image.paste("red", (0, 0, 60, 100))
    assert resize(image, SIZE, "crop").max() == 0
    assert resize(image, SIZE, "squash")[:, 0, 0].min() == 255
    plain = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    assert np.array_equal(resize(image, SIZE, "squash"), plain)


@pytest.mark.parametrize("shape", [(2, 50_000), (50_000, 2)])
def test_a_very_long_image_is_cropped_without_a_giant_in_between(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Image.new("RGB", shape, "black")
    x, y = shape[0] // 2, shape[1] // 2
    image.paste("red", (x - 1, y - 1, x + 1, y + 1))
    original = Image.Image.resize

    def bounded(self: Image.Image, size: tuple[int, int], resample: int) -> Image.Image:
        assert max(size) <= 16 * 224
        return original(self, size, resample)

    monkeypatch.setattr(Image.Image, "resize", bounded)
    assert resize(image, 224)[:, :, 0].min() > 0  # the center, nothing but the red square


@pytest.mark.parametrize("fit", ["crop", "squash"])
def test_cached_pixels_are_bit_equal_to_the_live_path(
    tmp_path: Path, sources: list[FileImage], fit: image_cache.Fit
) -> None:
    everything: list[ImageSource] = [*sources, BLANK]
    for cache in (new_cache(tmp_path, fit=fit), new_cache(tmp_path, fit=fit)):
        cache.prepare(everything)
        for source in everything:
            assert np.array_equal(cache.get(source), pixels_of(source, SIZE, fit))
        order: list[ImageSource] = [BLANK, *sources[::-1], sources[0]]
        batch = cache.batch(order)
        assert batch.shape == (9, SIZE, SIZE, 3)
        assert batch.dtype == np.uint8
        for row, source in zip(batch, order, strict=True):
            assert np.array_equal(row, pixels_of(source, SIZE, fit))


def test_unprepared_images_are_prepared_on_demand(tmp_path: Path, sources: list[FileImage]) -> None:
    cache = new_cache(tmp_path)
    assert np.array_equal(cache.get(sources[2]), pixels_of(sources[2], SIZE))
    assert cache.batch(sources).shape == (7, SIZE, SIZE, 3)
    assert cache.batch([]).shape == (0, SIZE, SIZE, 3)


def test_pixels_cannot_be_changed_through_the_cache(
    tmp_path: Path, sources: list[FileImage]
) -> None:
    cache = new_cache(tmp_path)
    for source in (sources[0], BLANK):
        with pytest.raises(ValueError, match="read-only"):
            cache.get(source)[0, 0, 0] = 1


# ---------------------------------------------------------------- once


def test_each_image_is_decoded_once_across_runs(
    tmp_path: Path, sources: list[FileImage], decoded: list[str]
) -> None:
    new_cache(tmp_path).prepare([*sources, *sources])
    assert sorted(decoded) == sorted(source.key for source in sources)
    again = new_cache(tmp_path)
    again.prepare(sources)
    again.batch(sources)
    assert len(decoded) == len(sources)


def test_unchanged_files_are_not_even_hashed_again(
    tmp_path: Path, sources: list[FileImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    new_cache(tmp_path).prepare(sources)
    monkeypatch.setattr(FileImage, "_bytes", lambda self: pytest.fail(f"{self.path} was read"))
    new_cache(tmp_path).batch(sources)


def test_a_touched_file_is_hashed_but_not_decoded(
    tmp_path: Path, sources: list[FileImage], decoded: list[str]
) -> None:
    new_cache(tmp_path).prepare(sources)
    os.utime(sources[0].path, ns=(1, 1))
    decoded.clear()
    new_cache(tmp_path).prepare(sources)
    assert decoded == []
    with pytest.MonkeyPatch.context() as patch:  # and its new stamp is remembered
        patch.setattr(FileImage, "_bytes", lambda self: pytest.fail(f"{self.path} was read"))
        new_cache(tmp_path).prepare(sources)


def test_changed_bytes_are_decoded_again_even_with_size_and_time_kept(
    tmp_path: Path, decoded: list[str], save_noise: Callable[..., FileImage]
) -> None:
    path = tmp_path / "a.bmp"  # a format whose size does not depend on its content
    source = save_noise(path, 0)
    cache = new_cache(tmp_path)
    old = cache.get(source).copy()
    before = path.stat()
    save_noise(path, 1)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    for looked in (cache, new_cache(tmp_path)):
        looked.prepare([source])
        assert np.array_equal(looked.get(source), pixels_of(source, SIZE))
        assert not np.array_equal(looked.get(source), old)
    assert len(decoded) == 2
    # The shard with the old pixels is deleted, not kept for ever.
    new_cache(tmp_path).prepare([source])
    assert len([p for p in files_of(tmp_path) if p.name.startswith("shard-")]) == 1


def test_settings_do_not_share_pixels(tmp_path: Path, sources: list[FileImage]) -> None:
    fits: tuple[image_cache.Fit, ...] = ("crop", "squash")
    for size in (8, 16):
        for fit in fits:
            cache = ImageCache(size, fit=fit, directory=tmp_path / "cache")
            assert np.array_equal(cache.get(sources[0]), pixels_of(sources[0], size, fit))


@dataclass(frozen=True)
class Drawn:
    colour: str

    @property
    def key(self) -> str:
        return f"drawn/{self.colour}"

    def fingerprint(self) -> str:
        return self.colour

    def read(self) -> Image.Image:
        return Image.new("RGB", (30, 20), self.colour)


def test_drawn_images_are_drawn_once_and_stay_in_memory(tmp_path: Path, decoded: list[str]) -> None:
    cache = new_cache(tmp_path)
    cache.prepare([Drawn("red"), BLANK])
    cache.prepare([Drawn("red"), Drawn("blue"), BLANK])
    assert cache.batch([Drawn("red"), Drawn("blue"), BLANK])[:, 0, 0].tolist() == [
        [255, 0, 0],
        [0, 0, 255],
        [128, 128, 128],
    ]
    assert decoded == ["drawn/red", "blank", "drawn/blue"]
    assert not (tmp_path / "cache").exists()


def test_the_folder_comes_from_the_environment(
    tmp_path: Path, sources: list[FileImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MKGC_CACHE", str(tmp_path / "elsewhere"))
    ImageCache(SIZE).prepare(sources)
    assert list((tmp_path / "elsewhere").rglob("index.json"))


@pytest.mark.parametrize(
    ("options", "message"), [({"size": 0}, "at least 1"), ({"size": 4, "fit": "pad"}, "'squash'")]
)
def test_wrong_settings_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageCache(**options)  # type: ignore[arg-type]


# ---------------------------------------------------------------- bad images


def test_all_bad_images_are_reported_at_once_and_the_good_ones_kept(
    tmp_path: Path, sources: list[FileImage], decoded: list[str]
) -> None:
    bad = []
    for i in range(8):
        path = tmp_path / f"bad{i}.jpg"
        if i % 2:
            path.write_bytes(sources[0].path.read_bytes()[:300])
        bad.append(FileImage(path))
    cache = new_cache(tmp_path)
    with pytest.raises(ImageError) as caught:
        cache.prepare([*sources[:3], *bad, *sources[3:]])
    message = str(caught.value)
    assert message.startswith("8 of 15 images are missing or broken:")
    assert message.count(".jpg") == 5
    assert message.endswith("... and 3 more")
    decoded.clear()
    again = new_cache(tmp_path)
    again.prepare(sources)
    assert decoded == []
    with pytest.raises(ImageError, match=r"bad0\.jpg: the image is missing"):
        again.get(bad[0])


def test_a_image_that_breaks_later_is_not_served_from_before(
    tmp_path: Path, sources: list[FileImage]
) -> None:
    cache = new_cache(tmp_path)
    cache.prepare(sources)
    sources[1].path.write_bytes(b"gone")
    with pytest.raises(ImageError, match=r"1\.jpg: expected an image"):
        cache.prepare(sources)
    with pytest.raises(ImageError, match=r"1\.jpg"):
        cache.get(sources[1])
    assert np.array_equal(cache.get(sources[2]), pixels_of(sources[2], SIZE))


@pytest.mark.data
def test_the_released_images_go_through_the_cache(tmp_path: Path, data_root: Path) -> None:
    folder = data_root / "MRE" / "data" / "img_org"
    found = [FileImage(path) for path in sorted(folder.glob("*/*.*"))]
    cache = ImageCache(224, directory=tmp_path / "cache")
    cache.prepare(found)
    for source in found:
        assert np.array_equal(cache.get(source), pixels_of(source, 224))
