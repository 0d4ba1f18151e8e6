"""What an experiment consists of: its rows, its runs, and the folder that they go to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mkgc_cl._files import write_atomic
from mkgc_cl.data import TaskStream
from mkgc_cl.data.provenance import content_fingerprint
from mkgc_cl.experiments.pipeline.paper_rows import Paper, paper_of
from mkgc_cl.experiments.pipeline.settings import Settings, usual_settings
from mkgc_cl.experiments.pipeline.streams import read_stream
from mkgc_cl.results import RunRecord
from mkgc_cl.results.run_files import TRACES, read_run
from mkgc_cl.results.settings import setting_folder
from mkgc_cl.results.writing import written_to
from mkgc_cl.runs import Run
from mkgc_cl.runs.kept import foreign, load_run
from mkgc_cl.systems import SYSTEMS

RateControl = Literal["same rates", "one rate"]


class Row:
    """A row of a table: a system with options.

    Args:
        system: the system, by its name in :data:`mkgc_cl.systems.SYSTEMS`.
        rates: what stands in for the choices of modulation, see
            :mod:`mkgc_cl.strategies.rate_control`; such a row trains twice, the first time to
            measure the rates.
        options: of its recipe; they come before what the settings say of the system.
    """

    def __init__(self, system: str, *, rates: RateControl | None = None, **options: Any) -> None:
        self.system = system
        self.rates = rates
        self.options = options


@dataclass(frozen=True)
class Plan:
    """One order of a table, before anything of it has run.

    Args:
        settings: of this order.
        rows: every row that the table can have, by name.
        stream: its stream.
        fingerprint: of all that its stream shows; part of what makes two runs the same.
        paper: what the paper says of this stream.
        out: folder of all runs.
    """

    settings: Settings
    rows: Mapping[str, Row]
    stream: TaskStream
    fingerprint: str
    paper: Paper
    out: Path

    def config_of(self, name: str) -> dict[str, Any]:
        """Everything that can change a number of this row's runs."""
        row = self.rows[name]
        info = SYSTEMS[row.system]
        config = {
            **self.settings.run_config(),
            "options": options_of(self.settings, name, row),
            "stream_fingerprint": self.fingerprint,
        }
        if not info.memory:
            config["exemplars"] = None
        # what says no more than the row's own name does is left out
        for key, value in (("system", row.system), ("rates", row.rates), ("origin", info.origin)):
            if value and value != name:
                config[key] = value
        return config

    @property
    def runs(self) -> list[Run]:
        """Every run, seed by seed, so that an early look at an unfinished grid has every row."""
        settings = self.settings
        return [
            Run(name, settings.scenario, settings.order, seed, self.config_of(name))
            for seed in settings.seeds
            for name in settings.systems
        ]

    @property
    def target(self) -> Path:
        """Folder of the runs: one setting has one, ``<out>/<name>/<setting>``."""
        settings = self.settings
        shared = {
            **settings.run_config(),
            "options": {name: dict(own) for name, own in (settings.options or {}).items()},
            "stream_fingerprint": self.fingerprint,
        }
        run = Run("", settings.scenario, settings.order, 0, shared)
        usual = usual_settings(settings.name)
        known = {**usual.run_config(), "options": usual.options or {}}
        return setting_folder(self.out / settings.name, run.identity, known)

    @property
    def waiting(self) -> list[Run]:
        """The runs that would run now.

        Raises:
            RecordError: a file holds another run, or is of a newer version.
        """
        return [
            run
            for run in self.runs
            if load_run(self.target, run) is None and _beside(run, self.target) is None
        ]

    def current(self, records: Sequence[RunRecord]) -> tuple[RunRecord, ...]:
        """Those that these settings would make; others are of other options or budgets."""
        known = {record.system for record in records} & self.rows.keys()
        wanted = {name: self.config_of(name) for name in known}
        return tuple(r for r in records if r.config == wanted.get(r.system))


def plan(settings: Settings, rows: Mapping[str, Row], out: Path) -> Plan:
    """Read the stream of one order, once and first: a wrong data root is one message.

    Raises:
        DataError: the stream cannot be read, which shows before anything slow is imported.
    """
    stream = read_stream(settings.stream, settings.encoders.images)
    paper = paper_of(settings, stream)
    return Plan(settings, rows, stream, content_fingerprint(stream), paper, out)


def options_of(settings: Settings, name: str, row: Row) -> dict[str, Any]:
    """Options of a row: those of its system, then the row's own, then those given by its name."""
    given = settings.options or {}
    by_name = given.get(name, {}) if name != row.system else {}
    options = {**given.get(row.system, {}), **row.options, **by_name}
    if settings.exemplars is not None:
        options.pop("na_policy", None)  # one budget for all: see build_system
    # as a record has them: JSON knows no tuple, and a finished run must know itself again
    plain: dict[str, Any] = json.loads(json.dumps(options))
    return plain


def reuse_finished(runs: Sequence[Run], target: Path) -> None:
    """Copy finished runs from the folders beside ``target``: the same name is the same run.

    Raises:
        OutputError: they cannot be written.
    """
    for run in runs:
        if (target / "records" / f"{run.key}.json").exists():
            continue
        if (found := _beside(run, target)) is not None:
            # the record last: a run counts as finished when it is there
            for path in (found.with_name(f"{run.key}{TRACES}"), found):
                text = path.read_text(encoding="utf-8")
                with written_to(target):
                    write_atomic(target / "records" / path.name, text)


def _beside(run: Run, target: Path) -> Path | None:
    """File of the same run, whole and with its traces, in another folder of the same name."""
    for found in sorted(target.parent.glob(f"*/records/{run.key}.json")):
        if found.parent.parent == target:
            continue
        try:
            record = read_run(found)
        except ValueError:  # damaged, which is told where it is asked for
            continue
        if foreign(record, run) is None:
            return found
    return None
