"""Files behind the image cache: an index replaced atomically and shards that are written once."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from mkgc_cl.errors import DataError

logger = logging.getLogger(__name__)

#: Raised by one when the pixels a source leads to, or the files, change meaning.
FORMAT = 1

_SHARD_NAME = re.compile(r"shard-[0-9a-f]{16}\.npy")


@dataclass(frozen=True, slots=True)
class Entry:
    """What the index knows of one picture.

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


def replace_file(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Write a file so that at any moment the old or the new one is there, whole.

    Temporary file in the same folder, flushed to disk, renamed over the target; the folder is
    flushed last. Nothing is left behind when ``write`` fails.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class ImageStore:
    """Pixels on disk for one size, fit and Pillow version.

    Everything that writes happens inside :meth:`locked`.

    Args:
        root: folder of all caches.
        size: side of the pictures in pixels.
        fit: how pictures are brought to that size.
    """

    def __init__(self, root: Path, *, size: int, fit: str) -> None:
        import PIL

        # Decoding and resampling may differ by a grey level between versions of Pillow.
        settings = f"{size}-{fit}-v{FORMAT}-pillow{PIL.__version__}"
        self.directory = root / "images" / settings
        self.size = size
        self.entries: dict[str, Entry] = {}
        self._maps: dict[str, npt.NDArray[np.uint8]] = {}

    def __getstate__(self) -> dict[str, object]:
        """Leave the maps out: a worker process maps the files again instead of copying them."""
        return {**self.__dict__, "_maps": {}}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; others wait, and a killed process lets go.

        Raises:
            DataError: the folder cannot be made or written.
        """
        with self._explained():
            self.directory.mkdir(parents=True, exist_ok=True)
            file = (self.directory / "lock").open("ab")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.info("waiting for another process that fills %s", self.directory)
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def load(self) -> dict[str, Entry]:
        """Read the index again, drop entries without pixels, delete files without entries."""
        path = self.directory / "index.json"
        try:
            found = _parse(path.read_bytes())
        except FileNotFoundError:
            found = {}
        except (ValueError, TypeError, KeyError) as error:
            logger.warning("%s is damaged (%s); its images are decoded again", path, error)
            found = {}
        rows: dict[str, int] = {}
        for name in {entry.shard for entry in found.values()}:
            try:
                rows[name] = len(self.shard(name))
            except DataError as error:
                logger.warning("%s; its images are decoded again", error)
        self.entries = {k: e for k, e in found.items() if 0 <= e.row < rows.get(e.shard, 0)}
        self._sweep()
        return self.entries

    def commit(self, entries: Mapping[str, Entry]) -> None:
        """Add ``entries`` to the index, on disk before here.

        Raises:
            DataError: the folder cannot be written.
        """
        merged = {**self.entries, **entries}
        body = {
            "format": FORMAT,
            "entries": {k: [e.fingerprint, e.stamp, e.shard, e.row] for k, e in merged.items()},
        }
        data = json.dumps(body).encode()
        with self._explained():
            replace_file(self.directory / "index.json", lambda file: _write(file, data))
        self.entries = merged

    def append(self, pixels: npt.NDArray[np.uint8], entries: Mapping[str, Entry]) -> None:
        """Write one shard, then the index that refers to it.

        Args:
            pixels: ``(n, size, size, 3)`` uint8.
            entries: entry of each picture; its ``row`` is the row in ``pixels``.

        Raises:
            DataError: the folder cannot be written.
        """
        name = f"shard-{hashlib.sha256(pixels.tobytes()).hexdigest()[:16]}.npy"
        with self._explained():
            replace_file(
                self.directory / name, lambda file: np.save(file, pixels, allow_pickle=False)
            )
        self.commit({key: replace(entry, shard=name) for key, entry in entries.items()})

    def shard(self, name: str) -> npt.NDArray[np.uint8]:
        """Return the pixels of one shard as a read-only map, ``(n, size, size, 3)`` uint8.

        Raises:
            DataError: the shard is missing, cut short or of another shape.
        """
        if name not in self._maps:
            path = self.directory / name
            try:
                pixels = np.load(path, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise DataError(
                    f"not a whole shard of the image cache ({error})", path=path
                ) from error
            expected = (self.size, self.size, 3)
            if pixels.dtype != np.uint8 or pixels.shape[1:] != expected:
                raise DataError(
                    f"expected uint8 pixels (n, {self.size}, {self.size}, 3), found "
                    f"{pixels.dtype} {pixels.shape}",
                    path=path,
                )
            self._maps[name] = pixels
        return self._maps[name]

    def _sweep(self) -> None:
        """Delete shards that nothing refers to and leftovers of killed processes."""
        used = {entry.shard for entry in self.entries.values()}
        for path in (*self.directory.glob("shard-*.npy"), *self.directory.glob("*.tmp")):
            if path.name not in used:
                self._maps.pop(path.name, None)
                with self._explained():
                    path.unlink(missing_ok=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(
                f"the image cache cannot be written ({error.strerror}); free space there, or set "
                "MKGC_CACHE to a folder of yours",
                path=self.directory,
            ) from error


def _write(file: IO[bytes], data: bytes) -> None:
    file.write(data)


def _parse(data: bytes) -> dict[str, Entry]:
    """Read an index; anything unexpected is a ValueError, TypeError or KeyError."""
    body = json.loads(data)
    if body["format"] != FORMAT:
        raise ValueError(f"format {body['format']!r}, expected {FORMAT}")
    if not isinstance(body["entries"], dict):
        raise TypeError("its entries are not a table")
    entries: dict[str, Entry] = {}
    for key, (fingerprint, stamp, shard, row) in body["entries"].items():
        if not (isinstance(fingerprint, str) and isinstance(stamp, str) and isinstance(row, int)):
            raise TypeError(f"entry of {key!r} has values of wrong types")
        if not _SHARD_NAME.fullmatch(shard):
            # A name with a slash in it would lead out of the cache folder.
            raise ValueError(f"entry of {key!r} names the shard {shard!r}")
        entries[key] = Entry(fingerprint, stamp, shard, row)
    return entries
