"""Running a grid of runs: each once, each safely on disk, whatever happens in between.

Under the folder of a grid are the files of every run (:mod:`mkgc_cl.results.run_files`) and::

    results.json              {"records": [...]}: records of all finished runs, of this call and of
                              earlier ones, by scenario, order, system and seed
"""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mkgc_cl._files import write_atomic
from mkgc_cl.errors import ConfigError, GroupError, OutputError, WorkerError
from mkgc_cl.results.json_files import to_json
from mkgc_cl.results.record import RecordError, RunRecord
from mkgc_cl.results.run_files import finished_records
from mkgc_cl.results.undefined import mean_defined, per_cent
from mkgc_cl.results.writing import check_writable, written_to
from mkgc_cl.runs.claims import Claim, claimed, confirmed, forget_dead
from mkgc_cl.runs.kept import (
    foreign,
    keep_failure,
    keep_record,
    load_run,
    note_of_failure,
    paths_of,
)
from mkgc_cl.runs.parallel import as_finished, check_jobs
from mkgc_cl.runs.progress import GridProgress, Progress, duration
from mkgc_cl.runs.run import Run

logger = logging.getLogger(__name__)

ELSEWHERE = 3
"""Exit code where nothing failed and other processes still compute runs that were asked for."""


@dataclass(frozen=True)
class RunFailure:
    """A run that did not come to its end, with the whole traceback."""

    run: Run
    error: str
    traceback: str


@dataclass(frozen=True)
class GridResult:
    """What a grid left.

    Args:
        records: those of its folder (:func:`finished_records`).
        failures: runs that did not come to their end.
        elsewhere: runs that another process still computes, and which one.
    """

    records: tuple[RunRecord, ...]
    failures: tuple[RunFailure, ...]
    elsewhere: tuple[tuple[Run, Claim], ...] = ()

    @property
    def exit_code(self) -> int:
        """0 if every run finished, 1 if one failed, else :data:`ELSEWHERE`."""
        return 1 if self.failures else ELSEWHERE if self.elsewhere else 0


def run_grid(
    runs: Sequence[Run],
    execute: Callable[[Run, Progress], RunRecord],
    *,
    out: str | Path,
    quiet: bool = False,
    jobs: int = 1,
    launch: Launch | None = None,
) -> GridResult:
    """Run every run that is not finished yet and gather all records.

    A run whose file is whole is read, not run. A damaged file is set aside as ``*.damaged`` and
    its run is made again. A run that raises is recorded as failed, with its traceback, and so is
    one whose process dies; the others go on, and it is tried again the next time. An interrupt
    (``KeyboardInterrupt``) ends the grid early, its processes with it, and so does a folder that
    takes no more files: the same call later goes on from there.

    Several processes, on one machine or several, may run grids of one folder. A run that another
    one has claimed is left to it and told in the result, if it is not finished when all else is.
    A claim whose process is dead is taken over.

    Args:
        runs: the runs, in the order in which they run.
        execute: makes the record of one run; calls the second argument with its progress.
        out: folder of the grid.
        quiet: no progress.
        jobs: runs at a time. More than one run in processes of their own, which import ``execute``
            by its name; their progress is shown when they end.
        launch: makes the runs elsewhere, as :class:`~mkgc_cl.runs.on_ray.RayLaunch` does on a
            cluster; by default processes of this machine do.

    Returns:
        Records of all finished runs of the folder, asked for this time or earlier, failures of
        this time, and what is still computed elsewhere.

    Raises:
        ConfigError: if two runs are the same, or ``jobs`` is below 1.
        RecordError: if a run's file holds another run, or was written by a newer version.
        OutputError: if ``out`` cannot be written to, before anything runs; if something cannot be
            kept; if finished records are gone at the end.
    """
    out = Path(out)
    _check_distinct(runs)
    check_jobs(jobs)
    todo = [run for run in runs if load_run(out, run) is None]
    if todo:
        check_writable(out / "records")
        check_writable(out / "failed", room=1)
    failures: list[RunFailure] = []
    elsewhere: list[tuple[Run, Claim]] = []
    progress = GridProgress(len(todo), quiet=quiet)
    if done := len(runs) - len(todo):
        progress.message(f"{done} of {len(runs)} runs are finished already in {out}")
    attempt = attempt_at(todo, execute, out)
    try:
        with closing(_shared(attempt, todo, progress, jobs, launch)) as ended:
            for run, made in ended:
                if isinstance(made, Claim):
                    elsewhere.append((run, made))
                    continue
                if isinstance(made, RunFailure):
                    failures.append(made)
                    logger.error("run %s failed: %s; see %s", run.name, made.error, out / "failed")
                progress.finish(_outcome(made))
    except BaseException:
        progress.close()
        try:
            _write_results(out)
        except OutputError as error:  # the first error is the one to be told
            logger.warning("%s", error)
        raise
    finally:
        for run in todo:  # of processes that were killed
            forget_dead(paths_of(out, run)[0])
    progress.close()
    finished = _write_results(out)
    unfinished = {run.key for run in (*(f.run for f in failures), *(run for run, _ in elsewhere))}
    _check_complete([run for run in runs if run.key not in unfinished], out)
    return GridResult(finished, tuple(failures), tuple(elsewhere))


