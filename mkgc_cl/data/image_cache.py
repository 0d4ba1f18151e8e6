"""Every picture decoded and resized once, kept as 8-bit pixels in memory-mapped files.

Layout of one cache (one per size, fit and Pillow version; all of it may be deleted at any time)::

    <directory>/images/224-crop-v1-pillow13.0.0/
        lock                 held by the process that is adding pictures
        index.json           picture key -> fingerprint, stamp, shard, row
        shard-<id>.npy       uint8 (n, size, size, 3), written once, never changed
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from mkgc_cl.data.image_store import Entry, ImageStore
from mkgc_cl.data.images import ImageSource, StampedSource
from mkgc_cl.errors import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image

logger = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]
Fit = Literal["crop", "squash"]

#: Bytes of pixels decoded before they are written out: what an interruption can lose.
SHARD_BYTES = 64 * 2**20

#: Broken pictures an error names; it counts the rest.
NAMED_ERRORS = 5


def resize(image: Image, size: int, fit: Fit = "crop") -> Pixels:
    """Return ``image`` as ``(size, size, 3)`` uint8 pixels, bicubic.

    Args:
        image: an RGB picture.
        size: side of the result in pixels.
        fit: ``"crop"`` scales the shorter side to ``size`` and keeps the centre, which is what
            ``CLIPProcessor`` did for the released code: proportions stay, the ends of the longer
            side are lost. ``"squash"`` keeps all content and changes the proportions.
    """
    from PIL import Image as pil

    if fit == "squash":
        small = image.resize((size, size), pil.Resampling.BICUBIC)
    else:
        image = _without_far_ends(image)
        width, height = image.size
        short = min(width, height)
        # As CLIPProcessor rounds: the longer side down, the start of the crop down.
        scaled = (size * width // short, size * height // short)
        left, top = (scaled[0] - size) // 2, (scaled[1] - size) // 2
        small = image.resize(scaled, pil.Resampling.BICUBIC)
        small = small.crop((left, top, left + size, top + size))
    return np.asarray(small, dtype=np.uint8)


def _without_far_ends(image: Image) -> Image:
    """Cut a picture to its centre, 16 times as long as wide, of which the crop keeps one 16th.

    Without this a picture of 10 x 100,000 pixels would become 224 x 2,240,000 on its way to
    224 x 224. Pictures of ordinary shape pass untouched.
    """
    width, height = image.size
    most = 16 * min(width, height)
    if max(width, height) <= most:
        return image
    left, top = max(0, width - most) // 2, max(0, height - most) // 2
    return image.crop((left, top, left + min(width, most), top + min(height, most)))


def pixels_of(source: ImageSource, size: int, fit: Fit = "crop") -> Pixels:
    """Decode and resize one picture without any cache: the path the cache itself takes.

    Raises:
        ImageError: the picture is missing or cannot be decoded.
    """
    return resize(source.read(), size, fit)


@dataclass(frozen=True, slots=True)
class _Held:
    """Where the pixels of a picture are that this process has looked at."""

    shard: str | None  # None: in memory
    row: int


@dataclass
class ImageCache:
    """Pixels of pictures by identity.

    Pictures in files (:class:`~mkgc_cl.data.images.StampedSource`) are kept on disk, across runs.
    Drawn and blank pictures are quick to make again and are kept in memory, through the same code;
    their key is their whole identity.

    A picture's source is hashed when it is first seen. Later runs compare size, times and place of
    the file and hash again only where one of them differs; a changed hash decodes again. Within one
    process a picture is looked at once, at :meth:`prepare`.

    Several processes may use one cache. One adds pictures at a time, the others wait and then find
    the work done. A process killed while adding loses at most the last ``SHARD_BYTES`` of pixels.

    Args:
        size: side of the pictures in pixels.
        fit: see :func:`resize`.
        directory: folder of the caches; by default ``MKGC_CACHE``, else ``~/.cache/mkgc_cl``.

    Raises:
        ValueError: ``size`` below 1 or an unknown ``fit``.
    """

    size: int
    fit: Fit = field(default="crop", kw_only=True)
    directory: Path | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size is {self.size}, expected at least 1 pixel")
        if self.fit not in ("crop", "squash"):
            raise ValueError(f"fit is {self.fit!r}, expected 'crop' or 'squash'")
        root = self.directory or Path(
            os.environ.get("MKGC_CACHE") or Path.home() / ".cache" / "mkgc_cl"
        )
        self._store = ImageStore(root, size=self.size, fit=self.fit)
        self._held: dict[str, _Held] = {}
        self._drawn: list[Pixels] = []

    def prepare(self, sources: Iterable[ImageSource]) -> None:
        """Decode what is not in the cache yet.

        Args:
            sources: pictures, in any order, repeated or not.

        Raises:
            ImageError: some pictures are missing or broken; one error counts them all and names the
                first few. The good ones are in the cache nevertheless.
            DataError: the cache folder cannot be written.
        """
        unique = {source.key: source for source in sources}
        files = {key: s for key, s in unique.items() if isinstance(s, StampedSource)}
        errors = self._prepare_files(files) if files else {}
        for key, source in unique.items():
            if key not in files:
                try:
                    self._prepare_drawn(source)
                except ImageError as error:
                    errors[key] = error
        if errors:
            for key in errors:
                self._held.pop(key, None)
            raise _all_errors(errors, len(unique))

    def get(self, source: ImageSource) -> Pixels:
        """Return the ``(size, size, 3)`` uint8 pixels of one picture, read-only.

        A picture that was not prepared is prepared now; for many, :meth:`prepare` is much faster.

        Raises:
            ImageError: the picture is missing or broken.
        """
        held = self._held.get(source.key)
        if held is None:
            self.prepare([source])
            held = self._held[source.key]
        if held.shard is None:
            return self._drawn[held.row]
        pixels: Pixels = self._store.shard(held.shard)[held.row]
        return pixels

    def batch(self, sources: Sequence[ImageSource]) -> Pixels:
        """Return the pixels of several pictures, ``(len(sources), size, size, 3)`` uint8.

        Raises:
            ImageError: some pictures are missing or broken.
        """
        absent = [source for source in sources if source.key not in self._held]
        if absent:
            self.prepare(absent)
        out = np.empty((len(sources), self.size, self.size, 3), dtype=np.uint8)
        for row, source in enumerate(sources):
            out[row] = self.get(source)
        return out

    def _prepare_drawn(self, source: ImageSource) -> None:
        if source.key in self._held:
            return
        pixels = pixels_of(source, self.size, self.fit)
        pixels.flags.writeable = False
        self._held[source.key] = _Held(None, len(self._drawn))
        self._drawn.append(pixels)

    def _prepare_files(self, files: Mapping[str, StampedSource]) -> dict[str, ImageError]:
        """Bring pictures in files into the store; return what is broken, by key."""
        errors: dict[str, ImageError] = {}
        with self._store.locked():
            known = self._store.load()
            stale: dict[str, Entry] = {}
            touched: dict[str, Entry] = {}
            for key, source in files.items():
                try:
                    entry = _examine(source, known.get(key))
                except ImageError as error:
                    errors[key] = error
                    continue
                if not entry.shard:
                    stale[key] = entry
                elif entry != known[key]:
                    touched[key] = entry
            if touched:
                self._store.commit(touched)
            errors |= self._decode(files, stale)
            for key in files.keys() - errors.keys():
                entry = self._store.entries[key]
                # Mapped while locked: a file that another process deletes later stays readable.
                self._store.shard(entry.shard)
                self._held[key] = _Held(entry.shard, entry.row)
        return errors

    def _decode(
        self, files: Mapping[str, StampedSource], stale: Mapping[str, Entry]
    ) -> dict[str, ImageError]:
        """Decode the pictures of ``stale``, a shard at a time; return what is broken, by key."""
        errors: dict[str, ImageError] = {}
        keys = list(stale)
        step = max(1, SHARD_BYTES // (self.size * self.size * 3))
        # Pillow releases the interpreter lock while it decodes and resamples.
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            for start in range(0, len(keys), step):
                part = keys[start : start + step]
                pixels: list[Pixels] = []
                entries: dict[str, Entry] = {}
                results = pool.map(self._try, [files[key] for key in part])
                for key, result in zip(part, results, strict=True):
                    if isinstance(result, ImageError):
                        errors[key] = result
                    else:
                        entries[key] = replace(stale[key], row=len(pixels))
                        pixels.append(result)
                if pixels:
                    self._store.append(np.stack(pixels), entries)
                logger.info("decoded %d of %d images", start + len(part), len(keys))
        return errors

    def _try(self, source: ImageSource) -> Pixels | ImageError:
        try:
            return pixels_of(source, self.size, self.fit)
        except ImageError as error:
            return error


def _examine(source: StampedSource, known: Entry | None) -> Entry:
    """Return the entry of ``source`` as it is now; without a shard where it must be decoded."""
    # Stamp before hash before pixels: a file that changes in between is caught the next time,
    # because what is recorded is then older than what was read.
    stamp = source.stamp()
    if known is not None and known.stamp == stamp:
        return known
    fingerprint = source.fingerprint()
    if known is not None and known.fingerprint == fingerprint:
        return replace(known, stamp=stamp)
    return Entry(fingerprint, stamp)


def _all_errors(errors: Mapping[str, ImageError], total: int) -> ImageError:
    first = list(errors.values())
    if len(first) == 1:
        return first[0]
    lines = "".join(f"\n  {error}" for error in first[:NAMED_ERRORS])
    more = len(first) - NAMED_ERRORS
    rest = f"\n  ... and {more} more" if more > 0 else ""
    return ImageError(f"{len(first)} of {total} images are missing or broken:{lines}{rest}")
