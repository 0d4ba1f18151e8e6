"""Running a grid of cells: each once, each safely on disk, whatever happens in between.

Under the folder of a grid::

    cells/<key>.json          a finished cell: its record and a digest of it
    cells/<key>.traces.json   its series over training steps
    failed/<key>.json         a cell that failed: what it was and the traceback
    results.json              {"cells": [...]}: records of all finished cells, of this call and of
                              earlier ones, by scenario, order, system and seed
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mkgc_cl.errors import ConfigError
from mkgc_cl.results.files import to_json, write_atomic
from mkgc_cl.results.parallel import as_finished
from mkgc_cl.results.progress import GridProgress, Progress, duration
from mkgc_cl.results.record import CellRecord, RecordError, RecordFormatError
from mkgc_cl.results.undefined import mean_defined, per_cent

logger = logging.getLogger(__name__)

TRACES = ".traces.json"


@dataclass(frozen=True)
class Cell:
    """One run to be made.

    Args:
        system: name of the system.
        scenario: name of the stream.
        order: order of classes or name of the split.
        seed: seed of the run.
        config: every setting that can change the numbers, as plain JSON types. Settings that
            cannot (output folder, quietness, the list of the other seeds) must stay out, or a
            finished cell would be run again for nothing.
    """

    system: str
    scenario: str
    order: str
    seed: int
    config: Mapping[str, object] = field(default_factory=dict)

    @property
    def identity(self) -> dict[str, object]:
        """What tells this cell from every other."""
        return {
            "system": self.system,
            "scenario": self.scenario,
            "order": self.order,
            "seed": self.seed,
            "config": dict(self.config),
        }

    @property
    def key(self) -> str:
        """Name of the cell's files: a digest of :attr:`identity`, the same on every machine."""
        return _digest(self.identity)[:16]

    @property
    def setting(self) -> str:
        """Name of a folder for this cell and all that differ from it in system or seed only."""
        shared = {k: v for k, v in self.identity.items() if k not in ("system", "seed")}
        # Orders of relations are many words with slashes; the digest tells them apart.
        order = re.sub(r"[^A-Za-z0-9]+", "-", self.order).strip("-")[:40].rstrip("-")
        return f"{order}-{_digest(shared)[:8]}"

    @property
    def name(self) -> str:
        """The cell in words."""
        return f"{self.system}, {self.order}, seed {self.seed}"


@dataclass(frozen=True)
class CellFailure:
    """A cell that did not come to its end, with the whole traceback."""

    cell: Cell
    error: str
    traceback: str


@dataclass(frozen=True)
class GridResult:
    """What a grid left: records of its folder (:func:`finished_records`), and failures."""

    records: tuple[CellRecord, ...]
    failures: tuple[CellFailure, ...]

    @property
    def exit_code(self) -> int:
        """0 if every cell finished, else 1."""
        return 1 if self.failures else 0


def run_grid(
    cells: Sequence[Cell],
    run: Callable[[Cell, Progress], CellRecord],
    *,
    out: str | Path,
    quiet: bool = False,
    jobs: int = 1,
) -> GridResult:
    """Run every cell that is not finished yet and gather all records.

    A cell whose file is whole is read, not run. A damaged file is set aside as ``*.damaged`` and
    its cell runs again. A cell that raises is recorded as failed, with its traceback, and the
    others go on; it is tried again the next time. Only an interrupt (Ctrl-C, a signal) ends the
    grid early; the same call later goes on from there.

    Args:
        cells: the cells, in the order in which they run.
        run: makes the record of one cell; calls the second argument with its progress.
        out: folder of the grid.
        quiet: no progress.
        jobs: cells at a time. More than one run in processes of their own, which import ``run`` by
            its name; their progress is shown when they end.

    Returns:
        Records of all finished cells of the folder, asked for this time or earlier, and failures of
        this time.

    Raises:
        ConfigError: if two cells are the same, or ``jobs`` is below 1.
        RecordError: if a cell's file holds another cell, or was written by a newer version.
    """
    out = Path(out)
    _check_distinct(cells)
    if jobs < 1:
        raise ConfigError([f"jobs={jobs}; give 1 or more"])
    todo = [cell for cell in cells if load_cell(out, cell) is None]
    failures: list[CellFailure] = []
    progress = GridProgress(len(todo), quiet=quiet)
    if done := len(cells) - len(todo):
        progress.message(f"{done} of {len(cells)} cells are finished already in {out}")
    try:
        for cell, made in _made(todo, run, progress, jobs):
            if (failure := _keep(cell, made, out, progress)) is not None:
                failures.append(failure)
    finally:
        progress.close()
        finished = finished_records(out)
        _write(out / "results.json", {"cells": [record.to_dict() for record in finished]})
    return GridResult(finished, tuple(failures))


def finished_records(out: str | Path) -> tuple[CellRecord, ...]:
    """Return every finished cell of a grid's folder, by scenario, order, system and seed.

    A file that cannot be read is left out, with a warning: the cell runs again when it is asked
    for.
    """
    found = []
    for path, record in read_cells(out).items():
        if isinstance(record, CellRecord):
            found.append(record)
        else:
            logger.warning("%s is left out of the results: %s", path, record)
    return tuple(sorted(found, key=lambda r: (r.scenario, r.order, r.system, r.seed)))


def read_cells(out: str | Path) -> dict[Path, CellRecord | Exception]:
    """Return, for every file of a cell in a grid's folder, its record or why it has none."""
    found: dict[Path, CellRecord | Exception] = {}
    for path in sorted(Path(out).glob("cells/*.json")):
        if path.name.endswith(TRACES):
            continue
        try:
            found[path] = _read_record(path, path.with_name(path.stem + TRACES))
        except (OSError, ValueError, RecursionError) as error:
            found[path] = error
    return found