def attempt_at(
    runs: Sequence[Run], execute: Callable[[Run, Progress], RunRecord], out: Path
) -> Attempt:
    """Return what attempts these runs, which knows of failures that are noted now."""
    return Attempt(execute, out, {run.key: note_of_failure(out, run) for run in runs})


@dataclass(frozen=True)
class Attempt:
    """An attempt at a run: claimed, made and kept, in whatever process.

    Args:
        execute: makes the record.
        out: folder of the grid.
        noted: by key of a run, the note of its failure that was there before.
        command: its token, see :func:`~mkgc_cl.runs.claims.claimed`.
    """

    execute: Callable[[Run, Progress], RunRecord]
    out: Path
    noted: Mapping[str, Mapping[str, object] | None]
    command: str = ""

    def __call__(self, run: Run, progress: Progress | None = None) -> Outcome:
        """Return what became of the run, or the claim of another process that has it."""
        with claimed(paths_of(self.out, run)[0], f"run {run.name}", self.command) as other:
            if other is not None:
                return other
            if (settled := self.settled(run)) is not None:
                return settled
            check_writable(self.out / "records")  # nothing is computed that cannot be kept
            try:
                record = self.execute(run, progress or _unseen)
                if (wrong := foreign(record, run)) is not None:
                    raise RecordError(f"the record of the run is not the run's: {wrong}")
                keep_record(self.out, run, record)
            except (OutputError, GroupError):
                raise
            except Exception as error:  # one run's failure must not cost the others their turn
                failure = RunFailure(
                    run, f"{type(error).__name__}: {error}", traceback.format_exc()
                )
                keep_failure(self.out, run, failure.error, failure.traceback)
                return failure
            return record

    def settled(self, run: Run) -> RunRecord | RunFailure | None:
        """Return what another process made of the run since this grid began, if it did."""
        if (record := load_run(self.out, run)) is not None:
            return record
        note = note_of_failure(self.out, run)
        if note is not None and note != self.noted[run.key]:
            return RunFailure(run, str(note.get("error")), str(note.get("traceback")))
        return None


def _unseen(fraction: float, note: str = "") -> None:
    """Progress in a process without a terminal of its own."""


Outcome = RunRecord | RunFailure | Claim
"""What became of a run, or who has it."""
_Ended = tuple[Run, Outcome]


