"""Reading images: every mode comes out upright in RGB, every broken file is named."""

from __future__ import annotations

import io
import logging
import os
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
    to_rgb,
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
        pytest.param(
            encoded(Image.new("YCbCr", (4, 4), (128, 128, 128)), "TIFF"),
            (128,) * 3,
            (128,) * 3,
            id="YCbCr",
        ),
    ],
)
def test_every_mode_becomes_rgb(data: bytes, left: tuple[int, ...], right: tuple[int, ...]) -> None:
    image = decode(data, "x")
    assert image.mode == "RGB"
    assert image.size == (4, 4)
    assert image.getpixel((0, 1)) == left
    assert image.getpixel((3, 1)) == right


GREY = {"PNG": (">u2", "<u2"), "TIFF": ("<u2", ">u2", "i2", "i4", "u4")}
"""Integer types that each format keeps."""


@pytest.mark.parametrize("kind", [(f, t) for f, types in GREY.items() for t in types], ids=str)
@pytest.mark.parametrize(
    ("values", "grey"),
    [
        pytest.param([0, 3, 200, 255], [0, 3, 200, 255], id="8 bits in a wider type"),
        pytest.param([0, 255, 256, 32_767], [0, 0, 1, 127], id="16 bits"),
    ],
)
def test_integer_grey_keeps_its_range(
    kind: tuple[str, str], values: list[int], grey: list[int]
) -> None:
    pixels = Image.fromarray(np.array([values], dtype=kind[1]).astype(kind[1].lstrip("<>")))
    read = np.asarray(decode(encoded(pixels, kind[0]), "x"))
    assert read.tolist() == [[[value] * 3 for value in grey]]


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_full_sixteen_bits(mode: str) -> None:
    order = ">" if mode.endswith("B") else "<"
    data = np.array([0x00FF, 0x80FF, 0xFFFF], dtype=f"{order}u2").tobytes()
    read = np.asarray(to_rgb(Image.frombytes(mode, (3, 1), data)))
    assert read[0, :, 0].tolist() == [0x00, 0x80, 0xFF]


@pytest.mark.parametrize(
    ("values", "found"),
    [([-1, 5], "from -1 to 5"), ([0, 65_536], "from 0 to 65536")],
)
def test_integers_of_no_known_range_are_refused(values: list[int], found: str) -> None:
    data = encoded(Image.fromarray(np.array([values], dtype=np.int32)), "TIFF")
    with pytest.raises(ImageError, match=f"integer grey {found}, whose range is not known"):
        decode(data, "x")


@pytest.mark.parametrize("values", [[0.0, 1.0], [0.0, 255.0]])
def test_floating_point_is_refused(values: list[float]) -> None:
    data = encoded(Image.fromarray(np.array([values], dtype=np.float32)), "TIFF")
    with pytest.raises(ImageError, match="floating-point pixels, whose range is not known"):
        decode(data, "x")


def test_transparent_value_of_sixteen_bit_grey_is_laid_over_white() -> None:
    pixels = Image.fromarray(np.array([[1_000, 40_000]], dtype=np.uint16))
    data = encoded(pixels, "PNG", transparency=1_000)
    assert np.asarray(decode(data, "x"))[0, :, 0].tolist() == [255, 40_000 >> 8]


@pytest.mark.parametrize(
    ("mode", "pixel", "rgb"),
    [
        # half black over white, its colour multiplied by its opacity already or not
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),
        ("RGBa", (0, 0, 0, 51), (204, 204, 204)),
        ("LA", (0, 51), (204, 204, 204)),
        ("La", (0, 51), (204, 204, 204)),
        ("PA", (0, 0), (255, 255, 255)),
        ("RGBX", (1, 2, 3, 99), (1, 2, 3)),
        ("HSV", (0, 0, 99), (99, 99, 99)),
        ("CMYK", (255, 0, 0, 0), (0, 255, 255)),
    ],
)
def test_modes_that_no_file_need_come_in(
    mode: str, pixel: tuple[int, ...], rgb: tuple[int, ...]
) -> None:
    assert to_rgb(Image.new(mode, (1, 1), pixel)).getpixel((0, 0)) == rgb


