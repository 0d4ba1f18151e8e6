"""Reading one folder of an experiment for the report, whatever state it is in."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mkgc_cl import plain_yaml
from mkgc_cl.errors import DataError, MissingDataError
from mkgc_cl.regular_file import read_regular
from mkgc_cl.results.compared_rows import about_comparison
from mkgc_cl.results.config_words import OPTIONS, dig
from mkgc_cl.results.provenance import image_words
from mkgc_cl.results.record import RunRecord
from mkgc_cl.results.run_files import LARGEST, TRACES, read_json, read_runs
from mkgc_cl.results.table_escapes import from_csv
from mkgc_cl.results.table_file import notes_of

LAYOUT = "<name>/<order>-<digest>/runs/*.json"
_OWN = ("options", "exemplars")
"""Keys of a run's configuration that differ from system to system in one and the same table."""
DEMONSTRATION = "SYNTHETIC DATA"
VALIDATION = "VALIDATION SAMPLES"
DIRTY = "SOURCE WITH UNCOMMITTED CHANGES"
MIXED = "RESULTS FROM DIFFERENT COMMITS"
MARKS = (DEMONSTRATION, VALIDATION, DIRTY, MIXED)
"""Marks that captions carry, too."""
_PARTS = ("records", "failed", "config.yaml", "env.json")


@dataclass(frozen=True)
class Experiment:
    """What one folder holds.

    Args:
        folder: its path.
        name: the path under the folder of all runs.
        runs: name of the file (the run's key) to record, in the order of the tables.
        failures: what ``failed/*.json`` say, each an object with ``file``.
        damaged: file and remark, for each file without a readable record.
        config: text of ``config.yaml``; ``None`` where there is none.
        paper: system to the paper's numbers, from the tables the experiment wrote.
        notes: remarks on these numbers.
        reference: the system that the others are compared with; ``None`` where nothing says so.
    """

    folder: Path
    name: str
    runs: Mapping[str, RunRecord]
    failures: tuple[Mapping[str, Any], ...]
    damaged: tuple[tuple[str, str], ...]
    config: str | None
    paper: Mapping[str, Sequence[float | None]]
    notes: tuple[str, ...]
    reference: str | None = None

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
    found: list[Path] = []
    other: list[Path] = []
    if is_experiment(runs):
        return [runs], other
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


def read_experiment(folder: Path, name: str) -> Experiment:
    """Read a folder; what cannot be read is listed as damaged."""
    damaged = [
        (f"runs/{path.name}", "set aside; its run ran again, or will when it is asked for")
        for path in sorted(folder.glob("records/*.damaged*"))
        if TRACES not in path.name  # beside its record, which stands for both
    ]
    runs: dict[str, RunRecord] = {}
    for path, record in read_runs(folder).items():
        if isinstance(record, RunRecord):
            runs[path.stem] = record
        else:
            damaged.append((f"runs/{path.name}", f"left out of the results: {record}"))
    failures: list[Mapping[str, Any]] = []
    for path in sorted(folder.glob("failed/*.json")):
        try:
            failures.append({**_object(path), "file": f"failed/{path.name}"})
        except ValueError as error:
            damaged.append((f"failed/{path.name}", f"a run failed here, but: {error}"))
    # Only the order of the systems and what is known of the paper come from the written tables: of
    # runs there may be more than when these were written.
    written = _written_rows(folder)
    place = {system: number for number, system in enumerate(written)}
    paper = {system: row for system, row in written.items() if any(v is not None for v in row)}
    ordered = sorted(
        runs.items(),
        key=lambda item: (place.get(item[1].system, len(place)), item[1].system, item[1].seed),
    )
    notes, footnotes = notes_of(text_of(folder / "table-A.md") or "")
    config = text_of(folder / "config.yaml")
    reference, wrong = _reference(config, footnotes)
    if config is None and os.path.lexists(folder / "config.yaml"):
        wrong = "it cannot be read"
    if wrong is not None:
        damaged.append(("config.yaml", f"left aside: {wrong}"))
    return Experiment(
        folder=folder,
        name=name,
        runs=dict(ordered),
        failures=tuple(failures),
        damaged=tuple(damaged),
        config=config,
        paper=paper,
        # the runs themselves say what options they had
        notes=tuple(note for note in notes if not note.startswith(OPTIONS)),
        reference=reference,
    )