class Launch(Protocol):
    """Makes runs; :func:`~mkgc_cl.runs.parallel.as_finished` is one."""

    def __call__(
        self, work: Attempt, items: Sequence[Run], *, jobs: int
    ) -> Generator[tuple[Run, Outcome | Exception], None, None]:
        """Yield every run as it is finished, with what became of it or what its process died of."""


def _shared(
    attempt: Attempt,
    todo: Sequence[Run],
    progress: GridProgress,
    jobs: int,
    launch: Launch | None,
) -> Generator[_Ended, None, None]:
    """Yield every run with what became of it, those that other processes still have last."""
    left: dict[str, tuple[Run, Claim]] = {}
    while todo:
        with closing(_made(attempt, todo, progress, jobs, launch)) as ended:
            for run, what in ended:
                if isinstance(what, Claim):
                    left[run.key] = (run, what)
                else:
                    left.pop(run.key, None)
                    yield run, what
        # they may have come to an end while the others were computed
        for run, _ in list(left.values()):
            if (settled := attempt.settled(run)) is not None:
                del left[run.key]
                progress.start(run.name)
                yield run, settled
        if any(not claim.here for _, claim in left.values()):
            progress.message("waiting for signs of life of processes on other machines")
        todo = []
        for run, claim in left.values():
            if (living := confirmed(paths_of(attempt.out, run)[0], claim)) is None:
                todo.append(run)
            else:
                left[run.key] = (run, living)
    yield from left.values()


def _made(
    attempt: Attempt,
    todo: Sequence[Run],
    progress: GridProgress,
    jobs: int,
    launch: Launch | None,
) -> Generator[_Ended, None, None]:
    """Yield every run with what became of it, one after another or as they end."""
    if launch is not None or (jobs > 1 and len(todo) > 1):
        refused: dict[str, None] = {}
        make = launch or as_finished
        with closing(make(attempt, todo, jobs=min(jobs, len(todo)))) as ended:
            for run, made in ended:
                if isinstance(made, OutputError):
                    refused[str(made)] = None  # the others end: what they say is kept, too
                    continue
                if isinstance(made, Exception):
                    words = str(made) if isinstance(made, WorkerError) else repr(made)
                    made = RunFailure(run, words, words)
                    keep_failure(attempt.out, run, made.error, made.traceback)
                if not isinstance(made, Claim):
                    progress.start(run.name)
                yield run, made
        if refused:
            raise OutputError("\n".join(refused))
    else:
        for run in todo:
            progress.start(run.name)
            yield run, attempt(run, progress)


def _outcome(made: RunRecord | RunFailure) -> str:
    if isinstance(made, RunFailure):
        return f"FAILED, {made.error}"
    final, average = per_cent(made.A[-1]), per_cent(mean_defined(made.A))
    return f"done in {duration(made.seconds)}, final A {final}, mean A {average}"


def _write_results(out: Path) -> tuple[RunRecord, ...]:
    """Write all finished runs; again if another process, which wrote its own, finished more."""
    while True:
        before = set(out.glob("records/*.json"))
        finished = finished_records(out)
        with written_to(out):
            text = to_json({"records": [record.to_dict() for record in finished]})
            write_atomic(out / "results.json", text)
        if before == set(out.glob("records/*.json")):
            return finished


def _check_complete(finished: Sequence[Run], out: Path) -> None:
    """Refuse to call a grid finished whose records somebody moved away meanwhile."""
    gone = [run for run in finished if not paths_of(out, run)[0].exists()]
    if gone:
        raise OutputError(
            f"{out}: the records of finished runs are gone ({'; '.join(c.name for c in gone)}); if "
            "the folder was moved or renamed meanwhile, put its files back: the same command goes "
            "on with what is there"
        )


def _check_distinct(runs: Sequence[Run]) -> None:
    names = {run.key: run.name for run in runs}
    twice = [names[key] for key, number in Counter(run.key for run in runs).items() if number > 1]
    if twice:
        raise ConfigError([f"the run ({name}) is asked for twice; name it once" for name in twice])
