"""Files behind the image cache, believed only where their digest says that they are whole.

A shard is raw pixels, and its name is their digest; the index carries a digest of itself. Shards
are read, never mapped: a mapped file that is cut short under its reader kills the process (SIGBUS),
and one that is changed under it changes pixels without a word. Reading costs 50 us an image more
than a map does, which is 1 ms of a step of 16 samples, and keeps the memory out of the process: it
is the page cache's, which all processes share. A shard is digested when a process first needs it,
and again when its stamp has changed: 1 s a GB.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from mkgc_cl._files import write_atomic
from mkgc_cl.errors import DataError, MissingDataError
from mkgc_cl.regular_file import open_regular, read_regular

logger = logging.getLogger(__name__)

#: Raised by one when the pixels a source leads to, or the files, change meaning.
FORMAT = 2

#: Bytes of pixels in a shard: what an interruption can lose.
SHARD_BYTES = 64 * 2**20

#: An index of more bytes is none of ours: this one would tell of a million images.
INDEX_BYTES = 2**28

_SHARD_NAME = re.compile(r"shard-[0-9a-f]{32}\.rgb")

#: Shards that this process has found to be what their names say, by what their stamps were then.
_whole: dict[Path, tuple[int, ...]] = {}


@dataclass(frozen=True, slots=True)
class Entry:
    """What the index knows of one image.

    Args:
        fingerprint: hash of the source bytes the pixels were made from.
        stamp: the source's stamp when it was last hashed.
        shard: file name of the shard with the pixels, empty while there are none.
        row: row in that shard.
    """

    fingerprint: str
    stamp: str
    shard: str = ""
    row: int = 0


class ImageStore:
    """Pixels on disk for one size, fit and Pillow version.

    Everything that writes happens inside :meth:`locked`; reading needs no lock, so that a cache
    with all that is asked for may be read-only.

    Args:
        root: folder of all caches.
        size: side of the images in pixels.
        fit: how images are brought to that size.

    Attributes:
        entries: the index as it was read or written last, without what was found damaged.
        damage: what was found damaged since the index was read, in words.
    """

    def __init__(self, root: Path, *, size: int, fit: str) -> None:
        import PIL

        # Decoding and resampling may differ by a grey level between versions of Pillow.
        settings = f"{size}-{fit}-v{FORMAT}-pillow{PIL.__version__}"
        self.directory = root / "images" / settings
        self.entries: dict[str, Entry] = {}
        self.damage: list[str] = []
        self._image_bytes = size * size * 3

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; others wait, and a killed process lets go.

        Raises:
            DataError: the folder cannot be made or written.
        """
        lock = FileLock(self.directory / "lock")
        with self._explained():
            self.directory.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                logger.info("waiting for another process that fills %s", self.directory)
                lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def load(self) -> None:
        """Read the index again; a damaged one counts as empty."""
        path = self.directory / "index.json"
        self.entries, self.damage = {}, []
        try:
            self.entries = self._parse(read_regular(path, limit=INDEX_BYTES))
        except MissingDataError:
            pass
        except DataError as error:
            self.damage.append(str(error))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            self.damage.append(f"{path}: not a whole index of the image cache ({error})")

    def find(self, wanted: Mapping[str, Entry]) -> dict[str, Entry]:
        """Return where pixels are, of those images that the store has, whole.

        Args:
            wanted: fingerprint and stamp of images as they are now, by key.
        """
        images: dict[str, int] = {}  # of every shard that is needed; 0 where it is damaged
        found: dict[str, Entry] = {}
        for key, entry in wanted.items():
            known = self.entries.get(key)
            if known is None or known.fingerprint != entry.fingerprint:
                continue
            if known.shard not in images:
                images[known.shard] = self._images(known.shard)
            if known.row < images[known.shard]:
                found[key] = replace(known, stamp=entry.stamp)
        self.entries = {k: e for k, e in self.entries.items() if images.get(e.shard, 1)}
        return found

    def commit(self, entries: Mapping[str, Entry]) -> None:
        """Add ``entries`` to the index, on disk before here.

        Raises:
            DataError: the folder cannot be written.
        """
        merged = {**self.entries, **entries}
        table = {k: [e.fingerprint, e.stamp, e.shard, e.row] for k, e in merged.items()}
        body = {"format": FORMAT, "digest": self._digest(table), "entries": table}
        with self._explained():
            write_atomic(self.directory / "index.json", json.dumps(body))
        self.entries = merged

    def append(self, pixels: npt.NDArray[np.uint8], entries: Mapping[str, Entry]) -> None:
        """Write one shard, then the index that refers to it.

        Args:
            pixels: ``(n, size, size, 3)`` uint8, contiguous.
            entries: entry of each image; its ``row`` is the row in ``pixels``.

        Raises:
            DataError: the folder cannot be written.
        """
        name = _shard_name(hashlib.sha256(pixels.data))
        with self._explained():
            write_atomic(self.directory / name, pixels.data)
        self.commit({key: replace(entry, shard=name) for key, entry in entries.items()})

    def read(self, entry: Entry, out: npt.NDArray[np.uint8]) -> None:
        """Read the pixels of one image into ``out``, ``(size, size, 3)`` uint8, contiguous.

        Raises:
            DataError: the shard is missing or is not what its name says.
        """
        with self._opened(entry.shard) as file:
            file.seek(entry.row * self._image_bytes)
            if file.readinto(out.data) != self._image_bytes:
                raise DataError(
                    f"the shard of the image cache has no row {entry.row}",
                    path=self.directory / entry.shard,
                )

    def sweep(self) -> None:
        """Delete shards that nothing refers to and leftovers of killed processes."""
        used = {entry.shard for entry in self.entries.values()}
        for path in self.directory.iterdir():
            if path.name not in used and (path.name.startswith("shard-") or path.suffix == ".tmp"):
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:  # on Windows, one that another process is reading
                    logger.debug("%s stays for now: %s", path, error)

    def _images(self, name: str) -> int:
        """Return the number of images in a shard, 0 where it is damaged."""
        try:
            with self._opened(name) as file:
                return os.fstat(file.fileno()).st_size // self._image_bytes
        except DataError as error:
            self.damage.append(str(error))
            return 0

    @contextmanager
    def _opened(self, name: str) -> Iterator[BufferedReader]:
        """Open a shard that is what its name says, and see that it stays so while it is read.

        Raises:
            DataError: it is missing, or is not what its name says.
        """
        path = (self.directory / name).absolute()
        try:
            # of bounded size: digesting what somebody else's program put there could take hours
            with open_regular(path, limit=max(SHARD_BYTES, self._image_bytes)) as file:
                stamp = _stamp(file)
                if _whole.get(path) != stamp:
                    self._verify(file, path)
                    _whole[path] = stamp
                yield file
                if _stamp(file) != stamp:
                    raise DataError("the shard was changed while it was read", path=path)
        except OSError as error:
            raise DataError(
                f"the shard of the image cache cannot be read ({error.strerror})", path=path
            ) from error

    def _verify(self, file: BufferedReader, path: Path) -> None:
        size = os.fstat(file.fileno()).st_size
        if size % self._image_bytes:
            raise DataError(
                f"not a whole shard of the image cache: {size:,} bytes, expected a multiple of "
                f"{self._image_bytes:,}",
                path=path,
            )
        digest = hashlib.sha256()
        while block := file.read(2**20):
            digest.update(block)
        if path.name != _shard_name(digest):
            raise DataError(
                "the shard of the image cache is damaged: its pixels are not those it is named by",
                path=path,
            )

    def _digest(self, table: Mapping[str, object]) -> str:
        # With the folder's name: an index of another size or fit must not be taken for this one's.
        text = json.dumps([self.directory.name, table], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _parse(self, data: bytes) -> dict[str, Entry]:
        """Read an index; anything unexpected is a ValueError, TypeError or KeyError."""
        body = json.loads(data)
        if body["format"] != FORMAT:
            raise ValueError(f"format {body['format']!r}, expected {FORMAT}")
        if not isinstance(body["entries"], dict):
            raise TypeError("its entries are not a table")
        if body["digest"] != self._digest(body["entries"]):
            raise ValueError("its entries are not those that were written")
        entries: dict[str, Entry] = {}
        for key, (fingerprint, stamp, shard, row) in body["entries"].items():
            if not (isinstance(fingerprint, str) and isinstance(stamp, str)):
                raise TypeError(f"entry of {key!r} has values of wrong types")
            if not isinstance(row, int) or row < 0:
                raise ValueError(f"entry of {key!r} names the row {row!r}")
            if not _SHARD_NAME.fullmatch(shard):
                # A name with a slash in it would lead out of the cache folder.
                raise ValueError(f"entry of {key!r} names the shard {shard!r}")
            entries[key] = Entry(fingerprint, stamp, shard, row)
        return entries

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
            reason = getattr(error, "strerror", None) or error
            found = "".join(f"; {problem}" for problem in self.damage)
            raise DataError(
                f"the image cache cannot be written ({reason}){found}; free space there, or set "
                "MKGC_CACHE to a folder of yours",
                path=self.directory,
            ) from error


def _shard_name(digest: hashlib._Hash) -> str:
    return f"shard-{digest.hexdigest()[:32]}.rgb"


def _stamp(file: BufferedReader) -> tuple[int, ...]:
    """Return what differs where a file may have been replaced or changed."""
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
