"""Writing files so that a reader sees the old one or the new one, never half of one."""

from __future__ import annotations

import json
import os
from pathlib import Path


def write_atomic(path: Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path`` in one step, whatever happens in between.

    The text goes to a temporary file in the same folder, is forced to disk and then takes the place
    of ``path``. A process that is killed leaves the old file; the temporary one it may leave is
    removed by the next write to the same path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in path.parent.glob(f".{path.name}.*.tmp"):
        stale.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def to_json(data: object) -> str:
    """Return JSON with sorted keys and a final newline; the same data gives the same bytes.

    Raises:
        ValueError: if ``data`` holds a NaN or an infinity, which JSON has no word for.
    """
    return json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut; a no-op where folders cannot be opened."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
