"""Claims on runs, so that processes that work on one folder share the work."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Claim a run for the length of the block.

    The claim is a lock of the operating system on a file beside the record. It ends with the
    process that holds it, however that ends: nobody waits for the dead. Its file goes when the run
    is finished.

    Args:
        path: of the record that the run will have.

    Yields:
        Whether the run is ours; ``False`` where another living process has it. ``True`` also where
        the file system has no locks, with a warning: there nothing is shared.
    """
    place = path.with_name(f".{path.stem}.claim")
    lock = FileLock(place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    except (OSError, NotImplementedError) as error:
        _warn(path.parent, str(error))
        yield True
        return
    try:
        yield True
    finally:
        # Another process may have opened the file and lock it, nameless, after us. That is no harm
        # where it finds the record; elsewhere two could claim one run, so the file stays.
        if path.exists():
            with suppress(OSError):
                place.unlink()
        lock.release()


@lru_cache
def _warn(folder: Path, why: str) -> None:
    """Say it once."""
    words = "%s: runs cannot be claimed here (%s); let no other process work on this folder"
    logger.warning(words, folder, why)


def is_free(path: Path) -> bool:
    """Whether no living process has claimed the run with this record."""
    with claimed(path) as mine:
        return mine
