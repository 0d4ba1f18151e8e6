"""The files of one run: read strictly, written whole, never lost without a word.

Under the folder of a grid::

    records/<key>.json          a finished run: its record and digests of it and of its series
    records/<key>.traces.json   its series over training steps
    checkpoints/<key>/          what a run that was killed goes on from, until it is finished
    failed/<key>.json         a run that failed: what it was and the traceback
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkgc_cl._files import write_atomic
from mkgc_cl.errors import OutputError
from mkgc_cl.results.json_files import is_number, read_json, to_json
from mkgc_cl.results.record import RecordError, RecordFormatError, RunRecord
from mkgc_cl.results.writing import reason_of

if TYPE_CHECKING:
    from mkgc_cl.results.grid import Run

logger = logging.getLogger(__name__)

TRACES = ".traces.json"
_DEEP = "lists within lists, too deep to be read"


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


def read_run(path: Path) -> RunRecord:
    """Read a record with its series.

    Raises:
        RecordFormatError: it was written by another version.
        ValueError: a file is missing, damaged, or of another run than the other.
    """
    side = path.with_name(path.stem + TRACES)
    data, series = read_json(path), read_json(side)
    if not isinstance(data, dict) or "record" not in data:
        raise ValueError("it has no record")
    if not isinstance(series, dict) or not all(map(_is_series, series.values())):
        raise ValueError(f"{side.name} holds no series of numbers")
    try:
        if data.get("digest") != digest(data["record"]):
            raise ValueError("its digest does not fit its record")
        # records of earlier versions have none for their series
        if "traces_digest" in data and data["traces_digest"] != digest(series):
            raise ValueError(f"{side.name} is that of another run")
    except RecursionError as error:
        raise ValueError(_DEEP) from error
    traces = {name: [math.nan if v is None else v for v in s] for name, s in series.items()}
    return RunRecord.from_dict(data["record"], traces=traces)


def read_runs(out: str | Path) -> dict[Path, RunRecord | Exception]:
    """Return, for every file of a run in a grid's folder, its record or why it has none."""
    found: dict[Path, RunRecord | Exception] = {}
    for path in sorted(Path(out).glob("records/*.json")):
        if path.name.endswith(TRACES):
            continue
        try:
            found[path] = read_run(path)
        except (OSError, ValueError) as error:
            found[path] = error
    return found


def finished_records(out: str | Path) -> tuple[RunRecord, ...]:
    """Return every finished run of a grid's folder, by scenario, order, system and seed.

    A file that cannot be read is left out, with a warning: the run is made again when it is asked
    for. So is a second file of one run, under a name that is not its own.
    """
    runs: dict[str, list[tuple[Path, RunRecord]]] = {}
    for path, record in read_runs(out).items():
        if isinstance(record, RunRecord):
            names = ("system", "scenario", "order", "seed", "config")
            key = run_key({name: getattr(record, name) for name in names})
            runs.setdefault(key, []).append((path, record))
        else:
            logger.warning("%s is left out of the results: %s", path, record)
    found = []
    for key, same in runs.items():
        (first, record), *copies = sorted(same, key=lambda each: each[0].stem != key)
        found.append(record)
        for path, _ in copies:
            logger.warning("%s is left out of the results: %s is of that run", path, first.name)
    return tuple(sorted(found, key=lambda r: (r.scenario, r.order, r.system, r.seed)))


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


def run_key(identity: Mapping[str, object]) -> str:
    """Return the name of a run's files, the same on every machine."""
    return digest(identity)[:16]


def note_of_failure(out: Path, run: Run) -> dict[str, object] | None:
    """Return what is written down of a run's failure; ``None`` where nothing readable is."""
    path = out / "failed" / f"{run.key}.json"
    try:
        note = read_json(path)
    except ValueError:
        return None
    return note if isinstance(note, dict) else None


def digest(data: object) -> str:
    """Return the sha256 of plain data."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


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


def _is_series(values: object) -> bool:
    """Whether it is a list of numbers, ``None`` for those that JSON has no word for."""
    return isinstance(values, list) and all(map(is_number, values))


def _or_null(value: float) -> float | None:
    """JSON has no word for NaN and infinities; a trace may hold them, a measure may not."""
    return value if math.isfinite(value) else None