def load_cell(out: str | Path, cell: Cell) -> CellRecord | None:
    """Return the record of a finished cell, or ``None`` if it has to be run.

    Raises:
        RecordError: if the file holds another cell or was written by a newer version.
    """
    path, side = _paths(Path(out), cell)
    if not path.exists():
        return None
    try:
        record = _read_record(path, side)
    except RecordFormatError as error:
        raise RecordFormatError(f"{path}: {error}") from error
    except (OSError, ValueError) as error:
        aside = path.with_name(path.name + ".damaged")
        path.replace(aside)
        logger.warning(
            "%s is damaged (%s); it is kept as %s and the cell (%s) runs again",
            path,
            error,
            aside.name,
            cell.name,
        )
        return None
    if (wrong := _foreign(record, cell)) is not None:
        raise RecordError(
            f"{path}: {wrong}; somebody renamed it: move it away, or choose another output folder"
        )
    return record


def read_results(path: str | Path) -> tuple[CellRecord, ...]:
    """Read a ``results.json``, without traces.

    Raises:
        RecordError: naming the file and what is wrong with it.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        return tuple(CellRecord.from_dict(entry) for entry in data["cells"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path}: not a results file of mkgc_cl ({error})") from error


@dataclass(frozen=True)
class _Attempt:
    """A cell's run in whatever process: the series over steps are no part of a plain record."""

    run: Callable[[Cell, Progress], CellRecord]

    def __call__(self, cell: Cell, progress: Progress | None = None) -> CellRecord | CellFailure:
        try:
            record = self.run(cell, progress or _unseen)
            if (wrong := _foreign(record, cell)) is not None:
                raise RecordError(f"the record of the run is not the cell's: {wrong}")
        except Exception as error:  # one cell's failure must not cost the others their turn
            return CellFailure(cell, f"{type(error).__name__}: {error}", traceback.format_exc())
        return record


def _unseen(fraction: float, note: str = "") -> None:
    """Progress in a process without a terminal of its own."""


def _made(
    todo: Sequence[Cell],
    run: Callable[[Cell, Progress], CellRecord],
    progress: GridProgress,
    jobs: int,
) -> Iterator[tuple[Cell, CellRecord | CellFailure]]:
    """Yield every cell with what became of it, one after another or as they end."""
    attempt = _Attempt(run)
    if jobs > 1 and len(todo) > 1:
        for cell, made in as_finished(attempt, todo, jobs=min(jobs, len(todo))):
            if isinstance(made, Exception):  # the process died: out of memory, a signal
                made = CellFailure(cell, f"{type(made).__name__}: {made}", str(made))
            progress.start(cell.name)
            yield cell, made
    else:
        for cell in todo:
            progress.start(cell.name)
            yield cell, attempt(cell, progress)


def _keep(
    cell: Cell, made: CellRecord | CellFailure, out: Path, progress: GridProgress
) -> CellFailure | None:
    """Write what became of a cell; a record that cannot be written is a failure, too."""
    path, side = _paths(out, cell)
    failed = out / "failed" / path.name
    if isinstance(made, CellRecord):
        try:
            _write(side, {name: [_or_null(v) for v in s] for name, s in made.traces.items()})
            plain = made.to_dict()
            _write(path, {"digest": _digest(plain), "record": plain})
        except Exception as error:
            made = CellFailure(cell, f"{type(error).__name__}: {error}", traceback.format_exc())
    if isinstance(made, CellFailure):
        _write(failed, {**cell.identity, "error": made.error, "traceback": made.traceback})
        logger.error("cell %s failed: %s; traceback in %s", cell.name, made.error, failed)
        progress.finish(f"FAILED, {made.error}")
        return made
    failed.unlink(missing_ok=True)
    final, average = per_cent(made.A[-1]), per_cent(mean_defined(made.A))
    progress.finish(f"done in {duration(made.seconds)}, final A {final}, mean A {average}")
    return None


def _read_record(path: Path, side: Path) -> CellRecord:
    data = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(data, dict) or "record" not in data:
        raise ValueError("it has no record")
    if data.get("digest") != _digest(data["record"]):
        raise ValueError("its digest does not fit its record")
    traces = json.loads(side.read_text(encoding="utf-8"))
    if not isinstance(traces, dict):
        raise ValueError(f"{side.name} holds no series")
    series = {name: [math.nan if v is None else v for v in s] for name, s in traces.items()}
    return CellRecord.from_dict(data["record"], traces=series)


def _or_null(value: float) -> float | None:
    """JSON has no word for NaN and infinities; a trace may hold them, a measure may not."""
    return value if math.isfinite(value) else None


def _foreign(record: CellRecord, cell: Cell) -> str | None:
    """Say how ``record`` is not ``cell``'s, or ``None``."""
    found = (record.system, record.scenario, record.order, record.seed)
    wanted = (cell.system, cell.scenario, cell.order, cell.seed)
    return None if found == wanted else f"it holds the cell {found}, expected {wanted}"


def _check_distinct(cells: Sequence[Cell]) -> None:
    seen: set[str] = set()
    problems = []
    for cell in cells:
        if cell.key in seen:
            problems.append(f"the cell ({cell.name}) is asked for twice; name it once")
        seen.add(cell.key)
    if problems:
        raise ConfigError(problems)


def _paths(out: Path, cell: Cell) -> tuple[Path, Path]:
    return out / "cells" / f"{cell.key}.json", out / "cells" / f"{cell.key}{TRACES}"


def _write(path: Path, data: Any) -> None:
    write_atomic(path, to_json(data))


def _digest(data: object) -> str:
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
