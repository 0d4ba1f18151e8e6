"""A folder of checkpoints: the last ones are kept, and what is damaged is found before it is used.

::

    checkpoint-000007.json            what it is: plain data, and the tensors' files by sha256
    checkpoint-<part>-<sha>.safetensors   tensors of one part; those that did not change are shared
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

import mkgc_cl
from mkgc_cl._files import PREFIX, SUFFIX, write_atomic
from mkgc_cl.checkpoints.packing import pack, unpack
from mkgc_cl.errors import DataError, MissingDataError, OutputError
from mkgc_cl.inference.folders import checked_bytes, read_tensors, saving, write_tensors
from mkgc_cl.regular_file import read_regular

logger = logging.getLogger(__name__)

FORMAT = "mkgc_cl.checkpoint/1"
KEPT = 2
"""Checkpoints that are kept: the last one, and the one before it should that be damaged."""
LARGEST = 2**30
"""Bytes of a description: series over steps are in it."""


class CheckpointFolder:
    """Checkpoints of one run.

    Args:
        path: the folder; it is made by the first checkpoint.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._damaged: set[Path] = set()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep other processes from writing a checkpoint meanwhile.

        Raises:
            OutputError: the system refuses, or the folder holds a saved model.
        """
        try:
            with saving(self.path, FORMAT):
                try:
                    yield
                except BaseException:
                    self._remove_unnamed()  # parts of it, on a disk that is full perhaps
                    raise
        except OSError as error:
            reason = error.strerror or str(error)
            raise OutputError(
                f"{self.path}: a checkpoint cannot be written ({reason}); free space or choose "
                "another folder"
            ) from error

    def put(self, part: str, value: object, *, name: str | None = None) -> dict[str, Any]:
        """Write one part's tensors, and return its description; use within :meth:`writing`.

        Args:
            part: the part, as its files are named.
            value: its state.
            name: what to call it in messages; the part by default.

        Raises:
            ConfigError: it holds what a checkpoint cannot.
        """
        plain, tensors = pack(value, name or part)
        if not tensors:
            return {"plain": plain}
        there = {path.name for path in self.path.glob("checkpoint-*.safetensors")}
        data = _bytes_of(tensors)
        file = write_tensors(self.path, f"checkpoint-{part}", data)
        if file["file"] in there:
            try:
                checked_bytes(self.path, file)
            except DataError:  # it was damaged
                (self.path / file["file"]).unlink()
                write_tensors(self.path, f"checkpoint-{part}", data)
        return {"plain": plain, "tensors": file}

    def get(self, part: Mapping[str, Any], *, device: torch.device | str = "cpu") -> Any:
        """Read what :meth:`put` wrote.

        Raises:
            DataError: naming the file that is damaged or missing.
        """
        tensors = read_tensors(self.path, part["tensors"]) if "tensors" in part else {}
        return unpack(part["plain"], tensors, device=device)

    def write(self, body: Mapping[str, Any]) -> Path:
        """Write the description, by which the checkpoint is there; remove the ones before the last.

        Use within :meth:`writing`.
        """
        path = self.path / f"checkpoint-{1 + max(map(_number, self._all()), default=0):06}.json"
        whole = {"format": FORMAT, "written_by": f"mkgc_cl {mkgc_cl.__version__}", **body}
        write_atomic(path, json.dumps({"digest": _digest(whole), "body": whole}))
        self._remove_old()
        return path

    def newest(self) -> tuple[Path, dict[str, Any]] | None:
        """Return the last checkpoint that is whole; ``None`` where there never was one.

        One that is not is told in a line, and the one before it is taken.

        Raises:
            DataError: none is whole; says what is wrong with each.
        """
        wrong: list[DataError] = []
        for path in sorted(self._all(), key=_number, reverse=True):
            try:
                body = self._read(path)
                for file in _files(body):
                    checked_bytes(self.path, file)
            except DataError as error:
                self._damaged.add(path)
                wrong.append(error)
                continue
            if wrong:
                said = "; ".join(map(str, wrong))
                logger.warning("%s; going on from the checkpoint before, %s", said, path.name)
            return path, body
        if wrong:
            raise DataError(
                f"none of its checkpoints can be used: {'; '.join(map(str, wrong))}",
                path=self.path,
            )
        return None

    def named(self, name: str) -> tuple[Path, dict[str, Any]]:
        """Return a checkpoint that another process has found to be whole.

        Raises:
            DataError: it is not there.
        """
        return self.path / name, self._read(self.path / name)

    def require(self) -> tuple[Path, dict[str, Any]]:
        """Return :meth:`newest`, which must be there.

        Raises:
            MissingDataError: there never was one.
            DataError: none is whole.
        """
        found = self.newest()
        if found is None:
            raise MissingDataError(
                "expected a folder with checkpoints, found none; give the one they were saved into",
                path=self.path,
            )
        return found

    def _all(self) -> list[Path]:
        return [p for p in self.path.glob("checkpoint-*.json") if _number(p) > 0]

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            found: Any = json.loads(read_regular(path, limit=LARGEST))
            body, digest = found["body"], found["digest"]
            intact = digest == _digest(body)
        except DataError:
            raise
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(f"is no checkpoint, or a damaged one ({error})", path=path) from error
        if not intact:
            raise DataError("is damaged: its digest does not fit its content", path=path)
        if body.get("format") != FORMAT:
            raise DataError(
                f"expected format {FORMAT}, found {body.get('format')!r} "
                f"({body.get('written_by', 'unknown')}); use the version that wrote it",
                path=path,
            )
        return dict(body)

    def _remove_old(self) -> None:
        """Keep the last whole checkpoints and what they name."""
        kept: list[Path] = []
        named: set[str] = set()
        for path in sorted(self._all(), key=_number, reverse=True):
            if len(kept) == KEPT or path in self._damaged:
                continue
            try:
                files = {str(file["file"]) for file in _files(self._read(path))}
            except DataError:
                continue
            if all((self.path / name).is_file() for name in files):
                kept.append(path)
                named |= files
        # descriptions first: none may name a file that is gone
        for path in self._all():
            if path not in kept:
                path.unlink(missing_ok=True)
        self._remove_files(named)

    def _remove_unnamed(self) -> None:
        """Remove what a checkpoint left that did not come to be."""
        with suppress(OSError):
            named: set[str] = set()
            for path in self._all():
                with suppress(DataError):
                    named |= {str(file["file"]) for file in _files(self._read(path))}
            self._remove_files(named)

    def _remove_files(self, named: Container[str]) -> None:
        for path in self.path.glob("checkpoint-*.safetensors"):
            if path.name not in named:
                path.unlink(missing_ok=True)
        # the folder is ours alone now: these are of processes that were killed
        for path in self.path.glob(f"{PREFIX}*{SUFFIX}"):
            path.unlink(missing_ok=True)


def _bytes_of(tensors: Mapping[str, Tensor]) -> bytes:
    """A file of tensors, each on its own: it takes none that share memory or have gaps."""
    layout = torch.contiguous_format
    return safetensors.torch.save(
        {name: tensor.cpu().clone(memory_format=layout) for name, tensor in tensors.items()}
    )


def _number(path: Path) -> int:
    number = path.stem.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def _digest(body: object) -> str:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _files(value: object) -> Iterator[dict[str, str]]:
    """Every file that a description names; what a part holds beside its tensors names none."""
    if isinstance(value, dict):
        if value.keys() == {"file", "sha256"}:
            yield value
        else:
            for name, item in value.items():
                if name != "plain":
                    yield from _files(item)
    elif isinstance(value, list):
        for item in value:
            yield from _files(item)
