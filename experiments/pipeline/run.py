"""Run what is planned: build every system once, run what is not finished, write the tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mkgc_cl.data import LabelSpace
from mkgc_cl.errors import ConfigError, GroupError, OutputError
from mkgc_cl.experiments.pipeline.checks import Trial, check_builds
from mkgc_cl.experiments.pipeline.console import Tell
from mkgc_cl.experiments.pipeline.launch import team
from mkgc_cl.experiments.pipeline.plan import Plan, Row, plan, reuse_finished
from mkgc_cl.experiments.pipeline.runner import Runner, build_row
from mkgc_cl.experiments.pipeline.settings import Settings
from mkgc_cl.results import RunRecord
from mkgc_cl.results.run_files import finished_records
from mkgc_cl.results.writing import written_to
from mkgc_cl.runs import Run, run_grid
from mkgc_cl.runs.grid import attempt_at
from mkgc_cl.runs.kept import paths_of, remove_checkpoints
from mkgc_cl.runs.on_ray import RayLaunch
from mkgc_cl.runs.provenance import environment


@dataclass(frozen=True)
class Execution:
    """How runs are made, whichever they are.

    Args:
        command: the command line, for ``config.yaml``.
        plugins: files that registered systems, which processes of their own load again.
        jobs: runs at a time.
        quiet: no progress.
        launch: makes the runs on a cluster; by default they are made here.
        made_by: environment and state of the source, read before anything runs: the checkout may
            be at another commit when a long run ends.
    """

    command: tuple[str, ...]
    plugins: tuple[str, ...] = ()
    jobs: int = 1
    quiet: bool = False
    launch: RayLaunch | None = None
    made_by: Mapping[str, object] = field(default_factory=lambda: environment())

    def runner(self, plan: Plan) -> Runner:
        """What makes the runs of one order."""
        used = {name: plan.rows[name] for name in plan.settings.systems}
        return Runner(plan.settings, used, self.made_by, self.plugins, plan.target)


@dataclass(frozen=True)
class Made:
    """What a run of one order left.

    Args:
        plan: what was asked for.
        records: its finished runs, of this call and of earlier ones with the same settings.
        exit_code: 0 if every run finished, 1 if one failed, 3 if another process still computes
            one.
        tables: its tables as text, by measure.
    """

    plan: Plan
    records: tuple[RunRecord, ...]
    exit_code: int
    tables: Mapping[str, str]

    @property
    def settings(self) -> Settings:
        """The settings of the order."""
        return self.plan.settings

    @property
    def out(self) -> Path:
        """Its folder."""
        return self.plan.target


def plan_all(
    variants: Sequence[Settings], rows: Mapping[str, Row], out: Path, tell: Tell
) -> list[Plan]:
    """Read the streams of all orders, and build every system that has a run to run.

    Both before anything runs, so that what is wrong with the last order, or with a sample of its
    last task, is not told hours later.

    Raises:
        ConfigError: naming every mistake of every system, and a device that does not work.
        DataError: a stream cannot be read, or naming every sample that a system cannot.
    """
    plans = [plan(settings, rows, out) for settings in variants]
    trials: dict[str, Trial] = {}
    for each in plans:
        for run in each.waiting:
            row = rows[run.system]
            build = partial(build_row, row, run.config["options"], each.stream.labels)
            new = Trial(run.system, each.settings, build)
            trial = trials.setdefault(_build_key(run, each.stream.labels), new)
            trial.streams[each.fingerprint] = each.stream
    check_builds(trials.values(), tell)
    return plans


def run_plan(plan: Plan, how: Execution) -> Made:
    """Run every run of one order that is not finished, then write and print its tables.

    One setting has one folder, ``<out>/<name>/<setting>``: other seeds and systems join it.
    A run that is there, or in the folder of other options or another budget that do not touch it,
    is not run again.

    Raises:
        KeyboardInterrupt: it was interrupted; the tables hold what has finished.
        GroupError: likewise, of processes that make a run together.
        OutputError: a record or a table cannot be written, or the folder is gone at the end.
    """
    from mkgc_cl.experiments.pipeline.report import write_setup

    out = plan.target
    reuse_finished(plan.runs, out)
    write_setup(plan, how.made_by, command=how.command)
    for run in plan.runs:
        if paths_of(out, run)[0].exists():
            remove_checkpoints(out, run)  # of one that was killed when its record was just written
    try:
        result = run_grid(
            plan.runs,
            how.runner(plan),
            out=out,
            quiet=how.quiet,
            jobs=how.jobs,
            launch=how.launch,
        )
    except (KeyboardInterrupt, GroupError):
        with suppress(OutputError):  # whatever else is wrong
            _write_tables(plan, finished_records(out))
        raise
    records, tables = _write_tables(plan, result.records)
    for failure in result.failures:
        sys.stderr.write(f"FAILED {failure.run.name}: {failure.error}\n")
    if result.failures:
        kept = out / "checkpoints"
        begun = f", and goes on from {kept} where a run has some" if kept.exists() else ""
        sys.stderr.write(
            f"tracebacks are in {out / 'failed'}; the same command tries again{begun}\n"
        )
    for run, claim in result.elsewhere:
        sys.stderr.write(f"IN PROGRESS ELSEWHERE {run.name}: {claim}\n")
    if result.elsewhere:
        sys.stderr.write("the tables are without them; the same command later adds them\n")
    sys.stdout.write(f"written to {out}\n")
    return Made(plan, records, result.exit_code, tables)


def _write_tables(
    plan: Plan, finished: Sequence[RunRecord]
) -> tuple[tuple[RunRecord, ...], dict[str, str]]:
    """Write and print the tables; again if another process, which wrote its own, finished more."""
    from mkgc_cl.experiments.pipeline.report import write_report

    records: tuple[RunRecord, ...] = ()
    tables: dict[str, str] = {}
    while len(now := plan.current(finished)) > len(records):
        records = now
        with written_to(plan.target):
            tables = write_report(plan, records)
        if not _finished_since(plan, records):
            break
        finished = finished_records(plan.target)
    sys.stdout.write(tables["A"] if records else "no run has finished\n")
    return records, tables


def _finished_since(plan: Plan, records: Sequence[RunRecord]) -> bool:
    known = {(record.system, record.seed) for record in records}
    return any(
        paths_of(plan.target, run)[0].exists()
        for run in plan.runs
        if (run.system, run.seed) not in known
    )


def run_all(
    variants: Sequence[Settings],
    rows: Mapping[str, Row],
    out: Path,
    how: Execution,
    *,
    tell: Tell,
    show: Callable[[Made], str] = lambda made: "",
) -> list[Made]:
    """Plan every order, then run them one after the other, in all processes of ``torchrun``.

    A cluster is given all at once.

    Args:
        variants: settings of one order each.
        rows: every row that the tables can have, by name.
        out: folder of all runs.
        how: how the runs are made.
        tell: told what takes its time.
        show: what to print of an order after its tables.

    Raises:
        ConfigError: naming every mistake that shows before a run trains.
        DataError: a stream cannot be read.
        GroupError: a run failed in one of the processes that make it together.
    """
    made: list[Made] = []
    if (together := team()) is not None and not together.ranks.first:
        planned = [plan(each, rows, out) for each in variants]
        by_key = {run.key: (each, run) for each in planned for run in each.runs}

        def make(key: str) -> None:
            if key not in by_key:
                raise ConfigError(["it has read other settings or data than the first process"])
            own, run = by_key[key]
            how.runner(own).make(run, lambda fraction, note="": None)

        together.follow(make)
        return made
    plans = plan_all(variants, rows, out, tell)
    if how.launch is not None:
        for each in plans:
            runs = each.waiting
            how.launch.ahead(attempt_at(runs, how.runner(each), each.target), runs)
    for each in plans:
        made.append(run_plan(each, how))
        sys.stdout.write(show(made[-1]))
    if together is not None:
        together.dismiss()
    return made


def _build_key(run: Run, labels: LabelSpace) -> str:
    """What a build depends on: not the seed, nor what the stream shows but its classes."""
    config = {key: value for key, value in run.config.items() if not key.startswith("stream")}
    return json.dumps([run.system, config, sorted(labels.classes)], sort_keys=True)
