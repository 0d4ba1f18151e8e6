"""Where pixels come from: one small protocol, files on disk, and the blank image.

Nothing here imports torch, and Pillow only when pixels are read, so that the data check can name
images without paying for either.
"""

from __future__ import annotations

import hashlib
import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from mkgc_cl.errors import DataError, ImageError, MissingDataError
from mkgc_cl.regular_file import read_regular

if TYPE_CHECKING:
    from PIL.Image import Image

logger = logging.getLogger(__name__)

#: What an image may be. Pillow reads many more, some through other programs (PostScript).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

#: Most bytes of an image file: above those of :data:`MAX_PIXELS` without any compression.
MAX_BYTES = 2**27

#: Most pixels that are decoded: a decoding thread then takes half a gigabyte at most.
MAX_PIXELS = 25_000_000

#: Most pixels of a JPEG, which can be decoded at half its size (Pillow warns at 89 million).
MAX_JPEG_PIXELS = 80_000_000

#: Hexadecimal digits of a fingerprint: 80 bits of sha256.
FINGERPRINT_DIGITS = 20


@runtime_checkable
class ImageSource(Protocol):
    """Something that yields one image: a file, a crop, a drawing, or the blank image."""

    @property
    def key(self) -> str:
        """Identity of the image: within one stream, equal keys mean equal pixels."""
        ...

    def read(self) -> Image:
        """Return the image in mode RGB, upright.

        Raises:
            ImageError: the image is missing or cannot be decoded.
        """
        ...

    def fingerprint(self) -> str:
        """Return a short hash of the bytes the pixels are made from.

        Raises:
            ImageError: the bytes cannot be read.
        """
        ...


@runtime_checkable
class StampedSource(ImageSource, Protocol):
    """An image source that can tell cheaply that its bytes have not changed."""

    def stamp(self) -> str:
        """Return a string that changes whenever the bytes may have changed.

        Raises:
            ImageError: the source is missing.
        """
        ...


def fingerprint_bytes(data: bytes) -> str:
    """Return the short sha256 of ``data``, as every fingerprint of this package.

    >>> fingerprint_bytes(b"")
    'e3b0c44298fc1c149afb'
    """
    return hashlib.sha256(data).hexdigest()[:FINGERPRINT_DIGITS]


class UnknownRangeError(ValueError):
    """Nothing says which values of the pixels are black and white."""


def to_rgb(image: Image) -> Image:
    """Return ``image`` upright and in mode RGB, whatever mode it came in.

    EXIF orientation is applied. Transparency is laid over white. Integer grey (modes ``I`` and
    ``I;16``, which Pillow's own conversion clips or blackens) is taken as 8 bits where no value is
    above 255, else as 16 bits, of which the upper 8 are kept.

    Raises:
        UnknownRangeError: floating-point pixels, or integers below 0 or above 65,535.
    """
    from PIL import Image as pil

    image = _upright(image)
    if image.mode == "F":
        raise UnknownRangeError("floating-point pixels")
    if image.mode == "I" or image.mode.startswith("I;16"):
        image = _grey8(image)
    if image.mode == "La":
        image = image.convert("LA")  # the only mode that Pillow leads there
    if image.has_transparency_data:
        # REFERENCE CODE: convert("RGB") drops alpha and shows whatever colour hides underneath.
        # A reader of the sample saw the image over a light page.
        top = image.convert("RGBA")
        image = pil.alpha_composite(pil.new("RGBA", top.size, "white"), top)
    return image.convert("RGB")


