"""Run a table of systems: every system, seed and order of the settings, each once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mkgc_cl.experiments.command_line import teller
from mkgc_cl.experiments.experiment_run import StreamRunner, make_runs, stream_of
from mkgc_cl.experiments.table_check import built, check_systems
from mkgc_cl.experiments.table_plan import Plan, plan_table, reuse_finished
from mkgc_cl.experiments.table_settings import TableSettings
from mkgc_cl.results import Run, RunRecord
from mkgc_cl.results.provenance import environment


@dataclass(frozen=True)
class Made:
    """What a run of one order left.

    Args:
        settings: its settings.
        out: its folder.
        records: its finished runs, of this call and of earlier ones with the same settings.
        failed: whether a run of this call failed.
    """

    settings: TableSettings
    out: Path
    records: tuple[RunRecord, ...]
    failed: bool


class RunMaker(StreamRunner):
    """Runs one system with one seed."""

    def benchmark(self) -> Any:
        """The stream of the settings."""
        return stream_of(self.settings.stream, self.settings.encoders.images)

    def build(self, run: Run, labels: Any, *, device: str) -> Any:
        """The run's system, ready to train."""
        return built(self.settings, run, labels, device=device)


def run_tables(
    variants: Sequence[TableSettings],
    *,
    out: Path,
    command: Sequence[str],
    jobs: int = 1,
    quiet: bool = False,
) -> list[Made]:
    """Run every run that is not finished, table by table, and write and print the tables.

    One setting has one folder, ``<out>/<name>/<setting>``: other seeds and systems join it.
    A run that is there, or in the folder of other options or another budget that do not touch it,
    is not run again. Nothing is written or trained before every system of every table was built.

    Args:
        variants: settings of one order each.
        out: folder of all runs.
        command: the command line, for ``config.yaml``.
        jobs: runs at a time.
        quiet: no progress.

    Raises:
        ConfigError: naming every mistake.
        DataError: a stream cannot be read.
    """
    # Read before anything runs: the checkout may be at another commit when a long run ends.
    made_by = environment()
    plans = [plan_table(settings, out) for settings in variants]
    check_systems(plans, teller(quiet=quiet))
    return [_run(plan, made_by, command=command, jobs=jobs, quiet=quiet) for plan in plans]


def _run(
    plan: Plan, made_by: Mapping[str, object], *, command: Sequence[str], jobs: int, quiet: bool
) -> Made:
    from mkgc_cl.experiments.experiment_report import write_setup
    from mkgc_cl.experiments.table_report import about, write_system_report

    settings, runs, target = plan.settings, plan.runs, plan.target
    reuse_finished(runs, target)
    said = about(settings, runs, plan.paper)
    write_setup(target, settings, made_by, said, command=command)
    result = make_runs(
        runs,
        RunMaker(settings, made_by),
        out=target,
        quiet=quiet,
        jobs=jobs,
        report=lambda records: write_system_report(
            target, settings, plan.current(records), plan.paper
        ),
    )
    return Made(settings, target, plan.current(result.records), bool(result.failures))