def marks(experiment: Experiment) -> list[str]:
    """Return what a reader must know before believing or comparing a number, in a few words."""
    records, found = experiment.records, []
    runs = [(r.scenario, r.config) for r in records]
    runs += [(str(f.get("scenario", "")), f.get("config", {})) for f in experiment.failures]
    shown = any(dig(r.provenance, "stream", "synthetic stream") for r in records)
    if shown or any(scenario.startswith("demo") for scenario, _ in runs):
        found.append(DEMONSTRATION)
    if any(dig(config, "stream", "split") == "valid" for _, config in runs):
        found.append(VALIDATION)
    states = [r.provenance.get("git") for r in records]
    if any(dig(state, "dirty") for state in states):
        found.append(DIRTY)
    if any(state != states[0] for state in states):
        found.append(MIXED)
    if any(not state for state in states):
        found.append("SOURCE NOT RECORDED")
    if _differ(records):
        found.append("RUNS OF DIFFERENT CONFIGURATIONS")
    return found


def images_of(record: RunRecord) -> str:
    """Say whether a record's images are real, blank or drawn."""
    stream = record.provenance.get("stream")
    return image_words({"stream": stream} if isinstance(stream, dict) else {})


def is_experiment(folder: Path) -> bool:
    """Whether a folder holds an experiment, begun or done."""
    return any((folder / part).exists() for part in _PARTS)


def _differ(records: Sequence[RunRecord]) -> bool:
    """Whether two runs differ in a setting that is not one system's own.

    Systems of one table have options each, and a budget of exemplars only those that keep any: so
    these are compared within a system, and with ``None`` for no budget left aside, across systems.
    """
    of_system: dict[str, Mapping[str, object]] = {}
    shared: list[Mapping[str, object]] = []
    budgets: list[object] = []
    for record in records:
        if of_system.setdefault(record.system, record.config) != record.config:
            return True
        shared.append({k: v for k, v in record.config.items() if k not in _OWN})
        if (budget := record.config.get("exemplars")) is not None:
            budgets.append(budget)
    return any(each != shared[0] for each in shared) or any(b != budgets[0] for b in budgets)


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    except PermissionError:  # then it is one that holds no experiment
        return []


def _object(path: Path) -> dict[str, Any]:
    data = read_json(path)
    if not isinstance(data, dict):
        raise ValueError(f"it holds a {type(data).__name__}, expected a JSON object")
    return data


def text_of(path: Path) -> str | None:
    """Return the text of a file, ``None`` where it is not there or cannot be read."""
    try:
        return read_regular(path, limit=LARGEST).decode("utf-8", errors="replace")
    except DataError:
        return None


def _written_rows(folder: Path) -> dict[str, list[float | None]]:
    """Return the systems of the main table the experiment wrote, each with the paper's numbers."""
    rows: dict[str, list[float | None]] = {}
    try:
        for line in csv.DictReader((text_of(folder / "table-A.csv") or "").splitlines()):
            value = float(line["paper"]) if line["paper"] else None
            rows.setdefault(from_csv(line["system"]), []).append(value)
    except (csv.Error, KeyError, TypeError, ValueError):
        return {}  # not a table of ours
    return rows


def _reference(config: str | None, footnotes: Sequence[str]) -> tuple[str | None, str | None]:
    """Return the system of reference: of the settings, or else as the written table names it.

    Returns:
        It, and what keeps the settings from being read.
    """
    said, wrong = None, None
    try:
        said = dig(plain_yaml.parse(config or "").data, "reference")
    except DataError as error:
        wrong = str(error)
    if isinstance(said, str):
        return said, wrong
    # the ablation has no setting for it
    found = about_comparison(footnotes[0]) if footnotes else None
    return (None if found is None else found[found.lastindex or 0]), wrong
