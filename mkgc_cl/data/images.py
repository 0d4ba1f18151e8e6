"""Where pixels come from: one small protocol, files on disk, and the blank picture.

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

from mkgc_cl.errors import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image

logger = logging.getLogger(__name__)

#: Pictures above this many pixels are refused (Pillow's own warning level is 89 million).
MAX_PIXELS = 80_000_000

#: Hexadecimal digits of a fingerprint: 80 bits of sha256.
FINGERPRINT_DIGITS = 20


@runtime_checkable
class ImageSource(Protocol):
    """Something that yields one picture: a file, a crop, a drawing, or the blank picture."""

    @property
    def key(self) -> str:
        """Identity of the picture: within one stream, equal keys mean equal pixels."""
        ...

    def read(self) -> Image:
        """Return the picture in mode RGB, upright.

        Raises:
            ImageError: the picture is missing or cannot be decoded.
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


def to_rgb(image: Image) -> Image:
    """Return ``image`` upright and in mode RGB, whatever mode it came in.

    EXIF orientation is applied. Transparency is laid over white. 16-bit grey keeps its upper 8 bits
    (Pillow's own conversion clips everything above 255 to white).

    Raises:
        ValueError: floating-point pixels, whose range is unknown.
    """
    from PIL import Image as pil

    image = _upright(image)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range; save the picture in 8 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        # "I" holds 16-bit values too when it comes from a PNG read by an older Pillow.
        import numpy

        values = numpy.clip(numpy.asarray(image), 0, 65535)
        image = pil.fromarray((values >> 8).astype(numpy.uint8))
    if image.has_transparency_data:
        # REFERENCE CODE: convert("RGB") drops alpha and shows whatever colour hides underneath.
        # A reader of the post saw the picture over a light page.
        top = image.convert("RGBA")
        image = pil.alpha_composite(pil.new("RGBA", top.size, "white"), top)
    return image.convert("RGB")


def _upright(image: Image) -> Image:
    from PIL import ImageOps

    image.load()  # a truncated picture must fail here, not as a "broken EXIF block" below
    try:
        return ImageOps.exif_transpose(image)
    except Exception as error:
        # The pixels decode; only the note on how the camera was held does not. Pillow raises
        # whatever its TIFF reader stumbles over.
        logger.warning("EXIF orientation ignored, its block is damaged: %s", error)
        return image


def decode(data: bytes, place: str | Path) -> Image:
    """Decode the bytes of a picture file into an upright RGB picture.

    Args:
        data: the whole file.
        place: what to call the file in an error.

    Raises:
        ImageError: empty, truncated, too large, or not a picture.
    """
    from PIL import Image as pil
    from PIL import UnidentifiedImageError

    if not data:
        raise ImageError("the file is empty; fetch the image again", path=place)
    try:
        with pil.open(io.BytesIO(data)) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise _too_large(f"{width} x {height}", place)
            return to_rgb(image)
    except ImageError:
        raise
    except (pil.DecompressionBombError, pil.DecompressionBombWarning) as error:
        raise _too_large("too many", place) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"expected an image (JPEG, PNG, ...), found a file that starts with {data[:12]!r}; "
            "fetch the image again",
            path=place,
        ) from error
    except Exception as error:
        # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, IndexError, ...
        # for bytes that are damaged; to the caller they all mean the same.
        raise ImageError(
            f"the image is damaged or cannot be decoded ({type(error).__name__}: {error}); "
            "fetch it again",
            path=place,
        ) from error


def _too_large(found: str, place: str | Path) -> ImageError:
    return ImageError(
        f"found {found} pixels, expected at most {MAX_PIXELS:,}; shrink the image", path=place
    )


@dataclass(frozen=True, slots=True)
class FileImage:
    """A picture in a file.

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
        except OSError as error:
            raise self._unreadable(error) from error
        place = self.path.absolute()
        return f"{found.st_size}/{found.st_mtime_ns}/{found.st_ctime_ns}/{place}"

    def fingerprint(self) -> str:
        """Return the short sha256 of the file."""
        return fingerprint_bytes(self._bytes())

    def read(self) -> Image:
        """Decode the file.

        Raises:
            ImageError: missing, empty, truncated, too large, or not a picture.
        """
        return decode(self._bytes(), self.path)

    def _bytes(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> ImageError:
        if isinstance(error, FileNotFoundError):
            return ImageError(
                'the image is missing; put the file there or choose missing_images="blank"',
                path=self.path,
            )
        return ImageError(
            f"the image cannot be read ({error.strerror}); it must be a readable file",
            path=self.path,
        )


#: Value of every pixel of the blank picture.
BLANK_GREY = 128


@dataclass(frozen=True, slots=True)
class BlankImage:
    """The picture that stands for "no picture": one mid-grey.

    128 of 255 is within 0.004 of zero under the usual mean 0.5 and deviation 0.5, so a blank
    picture carries next to nothing into the vision encoder. All instances are equal; use
    :data:`BLANK`.
    """

    @property
    def key(self) -> str:
        """The key every blank picture shares."""
        return "blank"

    def fingerprint(self) -> str:
        """Return a constant: a blank picture has no source bytes."""
        return "blank"

    def read(self) -> Image:
        """Return a small grey square (any resize of it is the same grey)."""
        from PIL import Image as pil

        return pil.new("RGB", (8, 8), (BLANK_GREY,) * 3)


#: The blank picture.
BLANK = BlankImage()
