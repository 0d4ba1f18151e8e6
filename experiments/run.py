"""Run what is planned: build every system once, run what is not finished, write the tables."""

from __future__ import annotations

import gc
import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mkgc_cl.data import LabelSpace
from mkgc_cl.errors import ConfigError, GroupError, OutputError
from mkgc_cl.experiments.checks import Tell, Trial, check_builds, device_of
from mkgc_cl.experiments.launch import team
from mkgc_cl.experiments.plan import Plan, Row, plan, reuse_finished
from mkgc_cl.experiments.settings import Settings
from mkgc_cl.experiments.streams import benchmark_of
from mkgc_cl.results import Run, RunRecord, run_grid
from mkgc_cl.results.grid import attempt_at
from mkgc_cl.results.on_ray import RayLaunch
from mkgc_cl.results.progress import Progress
from mkgc_cl.results.provenance import environment, peak_memory_mb, reset_peak_memory
from mkgc_cl.results.run_files import (
    checkpoint_folder,
    finished_records,
    keep_failure,
    paths_of,
    remove_checkpoints,
)
from mkgc_cl.results.undefined import per_cent
from mkgc_cl.results.writing import written_to
from mkgc_cl.systems import load_installed, load_plugin, origins

logger = logging.getLogger(__name__)


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

    Args:
        variants: settings of one order each.
        rows: every row that the tables can have, by name.
        out: folder of all runs.
        tell: told what takes its time.

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
            new = Trial(run.system, each.settings, build, each.settings.encoders, {})
            trial = trials.setdefault(_build_key(run, each.stream.labels), new)
            trial.streams[each.fingerprint] = each.stream
    check_builds(trials.values(), tell)
    return plans


def run_plan(
    plan: Plan,
    made_by: Mapping[str, object],
    *,
    command: Sequence[str],
    plugins: Sequence[str] = (),
    jobs: int = 1,
    quiet: bool = False,
    launch: RayLaunch | None = None,
) -> Made:
    """Run every run of one order that is not finished, then write and print its tables.

    One setting has one folder, ``<out>/<name>/<setting>``: other seeds and systems join it.
    A run that is there, or in the folder of other options or another budget that do not touch it,
    is not run again.

    Args:
        plan: the order.
        made_by: environment and state of the source when the command began.
        command: the command line, for ``config.yaml``.
        plugins: files that registered systems, for processes of their own.
        jobs: runs at a time.
        quiet: no progress.
        launch: makes the runs on a cluster; by default they are made here.

    Raises:
        KeyboardInterrupt: it was interrupted; the tables hold what has finished.
        GroupError: likewise, of processes that make a run together.
        OutputError: a record or a table cannot be written, or the folder is gone at the end.
    """
    from mkgc_cl.experiments.report import write_setup

    out = plan.target
    reuse_finished(plan.runs, out)
    write_setup(plan, made_by, command=command)
    runner = runner_of(plan, made_by, plugins)
    for run in plan.runs:
        if paths_of(out, run)[0].exists():
            remove_checkpoints(out, run)  # of one that was killed when its record was just written
    try:
        result = run_grid(plan.runs, runner, out=out, quiet=quiet, jobs=jobs, launch=launch)
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


def runner_of(plan: Plan, made_by: Mapping[str, object], plugins: Sequence[str]) -> Runner:
    """What makes the runs of one order; arguments as of :func:`run_plan`."""
    used = {name: plan.rows[name] for name in plan.settings.systems}
    return Runner(plan.settings, used, made_by, tuple(plugins), plan.target)


def _write_tables(
    plan: Plan, finished: Sequence[RunRecord]
) -> tuple[tuple[RunRecord, ...], dict[str, str]]:
    """Write and print the tables; again if another process, which wrote its own, finished more."""
    from mkgc_cl.experiments.report import write_report

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


