"""Folders of saved models: a description in JSON, tensors in safetensors, nothing that is code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from torch import Tensor

import mkgc_cl
from mkgc_cl._files import write_atomic
from mkgc_cl._patience import patiently
from mkgc_cl.errors import DataError, MissingDataError, OutputError
from mkgc_cl.regular_file import read_regular

CONFIG = "config.json"
LOCK = ".lock"
PATIENCE = 60.0
"""Seconds that a save waits for another process that changes the folder."""
LARGEST_CONFIG = 2**26
LARGEST_TENSORS = 2**36

T = TypeVar("T")


@contextmanager
def saving(
    folder: Path, format_: str, *, waiting: Callable[[], object] | None = None
) -> Iterator[None]:
    """Make a folder that is to be saved into, and keep others from saving into it meanwhile.

    Who has the folder may save into it again, inside.

    Args:
        folder: the folder.
        format_: what is saved, see :func:`read_config`.
        waiting: called where another process has the folder, which is waited for without end then;
            by default for :data:`PATIENCE`.

    Raises:
        OutputError: the folder holds something else, which would be lost, or others do not finish.
        OSError: it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # one lock for each folder and thread: another one of the same thread would wait for the first
    lock = FileLock(folder.resolve() / LOCK, is_singleton=True)
    try:
        lock.acquire(timeout=PATIENCE if waiting is None else 0)
    except Timeout as error:
        if waiting is None:
            raise OutputError(f"{folder}: another process is changing it; try again") from error
        waiting()
        lock.acquire()
    except NotImplementedError:
        pass  # a file system without locks, where nothing is shared
    try:
        _require_own(folder, format_)
        yield
    finally:
        lock.release()


def _require_own(folder: Path, format_: str) -> None:
    name = format_.partition("/")[0]
    if (folder / CONFIG).exists():
        try:
            found: Any = json.loads(read_regular(folder / CONFIG, limit=LARGEST_CONFIG))
        except (ValueError, RecursionError):
            found = None
        own = isinstance(found, dict) and str(found.get("format", "")).partition("/")[0] == name
    else:
        own = not (folder / "README.md").exists()
    if not own:
        raise OutputError(
            f"{folder}: holds something else than a saved {name}, whose files would be lost; name "
            "another folder"
        )


def read_saved(folder: Path, format_: str, build: Callable[[dict[str, Any]], T]) -> T:
    """Build what a folder describes; anew, where somebody saved into it meanwhile.

    Args:
        folder: the folder.
        format_: what it must be, see :func:`read_config`.
        build: builds it from the description.

    Raises:
        DataError: as of :func:`read_config` and ``build``.
    """
    while True:
        described = read_config(folder, format_)
        try:
            return build(described)
        except DataError:
            # the files that it names are gone as soon as a newer one is there
            if read_config(folder, format_) == described:
                raise


def write_config(folder: Path, format_: str, described: Mapping[str, Any]) -> None:
    """Write the description of a folder; until then the folder is what it was before.

    Raises:
        OSError: it cannot be written.
    """
    plain = {"format": format_, "written_by": f"mkgc_cl {mkgc_cl.__version__}", **described}
    write_atomic(folder / CONFIG, json.dumps(plain, indent=1, ensure_ascii=False) + "\n")


def read_config(folder: Path, format_: str) -> dict[str, Any]:
    """Read the description of a folder.

    Args:
        folder: the folder.
        format_: what it must be: a name, ``/`` and a version.

    Raises:
        MissingDataError: there is no folder, or nothing of ours in it.
        DataError: it is something else, of a newer version, or damaged.
    """
    path = folder / CONFIG
    name, _, version = format_.partition("/")
    if not folder.is_dir():
        raise MissingDataError(f"expected a folder with a saved {name}, found none", path=folder)
    try:
        found: Any = json.loads(read_regular(path, limit=LARGEST_CONFIG))
    except MissingDataError as error:
        if {entry.name for entry in folder.iterdir()} <= {LOCK}:  # of a first save that failed
            raise MissingDataError(
                f"expected a saved {name}, found an empty folder; nothing was saved into it",
                path=folder,
            ) from error
        raise
    except DataError:
        raise
    except (ValueError, RecursionError) as error:
        raise DataError(f"expected JSON, found something else ({error})", path=path) from error
    kind = str(found.get("format", "")) if isinstance(found, dict) else ""
    other, _, newer = kind.partition("/")
    if other != name:
        raise DataError(
            f"expected a saved {name}, found {kind or 'another kind of file'!r}; give the folder "
            "that it was saved into",
            path=path,
        )
    if newer != version:
        late = newer.isdigit() and int(newer) > int(version)
        what = f"{'a newer' if late else 'another'} version of mkgc_cl"
        writer = found.get("written_by", what)
        raise DataError(
            f"expected format {format_}, found {kind}, of {what} ({writer}); "
            f"{'update mkgc_cl, or ' if late else ''}make it again with this version",
            path=path,
        )
    return dict(found)


def write_tensors(folder: Path, name: str, tensors: Mapping[str, Tensor] | bytes) -> dict[str, str]:
    """Write tensors under a name that ends in their digest; return what a description needs.

    The same tensors are written once, and a file that another description names is never changed.

    Args:
        folder: the folder.
        name: how the file's name begins.
        tensors: the tensors, or a file of them.

    Raises:
        OSError: it cannot be written.
    """
    if isinstance(tensors, bytes):
        data = tensors
    else:
        plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        data = safetensors.torch.save(plain)
    digest = hashlib.sha256(data).hexdigest()
    path = folder / f"{name}-{digest[:12]}.safetensors"
    if not path.is_file() or path.stat().st_size != len(data):
        write_atomic(path, data)
    return {"file": path.name, "sha256": digest}


def checked_bytes(folder: Path, described: Mapping[str, Any]) -> bytes:
    """Read a file that a description names.

    Raises:
        MissingDataError: it is not there.
        DataError: it is not the file that was written, or its name leads elsewhere.
    """
    name = described.get("file")
    if not isinstance(name, str) or Path(name).name != name:
        raise DataError(
            f"expected the name of a file in the folder, found {name!r}", path=folder / CONFIG
        )
    data = read_regular(folder / name, limit=LARGEST_TENSORS)
    if hashlib.sha256(data).hexdigest() != described.get("sha256"):
        raise DataError(
            "its content is not what was saved: it is truncated, damaged or of another model; copy "
            "the folder again",
            path=folder / name,
        )
    return data


def read_tensors(folder: Path, described: Mapping[str, Any]) -> dict[str, Tensor]:
    """Read tensors that :func:`write_tensors` wrote.

    Raises:
        DataError: as of :func:`checked_bytes`, or they are no tensors.
    """
    data = checked_bytes(folder, described)
    try:
        return safetensors.torch.load(data)
    except (SafetensorError, ValueError) as error:
        path = folder / str(described.get("file"))
        raise DataError(f"cannot be read as tensors ({error})", path=path) from error


def remove_unnamed(folder: Path, named: set[str]) -> None:
    """Remove tensor files of earlier saves, which no description names any more."""
    for path in folder.glob("*-????????????.safetensors"):
        if path.name not in named:
            patiently(partial(path.unlink, missing_ok=True))  # a server may be reading it