@pytest.mark.parametrize(("lightness", "grey"), [(0, 0), (128, 120), (255, 255)])
def test_lab_is_converted_by_its_definition(lightness: int, grey: int) -> None:
    """L* = 50.2 is the luminance ((50.2 + 16) / 116) ** 3 = 0.186, which sRGB writes as 120."""
    data = encoded(Image.new("LAB", (1, 1), (lightness, 128, 128)), "TIFF")
    assert np.abs(np.asarray(decode(data, "x")).astype(int) - grey).max() <= 1


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


def test_damaged_exif_does_not_cost_the_image(caplog: pytest.LogCaptureFixture) -> None:
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
        # Only the end marker may be missing from an image that still decodes, to the same pixels.
        assert length >= len(small) - 2
        assert np.array_equal(np.asarray(image), whole)


def test_missing_file_has_neither_stamp_nor_fingerprint(tmp_path: Path) -> None:
    source = FileImage(tmp_path / "a.jpg")
    with pytest.raises(ImageError, match="missing"):
        source.stamp()
    with pytest.raises(ImageError, match="missing"):
        source.fingerprint()


@pytest.mark.parametrize("name", ["pipe", "a\0b", "\ud83d"])
@pytest.mark.timeout(60)
def test_what_is_no_file_is_an_image_error(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    source = FileImage(tmp_path / name)
    for look in (source.read, source.fingerprint):
        with pytest.raises(ImageError, match="must be a readable file"):
            look()
    if name != "pipe":
        with pytest.raises(ImageError, match="must be a readable file"):
            source.stamp()


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


@pytest.mark.slow
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
    assert Image.MAX_IMAGE_PIXELS is None or images.MAX_JPEG_PIXELS <= Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("kind", [*images.FORMATS, "MPO"])
def test_formats_that_are_read(kind: str) -> None:
    # two frames make an MPO, the JPEG of some cameras; of all formats the first one counts
    more = {"save_all": True, "append_images": [noise(seed=1)]} if kind == "MPO" else {}
    read = decode(encoded(Image.new("RGB", (40, 30), (90, 90, 90)), kind, **more), "x")
    assert (read.size, read.getpixel((20, 15))) == ((40, 30), (90, 90, 90))


def test_a_large_jpeg_is_decoded_at_half_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    left = Image.new("RGB", (80, 40), (200, 0, 0))
    left.paste((0, 0, 200), (40, 0, 80, 40))
    data, flat = encoded(left, "JPEG", quality=95), encoded(left, "PNG")
    monkeypatch.setattr(images, "MAX_PIXELS", 80 * 40 - 1)
    half = decode(data, "x")
    assert half.size == (40, 20)
    expected = np.asarray(left.resize((40, 20), Image.Resampling.BOX)).astype(int)
    assert np.abs(np.asarray(half).astype(int) - expected)[:, [0, 10, 30, 39]].max() <= 4
    with pytest.raises(ImageError, match="80 x 40 pixels, expected at most 3,199"):
        decode(flat, "x")
    monkeypatch.setattr(images, "MAX_JPEG_PIXELS", 80 * 40 - 1)
    with pytest.raises(ImageError, match="80 x 40 pixels, expected at most 3,199"):
        decode(data, "x")


def test_no_other_format_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow would hand PostScript to another program, whatever the file is called."""
    opened: list[str] = []
    monkeypatch.setitem(Image.OPEN, "EPS", (lambda *_: opened.append("EPS"), lambda _: True))
    with pytest.raises(ImageError, match="expected an image"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n", "a.jpg")
    assert opened == []


@pytest.mark.data
def test_the_released_images_load_through_the_same_path(data_root: Path) -> None:
    paths = sorted((data_root / "MRE" / "data" / "img_org").glob("*/*.*"))
    assert len(paths) >= 39
    for path in paths:
        image = FileImage(path).read()
        assert image.mode == "RGB"
        assert min(image.size) > 0
