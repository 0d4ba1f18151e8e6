"""The files of runs, and their records read strictly; :mod:`mkgc_cl.runs.kept` writes them.

Under the folder of a grid::

    records/<key>.json          a finished run: its record and digests of it and of its series
    records/<key>.traces.json   its series over training steps
    checkpoints/<key>/          what a run that was killed goes on from, until it is finished
    failed/<key>.json           a run that failed: what it was and the traceback
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mkgc_cl.results.json_files import TOO_DEEP, is_number, read_json
from mkgc_cl.results.record import RecordError, RunRecord

logger = logging.getLogger(__name__)

TRACES = ".traces.json"


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
        raise ValueError(TOO_DEEP) from error
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


def read_results(path: str | Path) -> tuple[RunRecord, ...]:
    """Read a ``results.json``, without traces.

    Raises:
        RecordError: naming the file and what is wrong with it.
    """
    try:
        data: Any = read_json(Path(path))
        return tuple(RunRecord.from_dict(entry) for entry in data["records"])
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path}: not a results file of mkgc_cl ({error})") from error


def run_key(identity: Mapping[str, object]) -> str:
    """Return the name of a run's files, the same on every machine."""
    return digest(identity)[:16]


def digest(data: object) -> str:
    """Return the sha256 of plain data."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _is_series(values: object) -> bool:
    """Whether it is a list of numbers, ``None`` for those that JSON has no word for."""
    return isinstance(values, list) and all(map(is_number, values))
