"""Every image decoded and resized once, kept as 8-bit pixels in files.

Layout of one cache (one per size, fit and Pillow version; all of it may be deleted at any time)::

    <directory>/images/224-crop-v2-pillow13.0.0/
        lock                 held by the process that is adding images
        index.json           image key -> fingerprint, stamp, shard, row; and a digest of it all
        shard-<digest>.rgb   uint8 (n, size, size, 3) without a header, written once, never changed
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from mkgc_cl._cores import usable_cores
from mkgc_cl.data.cache_folder import cache_folder
from mkgc_cl.data.image_store import SHARD_BYTES, Entry, ImageStore
from mkgc_cl.data.images import ImageSource, StampedSource
from mkgc_cl.errors import DataError, ImageError

if TYPE_CHECKING:
    from PIL.Image import Image

logger = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]
Fit = Literal["crop", "squash"]

#: Broken images an error names; it counts the rest.
NAMED_ERRORS = 5


def resize(image: Image, size: int, fit: Fit = "crop") -> Pixels:
    """Return ``image`` as ``(size, size, 3)`` uint8 pixels, bicubic.

    Args:
        image: an RGB image.
        size: side of the result in pixels.
        fit: ``"crop"`` scales the shorter side to ``size`` and keeps the center, which is what
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
    """Cut an image to its center, 16 times as long as wide, of which the crop keeps one 16th.

    Without this an image of 10 x 100,000 pixels would become 224 x 2,240,000 on its way to
    224 x 224. Images of ordinary shape pass untouched.
    """
    width, height = image.size
    most = 16 * min(width, height)
    if max(width, height) <= most:
        return image
    left, top = max(0, width - most) // 2, max(0, height - most) // 2
    return image.crop((left, top, left + min(width, most), top + min(height, most)))


def pixels_of(source: ImageSource, size: int, fit: Fit = "crop") -> Pixels:
    """Decode and resize one image without any cache: the path the cache itself takes.

    Raises:
        ImageError: the image is missing or cannot be decoded.
    """
    return resize(source.read(), size, fit)


@dataclass(frozen=True, slots=True)
class _Held:
    """An image in a file, as this process has looked at it, and where its pixels are."""

    source: StampedSource
    entry: Entry


