"""What a table of systems consists of: its runs, and the folder that they go to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mkgc_cl._files import write_atomic
from mkgc_cl.data import TaskStream
from mkgc_cl.data.provenance import content_fingerprint
from mkgc_cl.errors import ConfigError
from mkgc_cl.experiments.experiment_run import read_stream
from mkgc_cl.experiments.experiment_settings import usual_settings
from mkgc_cl.experiments.paper_rows import Paper, paper_of
from mkgc_cl.experiments.table_settings import TableSettings
from mkgc_cl.results import Run, RunRecord
from mkgc_cl.results.run_files import TRACES, foreign, load_run, read_run
from mkgc_cl.results.settings import setting_folder
from mkgc_cl.results.writing import written_to
from mkgc_cl.systems import SYSTEMS


@dataclass(frozen=True)
class Plan:
    """One order of a table, before anything of it has run.

    Args:
        settings: of this order.
        stream: its stream.
        fingerprint: of all that its stream shows; part of what makes two runs the same.
        options: of every system that has some, of the types its recipe declares.
        paper: what the paper says of this stream.
        out: folder of all runs.
    """

    settings: TableSettings
    stream: TaskStream
    fingerprint: str
    options: Mapping[str, Mapping[str, Any]]
    paper: Paper
    out: Path

    def config_of(self, system: str) -> dict[str, Any]:
        """Everything that can change a number of this system's runs."""
        return {
            **self.settings.run_config(system),
            "options": self.options.get(system, {}),
            "stream_fingerprint": self.fingerprint,
        }

    @property
    def runs(self) -> list[Run]:
        """Every run, seed by seed, so that an early look at an unfinished grid has every row."""
        settings = self.settings
        return [
            Run(system, settings.scenario, settings.order, seed, self.config_of(system))
            for seed in settings.seeds
            for system in settings.rows
        ]

    @property
    def target(self) -> Path:
        """Folder of the runs: one setting has one, ``<out>/<name>/<setting>``."""
        settings = self.settings
        shared = {
            **settings.run_config(settings.rows[0]),
            "exemplars": settings.exemplars,
            "options": self.options,
            "stream_fingerprint": self.fingerprint,
        }
        run = Run("", settings.scenario, settings.order, 0, shared)
        usual = usual_settings(TableSettings, f"table-{settings.name}", settings.stream.data)
        known = {**usual.run_config(settings.rows[0]), "options": usual.options or {}}
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
        known = {record.system for record in records} & SYSTEMS.keys()
        wanted = {name: self.config_of(name) for name in known}
        return tuple(r for r in records if r.config == wanted.get(r.system))


def plan_table(settings: TableSettings, out: Path) -> Plan:
    """Read the stream of one order, once and first: a wrong data root is one message.

    Raises:
        DataError: the stream cannot be read, which shows before anything slow is imported.
        ConfigError: naming every option that does not exist or is of another type.
    """
    stream = read_stream(settings.stream, settings.encoders.images)
    options = options_by_system(settings)
    paper = paper_of(settings, stream)
    return Plan(settings, stream, content_fingerprint(stream), options, paper, out)


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


def options_by_system(settings: TableSettings) -> dict[str, dict[str, Any]]:
    """Options of every system that has some, of the types its recipe declares.

    Raises:
        ConfigError: naming every mistake of every system.
    """
    from mkgc_cl.strategies.catalogue import checked_options

    found: dict[str, dict[str, Any]] = {}
    wrong: list[str] = []
    for name, options in (settings.options or {}).items():
        try:
            found[name] = checked_options(name, options)
            if settings.exemplars is not None:
                found[name].pop("na_policy", None)  # one budget for all: see build_system
        except ConfigError as error:
            wrong += error.problems
    if wrong:
        raise ConfigError(wrong)
    return found


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
