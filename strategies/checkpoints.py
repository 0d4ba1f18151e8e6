"""Checkpoints of a run: after every task, and within tasks if asked; a run goes on from the last.

A checkpoint holds the state with which its task began (or the last one ended), and of the task what
its stages left (:mod:`mkgc_cl.strategies.task_progress`). Parts that did not change are one file.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import mkgc_cl
from mkgc_cl._checks import above_zero, at_least, require
from mkgc_cl.checkpoints.folder import CheckpointFolder
from mkgc_cl.checkpoints.samples import samples_digest, samples_of, samples_state
from mkgc_cl.data.samples import Sample
from mkgc_cl.errors import ConfigError, DataError, OutputError, TrainingError
from mkgc_cl.scenarios.benchmark import KnowledgeExperience
from mkgc_cl.strategies.captured import (
    State,
    captured,
    draws_of,
    held_samples,
    made_for,
    name_of,
    restore,
    untold,
)
from mkgc_cl.strategies.task_progress import Mark, TaskProgress

if TYPE_CHECKING:
    from mkgc_cl.strategies.template import MultimodalStrategy

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checkpointing:
    """Where a run keeps its checkpoints, and how often it writes one.

    Args:
        folder: the folder, of this run alone.
        steps: write one within a task, too, every so many steps; at least 1.
        minutes: likewise; above 0.
        made_for: what else a run must share that goes on from them, as plain data by name.

    Raises:
        ConfigError: a number is too small.
    """

    folder: str | Path
    steps: int | None = None
    minutes: float | None = None
    made_for: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(
            at_least("steps", self.steps, 1, none="after tasks alone"),
            above_zero("minutes", self.minutes, none="after tasks alone"),
        )


class Checkpoints:
    """Writes the checkpoints of a strategy that trains.

    A checkpoint that cannot be written is told in a line and ends no run. Of processes that share
    the training the first one writes, and says whether it did.

    Args:
        strategy: the strategy.
        asked: where and how often.
        folder: the same folder, with what is known of it.
        seconds: wall time of the run so far, from all of its processes.
        made_for: as :func:`all_made_for` gives it of the strategy as it was built: training may
            change rates and options since.

    Attributes:
        last: the last good checkpoint in words, ``None`` before the first.
    """

    def __init__(
        self,
        strategy: MultimodalStrategy,
        asked: Checkpointing,
        folder: CheckpointFolder,
        seconds: Callable[[], float],
        made_for: Mapping[str, Any],
    ) -> None:
        self._strategy = strategy
        self._asked = asked
        self._seconds = seconds
        self._folder = folder
        self._made_for = made_for
        self._ranks = strategy.ranks
        self._draws: dict[str, Any] | None = None
        self._within = asked.steps is not None or asked.minutes is not None
        self._task: dict[str, Any] | None = None  # None where its beginning is not kept
        self._begun: dict[str, Any] = {}
        self._stages: list[dict[str, Any]] = []
        self._steps = 0
        self._written = time.monotonic()
        self.last: str | None = None

    def begin_task(self, experience: KnowledgeExperience) -> None:
        """Keep the state that a task begins with, which checkpoints within it refer to."""
        self._task, self._stages, self._steps = None, [], 0
        before = f"before task {experience.task_name!r}"
        if self._within and self._wrote(before, self._begin):
            self._task = task_of(experience)

    def go_on(self, body: Mapping[str, Any]) -> None:
        """Go on within the task of a checkpoint."""
        self._task, self._begun = body["task"], body["begun"]
        self._stages = [mark for mark in body["marks"] if mark["epoch"] is None]

    def step(self, progress: TaskProgress) -> None:
        """Write a checkpoint if it is due after a step."""
        self._steps += 1
        asked = self._asked
        due = asked.steps is not None and self._steps % asked.steps == 0
        if asked.minutes is not None:
            late = time.monotonic() - self._written >= 60 * asked.minutes
            due = bool(self._ranks.of_first(due or late))  # clocks are their own
        if due and self._task is not None:
            place = f"task {self._task['name']!r}, epoch {progress.epoch + 1}, step {progress.step}"
            self._draws = draws_of(self._strategy)
            self._wrote(place, lambda: self._mark(progress, epoch=progress.epoch))

    def end_stage(self, progress: TaskProgress) -> None:
        """Keep what a stage left: the ones after it are begun again from there."""
        known = any(mark["stage"] == progress.stage for mark in self._stages)
        if self._task is not None and not self._ranks.of_first(known):
            self._draws = draws_of(self._strategy)
            place = f"task {self._task['name']!r}, stage {progress.stage + 1}"
            if not self._wrote(place, lambda: self._mark(progress, epoch=None)):
                self._task = None  # what comes within the task could not be used without this one

    def end_task(self) -> None:
        """Write a checkpoint of a task that has ended."""
        self._task, self._stages = None, []
        self._wrote(f"after task {self._strategy.clock.train_exp_counter}", self._begin)

    @staticmethod
    def save(strategy: MultimodalStrategy, folder: str | Path, *, carry_samples: bool) -> None:
        """Write a checkpoint between two tasks; see :meth:`MultimodalStrategy.save`."""
        if strategy.experience is not None:
            raise ConfigError(
                [
                    "a strategy is saved between tasks; for checkpoints within one give "
                    "run_stream(..., checkpoint=Checkpointing(folder, steps=...))"
                ]
            )
        own = all_made_for(strategy, {})
        if strategy.ranks.first:
            place = CheckpointFolder(folder)
            writer = Checkpoints(strategy, Checkpointing(folder), place, lambda: 0.0, own)
            with place.writing():
                samples = None
                if carry_samples:
                    images = strategy.network.processor.views.looks
                    state = samples_state(held_samples(strategy), images=images)
                    samples = place.put("samples", state)
                writer._begun = writer._state()
                place.write(writer._body(None, samples))
        strategy.ranks.wait()

    def _wrote(self, place: str, write: Callable[[], None]) -> bool:
        """Write a checkpoint; tell in a line of one that is refused."""
        done = self._ranks.first and self._wrote_here(place, write)
        return bool(self._ranks.of_first(done))

    def _wrote_here(self, place: str, write: Callable[[], None]) -> bool:
        try:
            with self._folder.writing():
                write()
        except (OutputError, ConfigError, TrainingError) as error:
            logger.warning("no checkpoint %s, the run goes on: %s", place, error)
            return False
        self.last = f"{place}, in {self._folder.path}"
        self._written = time.monotonic()
        return True

    def _begin(self) -> None:
        self._begun = self._state()
        self._folder.write(self._body(None))

    def _mark(self, progress: TaskProgress, *, epoch: int | None) -> None:
        place = {"stage": progress.stage, "epoch": epoch, "step": progress.step}
        marks = [*self._stages, {**place, "state": self._state(self._draws)}]
        self._folder.write(self._body(marks))
        if epoch is None:
            self._stages = marks

    def _body(
        self, marks: Sequence[Mapping[str, Any]] | None, samples: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        return {
            "made_for": self._made_for,
            "seconds": self._seconds(),
            "threads": torch.get_num_threads(),
            "trained": self._strategy.clock.train_exp_counter,
            "task": None if marks is None else self._task,
            "begun": self._begun,
            "marks": list(marks or ()),
            "samples": samples,
        }

    def _state(self, draws: Mapping[str, Any] | None = None) -> dict[str, Any]:
        state = captured(self._strategy, draws)
        return {
            part: self._folder.put(part, value, name=name_of(self._strategy, part))
            for part, value in state.items()
        }


@dataclass(frozen=True)
class Resumed:
    """What a strategy goes on from.

    Args:
        body: the checkpoint.
        seconds: wall time of the run until it.
        trained: tasks that were trained.
        marks: of the task within which it goes on.
    """

    body: Mapping[str, Any]
    seconds: float
    trained: int
    marks: tuple[Mark, ...]

    def begin_task(self, experience: KnowledgeExperience) -> tuple[Mark, ...]:
        """The marks, for the task that they are of.

        Raises:
            ConfigError: it is another task.
        """
        task = self.body["task"]
        if task is None:
            return ()
        own = task_of(experience)
        if task != own:
            same = " by this name, of other samples" if task["name"] == own["name"] else ""
            raise ConfigError(
                [
                    f"the checkpoint is within the task {task['name']!r}, and the task to train is "
                    f"{own['name']!r}{same}; go on with the stream that was trained on"
                ]
            )
        return self.marks


def resume(
    strategy: MultimodalStrategy,
    folder: CheckpointFolder,
    found: tuple[Path, Mapping[str, Any]],
    samples: Iterable[Sample],
    more: Mapping[str, Any],
) -> Resumed:
    """Let a strategy be in the state of a checkpoint.

    Args:
        strategy: built as the one that wrote it.
        folder: of the checkpoint.
        found: its path and content, whole.
        samples: where samples that plugins hold are found, beside those that it carries.
        more: what else a run must share.

    Raises:
        ConfigError: naming every setting that differs.
        DataError: it is damaged, or a sample is not there.
    """
    path, body = found
    wrong = differences(body["made_for"], all_made_for(strategy, more))
    if wrong:
        advice = (
            f"go on with what {path.name} was made with; or, to start again, remove the folder "
            f"{folder.path} or choose another one"
        )
        raise ConfigError([*wrong, advice])
    if (threads := body["threads"]) != torch.get_num_threads():
        # no reason to refuse: another machine has other cores
        logger.warning(
            "%s was written with %d threads and the run goes on with %d: sums are rounded "
            "otherwise, so results may differ; OMP_NUM_THREADS=%d keeps them equal",
            path.name,
            threads,
            torch.get_num_threads(),
            threads,
        )
    carried = body["samples"]
    own = [] if carried is None else samples_of(folder.get(carried))
    known = {sample.identity: sample for sample in [*own, *samples]}

    def load(described: Mapping[str, Any]) -> None:
        state: State = {
            name: folder.get(part, device=strategy.device) for name, part in described.items()
        }
        restore(strategy, state, known.values())
        strategy.ranks.wait()  # until then the first process removes no file

    load(body["begun"])
    marks = tuple(
        Mark(mark["stage"], mark["epoch"], mark["step"], partial(load, mark["state"]))
        for mark in body["marks"]
    )
    return Resumed(body, float(body["seconds"]), int(body["trained"]), marks)


def keep(
    strategy: MultimodalStrategy, asked: Checkpointing, samples: Iterable[Sample]
) -> tuple[Checkpoints, Resumed]:
    """Go on from the last checkpoint of a folder, if any is good, and let it have more."""
    place = CheckpointFolder(asked.folder)
    found = found_by_first(strategy, place, lambda: _newest(place))
    own = all_made_for(strategy, asked.made_for)
    resumed = Resumed({"task": None}, 0.0, 0, ())
    if found is not None:
        resumed = resume(strategy, place, found, samples, asked.made_for)
    started = time.perf_counter() - resumed.seconds
    writer = Checkpoints(strategy, asked, place, lambda: time.perf_counter() - started, own)
    writer.last = None if found is None else str(found[0])
    return writer, resumed


def found_by_first(
    strategy: MultimodalStrategy,
    place: CheckpointFolder,
    find: Callable[[], tuple[Path, Mapping[str, Any]] | None],
) -> tuple[Path, Mapping[str, Any]] | None:
    """The checkpoint that the first of the processes finds in a folder which all can read."""
    ranks = strategy.ranks
    found = find() if ranks.first else None
    name = ranks.text_of_first(found[0].name if found else "")
    return place.named(name) if name and not ranks.first else found


def _newest(place: CheckpointFolder) -> tuple[Path, Mapping[str, Any]] | None:
    try:
        return place.newest()
    except DataError as error:
        logger.warning("%s; nothing is left to go on from: the run starts again", error.message)
        return None


def all_made_for(strategy: MultimodalStrategy, more: Mapping[str, Any]) -> dict[str, Any]:
    """What a run must share with one that it goes on from, versions included.

    Raises:
        ConfigError: a plugin has a state that it does not tell.
    """
    if wrong := untold(strategy):
        raise ConfigError(wrong)
    versions = {"mkgc_cl": mkgc_cl.__version__, "torch": str(torch.__version__)}
    return {**made_for(strategy), "versions": versions, **more}


def differences(kept: Any, here: Any, place: str = "") -> list[str]:
    """Name everything that differs between two nested descriptions, as JSON has them."""
    if isinstance(kept, Mapping) and isinstance(here, Mapping):
        return [
            problem
            for key in {**kept, **here}
            for problem in differences(
                kept.get(key), here.get(key), f"{place}.{key}" if place else str(key)
            )
        ]
    if isinstance(kept, list | tuple) and isinstance(here, list | tuple):
        if len(kept) == len(here):
            pairs = enumerate(zip(kept, here, strict=True))
            return [p for i, (a, b) in pairs for p in differences(a, b, f"{place}[{i}]")]
    elif kept == here:
        return []
    return [f"{place} is {kept!r} in the checkpoint and {here!r} here"]


def task_of(experience: KnowledgeExperience) -> dict[str, Any]:
    """What tells a task from another one."""
    return {"name": experience.task_name, "samples": samples_digest(experience.samples)}
