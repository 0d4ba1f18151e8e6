"""Files behind the feature cache: written once, named by their digest, believed only where it fits.

Nothing is locked and nothing is ever changed. Whoever has encoded samples adds a file of their
features; a reader finds the files that are there. Two processes that encode the same samples leave
them twice, which costs room alone. Files are read, never mapped: a mapped file that is cut short
under its reader kills the process.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from mkgc_cl._files import write_atomic
from mkgc_cl.errors import DataError, MissingDataError
from mkgc_cl.regular_file import open_regular, read_regular

logger = logging.getLogger(__name__)

KEY_BYTES = 32
LARGEST = 2**32
"""Bytes of a file: one batch of samples is far from it."""

_DAMAGED = "features are not used, their samples are encoded again: %s"
_NAME = re.compile(r"([0-9a-f]{64})\.safetensors")


class _Place(NamedTuple):
    """Where a sample's rows stand: a file, by what its stamp was when it was whole, and a part."""

    name: str
    start: int
    rows: int


class _Whole(NamedTuple):
    """A file that was found to be what its name says."""

    stamp: tuple[int, ...]
    width: int


class FeatureStore:
    """Features (R, F) of samples by key, in single precision, in one folder.

    Any number of processes may use it at a time. A file is digested when a process first finds it,
    and again when its stamp has changed: 1 s a GB. What is damaged counts as absent, with a warning
    that names the file.

    Args:
        folder: the folder; it is made when something is added.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._places: dict[bytes, _Place] = {}
        self._whole: dict[str, _Whole] = {}
        self._refused: set[str] = set()

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Tensor]:
        """Return the features (R, F) of those of ``keys`` that are kept."""
        if any(key not in self._places for key in keys):
            self._look()
        wanted: dict[str, list[tuple[bytes, _Place]]] = {}
        for key in dict.fromkeys(keys):
            if (place := self._places.get(key)) is not None:
                wanted.setdefault(place.name, []).append((key, place))
        found: dict[bytes, Tensor] = {}
        for name, places in wanted.items():
            found.update(self._read(name, places))
        return found

    def add(self, features: Mapping[bytes, Tensor]) -> None:
        """Keep features (R, F) of samples by key, at least one, equally wide.

        Raises:
            OSError: the folder cannot be written.
        """
        rows = [value.detach().float().cpu() for value in features.values()]
        counts = torch.tensor([len(value) for value in rows])
        keys = torch.frombuffer(bytearray(b"".join(features)), dtype=torch.uint8)
        tensors = {"keys": keys, "rows": counts, "values": torch.cat(rows).contiguous()}
        data = save(tensors)
        name = f"{hashlib.sha256(data).hexdigest()}.safetensors"
        write_atomic(self.folder / name, data)
        self._refused.discard(name)
        self._learn(name, data)

    def _look(self) -> None:
        """Learn of files that others have added."""
        try:
            names = sorted(os.listdir(self.folder))
        except OSError:
            return
        for name in names:
            if name in self._whole or name in self._refused or not _NAME.fullmatch(name):
                continue
            self._check(name)

    def _check(self, name: str) -> None:
        """Digest a file and learn what is in it, or refuse it."""
        try:
            data = read_regular(self.folder / name, limit=LARGEST)
            if hashlib.sha256(data).hexdigest() != name.partition(".")[0]:
                raise DataError("its content is not what was written", path=self.folder / name)
            self._learn(name, data)
        except (MissingDataError, FileNotFoundError):  # somebody has just deleted it
            return
        except (OSError, DataError, ValueError, KeyError, IndexError, TypeError) as error:
            logger.warning(_DAMAGED, error)
            self._refused.add(name)

    def _learn(self, name: str, data: bytes) -> None:
        """Remember where the rows of every sample stand in a file that is whole."""
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        base = 8 + length
        starts = {key: base + header[key]["data_offsets"][0] for key in ("keys", "rows", "values")}
        number = header["rows"]["shape"][0]
        width = header["values"]["shape"][1]
        counts = np.frombuffer(data, dtype="<i8", count=number, offset=starts["rows"]).tolist()
        self._whole[name] = _Whole(_stamp(os.stat(self.folder / name)), width)
        start = starts["values"]
        for index, rows in enumerate(counts):
            at = starts["keys"] + index * KEY_BYTES
            self._places[data[at : at + KEY_BYTES]] = _Place(name, start, rows)
            start += rows * width * 4

    def _read(
        self, name: str, places: Sequence[tuple[bytes, _Place]]
    ) -> Iterator[tuple[bytes, Tensor]]:
        """Read samples of one file; none of them where it is no longer what it was."""
        whole = self._whole[name]
        try:
            with open_regular(self.folder / name, limit=LARGEST) as file:
                if _stamp(os.fstat(file.fileno())) != whole.stamp:
                    raise DataError("it was changed while in use", path=self.folder / name)
                for key, place in places:
                    file.seek(place.start)
                    data = bytearray(file.read(place.rows * whole.width * 4))
                    values = torch.from_numpy(np.frombuffer(data, dtype="<f4"))
                    yield key, values.view(place.rows, whole.width)
        except FileNotFoundError:
            self._forget(name)
        except (OSError, DataError, ValueError) as error:
            logger.warning(_DAMAGED, error)
            self._forget(name)

    def _forget(self, name: str) -> None:
        self._whole.pop(name, None)
        self._places = {key: place for key, place in self._places.items() if place.name != name}


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    return found.st_size, found.st_mtime_ns, found.st_ino
