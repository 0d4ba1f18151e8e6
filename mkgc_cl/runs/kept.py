"""Keeping the files of a run: written whole, never lost without a word.

What they are stands in :mod:`mkgc_cl.results.run_files`.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mkgc_cl._files import write_atomic
from mkgc_cl.errors import OutputError
from mkgc_cl.results.json_files import read_json, to_json
from mkgc_cl.results.record import RecordError, RecordFormatError, RunRecord
from mkgc_cl.results.run_files import TRACES, digest, read_run
from mkgc_cl.results.writing import reason_of
from mkgc_cl.runs.run import Run

logger = logging.getLogger(__name__)


def paths_of(out: Path, run: Run) -> tuple[Path, Path]:
    """Return where the record of a run and its series lie."""
    return out / "records" / f"{run.key}.json", out / "records" / f"{run.key}{TRACES}"


def checkpoint_folder(out: Path, run: Run) -> Path:
    """Return where the checkpoints of a run lie."""
    return out / "checkpoints" / run.key


def remove_checkpoints(out: Path, run: Run) -> None:
    """Remove the checkpoints of a run that is finished."""
    shutil.rmtree(checkpoint_folder(out, run), ignore_errors=True)
    with suppress(OSError):  # others have some there
        (out / "checkpoints").rmdir()


def load_run(out: str | Path, run: Run) -> RunRecord | None:
    """Return the record of a finished run, or ``None`` if it has to be made.

    Damaged files are set aside, as ``*.damaged``.

    Raises:
        RecordError: if the file holds another run or was written by a newer version.
        OutputError: if a damaged file cannot be set aside.
    """
    path, side = paths_of(Path(out), run)
    if not os.path.exists(path):  # which a folder that cannot be looked into does not break
        return None
    try:
        record = read_run(path)
    except RecordFormatError as error:
        raise RecordFormatError(f"{path}: {error}") from error
    except (OSError, ValueError) as error:
        aside = _set_aside(path)
        _set_aside(side)
        logger.warning(
            "%s is damaged (%s); it is kept as %s and the run (%s) runs again",
            path,
            error,
            aside.name,
            run.name,
        )
        return None
    if (wrong := foreign(record, run)) is not None:
        raise RecordError(
            f"{path}: {wrong}; somebody renamed it: move it away, or choose another output folder"
        )
    return record


def foreign(record: RunRecord, run: Run) -> str | None:
    """Say how ``record`` is not ``run``'s, or ``None``."""
    found = (record.system, record.scenario, record.order, record.seed)
    wanted = (run.system, run.scenario, run.order, run.seed)
    return None if found == wanted else f"it holds the run {found}, expected {wanted}"


def keep_record(out: Path, run: Run, record: RunRecord) -> None:
    """Write a finished run, and forget that it failed before.

    Raises:
        OutputError: the system refuses; the record is in a temporary folder, or in the message.
        ValueError: the record holds what JSON has no word for.
    """
    series = {name: [_or_null(v) for v in values] for name, values in record.traces.items()}
    plain = record.to_dict()
    whole = {"digest": digest(plain), "record": plain, "traces_digest": digest(series)}
    path, side = paths_of(out, run)
    try:
        _write_run(path, whole, side, series)
        (out / "failed" / path.name).unlink(missing_ok=True)
        remove_checkpoints(out, run)
    except OSError as error:
        raise OutputError(
            f"{path}: the record of the finished run ({run.name}) cannot be written "
            f"({reason_of(error)}); {_rescue(path, whole, series)}"
        ) from error


def keep_failure(out: Path, run: Run, error: str, traceback: str) -> Path:
    """Write down that a run failed, and return the path.

    Raises:
        OutputError: the system refuses; the message says what the run failed of.
    """
    path = out / "failed" / f"{run.key}.json"
    note = {**run.identity, "error": error, "traceback": traceback}
    try:
        write_atomic(path, to_json(note))
    except (OSError, ValueError) as refused:
        raise OutputError(
            f"{path}: that the run ({run.name}) failed cannot be written ({reason_of(refused)}); "
            f"it failed of {error}"
        ) from refused
    return path


def note_of_failure(out: Path, run: Run) -> dict[str, object] | None:
    """Return what is written down of a run's failure; ``None`` where nothing readable is."""
    path = out / "failed" / f"{run.key}.json"
    try:
        note = read_json(path)
    except ValueError:
        return None
    return note if isinstance(note, dict) else None


def _write_run(path: Path, whole: object, side: Path, series: object) -> None:
    # the record last: a run counts as finished when it is there
    write_atomic(side, to_json(series))
    write_atomic(path, to_json(whole))


def _rescue(path: Path, whole: Mapping[str, Any], series: object) -> str:
    """Keep a record that its folder does not take, and say where."""
    try:
        place = Path(tempfile.mkdtemp(prefix="mkgc-kept-"))
        _write_run(place / path.name, whole, place / f"{path.stem}{TRACES}", series)
    except OSError as error:
        text = json.dumps(whole, sort_keys=True)
        return (
            f"nor can a temporary folder keep it ({reason_of(error)}): here is what {path.name} "
            f"would hold, without the series over steps\n{text}"
        )
    return f"it is kept in {place}: move its files to {path.parent}"


def _set_aside(path: Path) -> Path:
    """Rename a file, over no other one; one that is gone meanwhile stays gone."""
    names = (f"{path.name}.damaged{'' if n == 1 else f'-{n}'}" for n in range(1, 1000))
    aside = next(place for name in names if not (place := path.with_name(name)).exists())
    try:
        path.rename(aside)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise OutputError(
            f"{path}: it is damaged and cannot be set aside ({reason_of(error)}); move it away"
        ) from error
    return aside


def _or_null(value: float) -> float | None:
    """JSON has no word for NaN and infinities; a trace may hold them, a measure may not."""
    return value if math.isfinite(value) else None