def _grey8(image: Image) -> Image:
    """Return integer grey as mode L, or LA where the file names a transparent value."""
    import numpy
    from PIL import Image as pil

    values = numpy.asarray(image)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65_535:
        raise UnknownRangeError(f"integer grey from {low} to {high}")
    grey = pil.fromarray((values if high < 256 else values >> 8).astype(numpy.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey.putalpha(pil.fromarray(numpy.where(values == transparent, 0, 255).astype("uint8")))
    return grey


def _upright(image: Image) -> Image:
    from PIL import ImageOps

    image.load()  # a truncated image must fail here, not as a "broken EXIF block" below
    try:
        return ImageOps.exif_transpose(image)
    except Exception as error:
        # The pixels decode; only the note on how the camera was held does not. Pillow raises
        # whatever its TIFF reader stumbles over.
        logger.warning("EXIF orientation ignored, its block is damaged: %s", error)
        return image


def decode(data: bytes, place: str | Path) -> Image:
    """Decode the bytes of an image file into an upright RGB image.

    A JPEG of more than :data:`MAX_PIXELS` comes out at half its width and height.

    Args:
        data: the whole file.
        place: what to call the file in an error.

    Raises:
        ImageError: empty, truncated, too large, or none of :data:`FORMATS`.
    """
    from PIL import Image as pil
    from PIL import UnidentifiedImageError

    if not data:
        raise ImageError("the file is empty; fetch the image again", path=place)
    try:
        with pil.open(io.BytesIO(data), formats=FORMATS) as image:
            _bound(image, place)
            return to_rgb(image)
    except ImageError:
        raise
    except (pil.DecompressionBombError, pil.DecompressionBombWarning) as error:
        raise _too_large("too many", MAX_PIXELS, place) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"expected an image ({', '.join(FORMATS)}), found a file that starts with "
            f"{data[:12]!r}; fetch the image again or convert it",
            path=place,
        ) from error
    except UnknownRangeError as error:
        raise ImageError(
            f"found {error}, whose range is not known; save the image in 8 bits", path=place
        ) from error
    except Exception as error:
        # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, IndexError, ...
        # for bytes that are damaged; to the caller they all mean the same.
        raise ImageError(
            f"the image is damaged or cannot be decoded ({type(error).__name__}: {error}); "
            "fetch it again",
            path=place,
        ) from error


def _bound(image: Image, place: str | Path) -> None:
    """Refuse what is too large by its header, before a pixel of it is decoded."""
    width, height = image.size
    most = MAX_JPEG_PIXELS if image.format in ("JPEG", "MPO") else MAX_PIXELS
    if width * height > most:
        raise _too_large(f"{width} x {height}", most, place)
    if width * height > MAX_PIXELS:
        image.draft(image.mode, (width // 2, height // 2))


def _too_large(found: str, most: int, place: str | Path) -> ImageError:
    return ImageError(
        f"found {found} pixels, expected at most {most:,}; shrink the image", path=place
    )


@dataclass(frozen=True, slots=True)
class FileImage:
    """An image in a file.

    Args:
        path: the file.
    """

    path: Path

    @property
    def key(self) -> str:
        """The path as a string."""
        return str(self.path)

    def stamp(self) -> str:
        """Return place, size and times of the file: equal stamps need no second hash.

        The change time is part of it because tools that copy a file over another can restore the
        modification time, but not that one.
        """
        try:
            found = self.path.stat()
        except FileNotFoundError as error:
            raise self._missing() from error
        except (OSError, ValueError) as error:  # ValueError: no file can have such a name
            reason = getattr(error, "strerror", None) or str(error)
            raise ImageError(
                f"cannot be read ({reason}); it must be a readable file", path=self.path
            ) from error
        place = self.path.absolute()
        return f"{found.st_size}/{found.st_mtime_ns}/{found.st_ctime_ns}/{place}"

    def fingerprint(self) -> str:
        """Return the short sha256 of the file."""
        return fingerprint_bytes(self._bytes())

    def read(self) -> Image:
        """Decode the file.

        Raises:
            ImageError: missing, empty, truncated, too large, or not an image.
        """
        return decode(self._bytes(), self.path)

    def _bytes(self) -> bytes:
        try:
            return read_regular(self.path, limit=MAX_BYTES)
        except MissingDataError as error:
            raise self._missing() from error
        except DataError as error:
            raise ImageError(error.message, path=self.path) from error

    def _missing(self) -> ImageError:
        return ImageError(
            'the image is missing; put the file there or choose missing_images="blank"',
            path=self.path,
        )


#: Value of every pixel of the blank image.
BLANK_GREY = 128


@dataclass(frozen=True, slots=True)
class BlankImage:
    """The image that stands for "no image": one mid-grey.

    128 of 255 is within 0.004 of zero under the usual mean 0.5 and deviation 0.5, so a blank
    image carries next to nothing into the vision encoder. All instances are equal; use
    :data:`BLANK`.
    """

    @property
    def key(self) -> str:
        """The key every blank image shares."""
        return "blank"

    def fingerprint(self) -> str:
        """Return a constant: a blank image has no source bytes."""
        return "blank"

    def read(self) -> Image:
        """Return a small grey square (any resize of it is the same grey)."""
        from PIL import Image as pil

        return pil.new("RGB", (8, 8), (BLANK_GREY,) * 3)


#: The blank image.
BLANK = BlankImage()
