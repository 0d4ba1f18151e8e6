"""Reading the folders of experiments for the report, whatever state they are in."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mkgc_cl.errors import DataError, MissingDataError
from mkgc_cl.regular_file import read_regular
from mkgc_cl.results.about import FILE, About, read_about
from mkgc_cl.results.json_files import LARGEST, read_json
from mkgc_cl.results.record import RunRecord
from mkgc_cl.results.run_files import TRACES, read_runs
from mkgc_cl.results.table import HEAD

LAYOUT = "<name>/<setting>/records/*.json"
_PARTS = ("records", "failed", "config.yaml", "env.json", FILE)


@dataclass(frozen=True)
class Experiment:
    """What one folder holds.

    Args:
        runs: name of the file (the run's key) to record, in the order of the tables.
        failures: what ``failed/*.json`` say, each an object with ``file``.
        damaged: file and remark, for each file that cannot be read.
        config: text of ``config.yaml``; ``None`` where there is none.
    """

    folder: Path
    runs: Mapping[str, RunRecord]
    about: About
    failures: Sequence[Mapping[str, Any]]
    damaged: Sequence[tuple[str, str]]
    config: str | None

    @property
    def records(self) -> tuple[RunRecord, ...]:
        """Records of the finished runs."""
        return tuple(self.runs.values())


def experiment_folders(runs: Path) -> tuple[list[Path], list[Path]]:
    """Return the folders of experiments under ``runs`` (or ``runs`` itself), and all others.

    Raises:
        MissingDataError: if ``runs`` is no folder.
        DataError: if it holds no experiment.
    """
    if not os.path.isdir(runs):
        raise MissingDataError(
            f"no such folder; give the one that experiments write to (their --out, with {LAYOUT})",
            path=runs,
        )
    if is_experiment(runs):
        return [runs], []
    found: list[Path] = []
    other: list[Path] = []
    for name in _folders(runs):
        inner = [name] if is_experiment(name) else _folders(name)
        for folder in inner or [name]:
            (found if is_experiment(folder) else other).append(folder)
    if not found:
        raise DataError(
            f"no experiment here, expected {LAYOUT}; run one (mkgc run ablation) or "
            "give the folder that experiments write to (their --out)",
            path=runs,
        )
    return found, other


def sweep_tables(runs: Path) -> dict[Path, tuple[Path, ...]]:
    """Return the tables of sweeps by their folder: of a name under ``runs``, or itself one.

    An experiment's own folder has none: its tables are built from its records.
    """
    names = [path for path in (runs, *_folders(runs)) if not is_experiment(path)]
    found = {
        name: tuple(p for p in sorted(name.glob("*.json")) if (text_of(p) or "").startswith(HEAD))
        for name in names
    }
    return {name: tables for name, tables in found.items() if tables}


def is_experiment(folder: Path) -> bool:
    """Whether a folder holds an experiment, begun or done."""
    return any((folder / part).exists() for part in _PARTS)


def read_experiment(folder: Path) -> Experiment:
    """Read a folder; what cannot be read is listed as damaged."""
    damaged = [
        (f"records/{path.name}", "set aside; its run ran again, or will when it is asked for")
        for path in sorted(folder.glob("records/*.damaged*"))
        if TRACES not in path.name  # beside its record, which stands for both
    ]
    runs: dict[str, RunRecord] = {}
    for path, record in read_runs(folder).items():
        if isinstance(record, RunRecord):
            runs[path.stem] = record
        else:
            damaged.append((f"records/{path.name}", f"left out of the results: {record}"))
    failures: list[Mapping[str, Any]] = []
    for path in sorted(folder.glob("failed/*.json")):
        place = f"failed/{path.name}"
        try:
            data = read_json(path)
            if not isinstance(data, dict):
                raise ValueError(f"it holds a {type(data).__name__}, expected a JSON object")
            failures.append({**data, "file": place})
        except ValueError as error:
            damaged.append((place, f"a run failed here, but: {error}"))
    about = About()
    try:
        about = read_about(folder)
    except MissingDataError:
        pass
    except DataError as error:
        damaged.append((FILE, f"left aside: {error.message}"))
    config = text_of(folder / "config.yaml")
    if config is None and os.path.lexists(folder / "config.yaml"):
        damaged.append(("config.yaml", "left aside: it cannot be read"))
    runs = dict(sorted(runs.items(), key=lambda item: about.place(item[1])))
    # rows of the paper with as many numbers as these runs have tasks, or their mean besides
    tasks = {len(record.tasks) for record in runs.values()}
    paper = {name: row for name, row in about.paper.items() if {len(row), len(row) - 1} & tasks}
    return Experiment(folder, runs, replace(about, paper=paper), failures, damaged, config)


def text_of(path: Path) -> str | None:
    """Return the text of a file, ``None`` where it is not there or cannot be read."""
    try:
        return read_regular(path, limit=LARGEST).decode("utf-8", errors="replace")
    except DataError:
        return None


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    except PermissionError:  # then it is one that holds no experiment
        return []