@dataclass(frozen=True)
class Runner:
    """Trains and evaluates one row with one seed over the whole stream, in any process.

    Args:
        settings: of one order.
        rows: the rows by name.
        made_by: environment and state of the source.
        plugins: files that registered systems, which a process of its own loads again.
        out: folder of the runs, for checkpoints; ``None`` for none.
    """

    settings: Settings
    rows: Mapping[str, Row]
    made_by: Mapping[str, object]
    plugins: tuple[str, ...] = ()
    out: Path | None = None

    def __call__(self, run: Run, progress: Progress) -> RunRecord:
        """Make a run, and lead the processes that share it.

        Raises:
            GroupError: it failed in one of them.
        """
        if (together := team()) is None:
            return self.make(run, progress)
        try:
            with together.leading(run.key):
                return self.make(run, progress)
        except GroupError as error:
            if self.out is not None:
                keep_failure(self.out, run, error.reason, error.traceback)
            words = f"FAILED {run.name}: {error.reason}\nall processes of torchrun end"
            raise GroupError(f"{words}; the same command tries again") from error

    def make(self, run: Run, progress: Progress) -> RunRecord:
        """Build a strategy, run it over the whole stream, and record what it measured."""
        load_installed()
        for file in self.plugins:
            load_plugin(file)
        import torch

        from mkgc_cl.strategies import run_stream
        from mkgc_cl.strategies.distributed import current_ranks

        settings, row = self.settings, self.rows[run.system]
        benchmark = benchmark_of(settings.stream, settings.encoders.images)
        stream, device = benchmark.stream, device_of(settings.device)
        memory_since = "start of the run" if reset_peak_memory() else "start of the process"

        def step(done: int, tasks: int, latest: float) -> None:
            progress(done / tasks, f"task {done} of {tasks}, A {per_cent(100 * latest)}")

        strategy = self._strategy(run, benchmark, device)
        views = strategy.network.processor.views
        split = settings.stream.split
        checkpoint = self._checkpointing(run, strategy)
        result = run_stream(strategy, benchmark, split=split, progress=step, checkpoint=checkpoint)
        return RunRecord.from_matrix(
            result.matrix,
            system=run.system,
            scenario=run.scenario,
            order=run.order,
            seed=run.seed,
            tasks=[task.name for task in stream.tasks],
            seconds=result.seconds,
            peak_memory_mb=peak_memory_mb(),
            config=run.config,
            provenance={
                **self.made_by,
                **({"plugins": dict(own)} if (own := origins([row.system])) else {}),
                "device": device,
                "processes": current_ranks().number,
                "threads": torch.get_num_threads(),  # sums of floats depend on how they are split
                "memory_since": memory_since,
                "stream": stream.provenance,
                "reads_images": views.looks,
            },
            traces=result.traces,
            stream=split,
        )

    def _strategy(self, run: Run, benchmark: Any, device: str) -> Any:
        """The run's system, ready to train; a control trains what it is measured from first."""
        row = self.rows[run.system]
        build: Callable[..., Any] = partial(
            build_row,
            row,
            run.config["options"],
            benchmark.stream.labels,
            self.settings,
            device,
            seed=run.seed,
        )
        if row.rates is None:
            return build()
        from mkgc_cl.strategies import control_coefficients

        measured = build()
        checkpoint = self._checkpointing(run, measured, "measured")
        held = control_coefficients(measured, benchmark, row.rates, checkpoint=checkpoint)
        del measured
        gc.collect()  # parts of a strategy refer to each other: its weights go before the next
        return build(constant_coefficients=tuple(tuple(pair) for pair in held))

    def _checkpointing(self, run: Run, strategy: Any, *part: str) -> Any:
        """Where the run goes on from if this process is killed, and how often it notes it."""
        from mkgc_cl.strategies import Checkpointing
        from mkgc_cl.strategies.captured import untold

        if self.out is None:
            return None
        if wrong := untold(strategy):
            logger.warning("%s cannot go on if it is killed: %s", run.name, "; ".join(wrong))
            return None
        git: Any = self.made_by.get("git")
        return Checkpointing(
            checkpoint_folder(self.out, run).joinpath(*part),
            **asdict(self.settings.checkpoint),
            made_for={
                "run": run.identity,
                "stream": run.config["stream_fingerprint"],
                "commit": git and git["commit"],
                "uncommitted changes": git and git.get("changes"),
            },
        )


def build_row(
    row: Row,
    options: Any,
    labels: Any,
    settings: Settings,
    device: str,
    *,
    seed: int = 0,
    **more: Any,
) -> Any:
    """Build the system of a row, ready to train; here settings meet models and strategies.

    Args:
        row: the row; without ``more`` a control is the method that it is measured from.
        options: of its recipe.
        labels: classes of the stream.
        settings: of the order.
        device: where it trains.
        seed: of the run.
        more: options that are known at run time alone.

    Raises:
        ConfigError: a setting or an option does not fit the system.
    """
    from mkgc_cl.strategies.catalogue import build_system
    from mkgc_cl.strategies.recipe import Encoders, Training

    return build_system(
        row.system,
        labels,
        encoders=Encoders(**asdict(settings.encoders)),
        training=Training(**asdict(settings.training), device=device, seed=seed),
        exemplars=settings.exemplars,
        options={**options, **more},
    )


def run_all(
    variants: Sequence[Settings],
    rows: Mapping[str, Row],
    *,
    out: Path,
    command: Sequence[str],
    tell: Tell,
    plugins: Sequence[str] = (),
    jobs: int = 1,
    quiet: bool = False,
    launch: RayLaunch | None = None,
    show: Callable[[Made], str] = lambda made: "",
) -> list[Made]:
    """Plan every order, then run them one after the other, in all processes of ``torchrun``.

    A cluster is given all at once.

    Args:
        variants: settings of one order each.
        rows: every row that the tables can have, by name.
        out: folder of all runs.
        command: the command line, for ``config.yaml``.
        tell: told what takes its time.
        plugins: files that registered systems.
        jobs: runs at a time.
        quiet: no progress.
        launch: makes the runs on a cluster; by default they are made here.
        show: what to print of an order after its tables.

    Raises:
        ConfigError: naming every mistake that shows before a run trains.
        DataError: a stream cannot be read.
        GroupError: a run failed in one of the processes that make it together.
    """
    # Read before anything runs: the checkout may be at another commit when a long run ends.
    made_by = environment()
    made: list[Made] = []
    if (together := team()) is not None and not together.ranks.first:
        planned = [plan(each, rows, out) for each in variants]
        by_key = {run.key: (each, run) for each in planned for run in each.runs}

        def make(key: str) -> None:
            if key not in by_key:
                raise ConfigError(["it has read other settings or data than the first process"])
            own, run = by_key[key]
            runner_of(own, made_by, plugins).make(run, lambda fraction, note="": None)

        together.follow(make)
        return made
    plans = plan_all(variants, rows, out, tell)
    if launch is not None:
        for each in plans:
            runs, runner = each.waiting, runner_of(each, made_by, plugins)
            launch.ahead(attempt_at(runs, runner, each.target), runs)
    for each in plans:
        made.append(
            run_plan(
                each,
                made_by,
                command=command,
                plugins=plugins,
                jobs=jobs,
                quiet=quiet,
                launch=launch,
            )
        )
        sys.stdout.write(show(made[-1]))
    if together is not None:
        together.dismiss()
    return made


def _build_key(run: Run, labels: LabelSpace) -> str:
    """What a build depends on: not the seed, nor what the stream shows but its classes."""
    config = {key: value for key, value in run.config.items() if not key.startswith("stream")}
    return json.dumps([run.system, config, sorted(labels.classes)], sort_keys=True)