@dataclass
class ImageCache:
    """Pixels of images by identity.

    Images in files (:class:`~mkgc_cl.data.images.StampedSource`) are kept on disk, across runs.
    Drawn and blank images are quick to make again and are kept in memory, through the same code;
    their key is their whole identity.

    An image's source is hashed when it is first seen. Later runs compare size, times and place of
    the file and hash again only where one of them differs; a changed hash decodes again. Within one
    process an image is looked at once, at :meth:`prepare`.

    Pixels on disk are served only where their digest says that they are those that were written;
    what is damaged, before or during use, is decoded again, with a warning that names the file.

    Several processes may use one cache. One adds images at a time, the others wait and then find
    the work done. A process killed while adding loses at most the last ``SHARD_BYTES`` of pixels.
    A cache that has every image asked for may be read-only.

    Args:
        size: side of the images in pixels.
        fit: see :func:`resize`.
        directory: folder of the caches; by default :func:`~mkgc_cl.data.cache_folder.cache_folder`.

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
        self._held: dict[str, _Held] = {}
        self._drawn: dict[str, Pixels] = {}

    @cached_property
    def _store(self) -> ImageStore:
        # When there is something to keep: drawn images need no folder.
        return ImageStore(self.directory or cache_folder(), size=self.size, fit=self.fit)

    def prepare(self, sources: Iterable[ImageSource]) -> None:
        """Decode what is not in the cache yet.

        Args:
            sources: images, in any order, repeated or not.

        Raises:
            ImageError: some images are missing or broken; one error counts them all and names the
                first few. The good ones are in the cache nevertheless.
            DataError: images must be added to the cache, and its folder cannot be written.
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
        """Return the ``(size, size, 3)`` uint8 pixels of one image, read-only.

        An image that was not prepared is prepared now; for many, :meth:`prepare` is much faster.

        Raises:
            ImageError: the image is missing or broken.
            DataError: its pixels are damaged, and the cache folder cannot be written.
        """
        pixels: Pixels = self.batch([source])[0]
        pixels.flags.writeable = False
        return pixels

    def batch(self, sources: Sequence[ImageSource]) -> Pixels:
        """Return the pixels of several images, ``(len(sources), size, size, 3)`` uint8.

        Raises:
            ImageError: some images are missing or broken.
            DataError: pixels are damaged, and the cache folder cannot be written.
        """
        known = (self._held, self._drawn)
        if absent := [s for s in sources if not any(s.key in images for images in known)]:
            self.prepare(absent)
        out = np.empty((len(sources), self.size, self.size, 3), dtype=np.uint8)
        for row, source in enumerate(sources):
            if (drawn := self._drawn.get(source.key)) is not None:
                out[row] = drawn
                continue
            try:
                self._store.read(self._held[source.key].entry, out[row])
            except DataError as error:
                self._replace_shard(self._held[source.key].entry.shard, error)
                self._store.read(self._held[source.key].entry, out[row])
        return out

    def _replace_shard(self, shard: str, error: DataError) -> None:
        """Find or decode the images again whose shard was lost or damaged after they were found.

        Raises:
            ImageError: an image is missing or broken, or another one than it was: half of a run
                must not see other pixels than its other half.
        """
        lost = {key: held for key, held in self._held.items() if held.entry.shard == shard}
        self.prepare(held.source for held in lost.values())
        for key, held in lost.items():
            if self._held[key].entry.fingerprint != held.entry.fingerprint:
                raise ImageError(
                    "the file was changed after this process had first read it, and its pixels of "
                    f"then are lost ({error}); start again",
                    path=key,
                ) from error

    def _prepare_drawn(self, source: ImageSource) -> None:
        if source.key not in self._drawn:
            self._drawn[source.key] = pixels_of(source, self.size, self.fit)

    def _prepare_files(self, files: Mapping[str, StampedSource]) -> dict[str, ImageError]:
        """Bring images in files into the store; return what is broken, by key."""
        store = self._store
        store.load()
        wanted, errors = _examine(files, store.entries)
        found = store.find(wanted)
        if any(store.entries.get(key) != found.get(key, entry) for key, entry in wanted.items()):
            try:
                with store.locked():
                    # Again: another process may have added images, or taken away a shard that
                    # this one had just read about.
                    store.load()
                    found = store.find(wanted)
                    for problem in store.damage:
                        logger.warning("%s; its images are decoded again", problem)
                    store.sweep()  # first, for there may be no room otherwise
                    if touched := {k: e for k, e in found.items() if e != store.entries[k]}:
                        store.commit(touched)
                    missing = {key: e for key, e in wanted.items() if key not in found}
                    errors |= self._decode(files, missing)
                    found.update({k: store.entries[k] for k in missing if k not in errors})
                    store.sweep()
            except DataError as error:
                if wanted.keys() - found.keys():
                    raise
                logger.info("new times of image files are not remembered: %s", error)
        self._held.update({key: _Held(files[key], entry) for key, entry in found.items()})
        return errors

    def _decode(
        self, files: Mapping[str, StampedSource], stale: Mapping[str, Entry]
    ) -> dict[str, ImageError]:
        """Decode the images of ``stale``, a shard at a time; return what is broken, by key."""
        errors: dict[str, ImageError] = {}
        keys = list(stale)
        step = max(1, SHARD_BYTES // (self.size * self.size * 3))
        # Pillow releases the interpreter lock while it decodes and resamples.
        with ThreadPoolExecutor(max_workers=min(8, usable_cores())) as pool:
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


def _examine(
    files: Mapping[str, StampedSource], known: Mapping[str, Entry]
) -> tuple[dict[str, Entry], dict[str, ImageError]]:
    """Return fingerprint and stamp of every file as it is now, and what cannot be read, by key."""
    found: dict[str, Entry] = {}
    errors: dict[str, ImageError] = {}
    for key, source in files.items():
        try:
            # Stamp before hash before pixels: a file that changes in between is caught the next
            # time, because what is recorded is then older than what was read.
            stamp = source.stamp()
            entry = known.get(key)
            if entry is None or entry.stamp != stamp:
                entry = Entry(source.fingerprint(), stamp)
            found[key] = Entry(entry.fingerprint, stamp)
        except ImageError as error:
            errors[key] = error
    return found, errors


def _all_errors(errors: Mapping[str, ImageError], total: int) -> ImageError:
    first = list(errors.values())
    if len(first) == 1:
        return first[0]
    lines = "".join(f"\n  {error}" for error in first[:NAMED_ERRORS])
    more = len(first) - NAMED_ERRORS
    rest = f"\n  ... and {more} more" if more > 0 else ""
    return ImageError(f"{len(first)} of {total} images are missing or broken:{lines}{rest}")
