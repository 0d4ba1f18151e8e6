"""Reading pictures: every mode comes out upright in RGB, every broken file is named."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mkgc_cl.data import images
from mkgc_cl.data.images import (
    BLANK,
    BlankImage,
    FileImage,
    ImageSource,
    StampedSource,
    decode,
    fingerprint_bytes,
)
from mkgc_cl.errors import ImageError


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(width: int = 40, height: int = 30, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def with_palette() -> Image.Image:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(1, (2, 0, 4, 4))
    return image


def grey16() -> Image.Image:
    return Image.fromarray(np.full((4, 4), 0x80FF, dtype=np.uint16))


@pytest.mark.parametrize(
    ("data", "left", "right"),
    [
        pytest.param(encoded(Image.new("1", (4, 4), 1), "PNG"), (255,) * 3, (255,) * 3, id="1"),
        pytest.param(encoded(Image.new("L", (4, 4), 9), "PNG"), (9,) * 3, (9,) * 3, id="L"),
        pytest.param(
            encoded(Image.new("LA", (4, 4), (9, 0)), "PNG"), (255,) * 3, (255,) * 3, id="LA"
        ),
        pytest.param(encoded(with_palette(), "PNG"), (255, 0, 0), (0, 0, 255), id="P"),
        pytest.param(
            encoded(with_palette(), "PNG", transparency=0),
            (255, 255, 255),
            (0, 0, 255),
            id="P-with-transparent-index",
        ),
        pytest.param(
            encoded(with_palette(), "PNG", transparency=b"\x00\xff"),
            (255, 255, 255),
            (0, 0, 255),
            id="P-with-transparency-table",
        ),
        pytest.param(
            encoded(Image.new("RGBA", (4, 4), (200, 0, 0, 0)), "PNG"),
            (255, 255, 255),
            (255, 255, 255),
            id="RGBA",
        ),
        pytest.param(
            encoded(Image.new("RGB", (4, 4), (1, 2, 3)), "PNG", transparency=(1, 2, 3)),
            (255, 255, 255),
            (255, 255, 255),
            id="RGB-with-transparent-colour",
        ),
        pytest.param(
            encoded(Image.new("CMYK", (4, 4), (0, 0, 0, 255)), "TIFF"),
            (0, 0, 0),
            (0, 0, 0),
            id="CMYK",
        ),
        pytest.param(encoded(grey16(), "PNG"), (0x80,) * 3, (0x80,) * 3, id="16-bit"),
        pytest.param(
            encoded(Image.fromarray(np.full((4, 4), 0x80FF, dtype=np.int32)), "TIFF"),
            (0x80,) * 3,
            (0x80,) * 3,
            id="I",
        ),
    ],
)
def test_every_mode_becomes_rgb(data: bytes, left: tuple[int, ...], right: tuple[int, ...]) -> None:
    image = decode(data, "x")
    assert image.mode == "RGB"
    assert image.size == (4, 4)
    assert image.getpixel((0, 1)) == left
    assert image.getpixel((3, 1)) == right


def test_half_transparent_pixels_are_laid_over_white() -> None:
    image = decode(encoded(Image.new("RGBA", (1, 1), (0, 0, 0, 51)), "PNG"), "x")
    assert image.getpixel((0, 0)) == (204, 204, 204)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(orientation: int) -> None:
    upright = noise(6, 4)
    # How the camera stored it: the transposition that the flag tells the viewer to undo.
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    read = decode(encoded(stored, "PNG", exif=exif), "x")
    assert np.array_equal(np.asarray(read), np.asarray(upright))


def test_damaged_exif_does_not_cost_the_picture(caplog: pytest.LogCaptureFixture) -> None:
    image = noise(6, 4)
    with caplog.at_level(logging.WARNING):
        read = decode(encoded(image, "PNG", exif=b"Exif\x00\x00not a tiff header"), "x")
    assert np.array_equal(np.asarray(read), np.asarray(image))
    assert "EXIF" in caplog.text


PNG = encoded(noise(200, 150), "PNG")


def test_every_cut_of_a_jpeg_is_an_image_error() -> None:
    small = encoded(noise(24, 16), "JPEG")
    whole = np.asarray(decode(small, "x"))
    for length in range(len(small)):
        try:
            image = decode(small[:length], "x")
        except ImageError:
            continue
        # Only the end marker may be missing from a picture that still decodes, to the same pixels.
        assert length >= len(small) - 2
        assert np.array_equal(np.asarray(image), whole)


def test_missing_file_has_neither_stamp_nor_fingerprint(tmp_path: Path) -> None:
    source = FileImage(tmp_path / "a.jpg")
    with pytest.raises(ImageError, match="missing"):
        source.stamp()
    with pytest.raises(ImageError, match="missing"):
        source.fingerprint()


def test_fingerprint_follows_the_bytes_and_the_stamp_the_file(tmp_path: Path) -> None:
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    first.write_bytes(PNG)
    second.write_bytes(PNG)
    a, b = FileImage(first), FileImage(second)
    assert a.fingerprint() == b.fingerprint() == fingerprint_bytes(PNG)
    assert a.stamp() != b.stamp()
    before = a.stamp()
    assert a.stamp() == before
    first.write_bytes(PNG + b"x")
    assert a.stamp() != before
    assert a.fingerprint() != b.fingerprint()


def test_blank_is_one_grey_and_all_blanks_are_equal() -> None:
    pixels = np.asarray(BLANK.read())
    assert np.unique(pixels).tolist() == [128]
    assert BlankImage() == BLANK
    assert hash(BlankImage()) == hash(BLANK)
    assert (BLANK.key, BLANK.fingerprint()) == ("blank", "blank")


def test_protocols_tell_files_from_other_sources(tmp_path: Path) -> None:
    file = FileImage(tmp_path / "a.png")
    assert isinstance(file, ImageSource)
    assert isinstance(file, StampedSource)
    assert isinstance(BLANK, ImageSource)
    assert not isinstance(BLANK, StampedSource)


def test_naming_images_needs_neither_pillow_nor_torch() -> None:
    code = (
        "import sys; from pathlib import Path; from mkgc_cl.data.images import FileImage;"
        "FileImage(Path('x')).key;"
        "print([name for name in ('PIL', 'torch', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_limit_is_below_the_one_of_pillow() -> None:
    # So that our message comes first and Pillow's warning never.
    assert Image.MAX_IMAGE_PIXELS is None or images.MAX_PIXELS <= Image.MAX_IMAGE_PIXELS


@pytest.mark.data
def test_the_released_images_load_through_the_same_path(data_root: Path) -> None:
    paths = sorted((data_root / "MRE" / "data" / "img_org").glob("*/*.*"))
    assert len(paths) >= 39
    for path in paths:
        image = FileImage(path).read()
        assert image.mode == "RGB"
        assert min(image.size) > 0
