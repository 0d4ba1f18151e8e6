"""Where in a task training is: its stages, their epochs and steps; and steps that are not redone.

A stage is the epochs of a task, or one memory phase after them. A task that goes on from the middle
is begun again from the state that it began with: teachers, consolidation, exemplars and loaders are
made anew, as they were. Stages that have ended and steps that were taken are skipped, and the state
that they left is loaded in their place. Their batches are drawn again without being made, so that
every generator is where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Mark:
    """What steps of a task have left.

    Args:
        stage: number of the stage, from 0.
        epoch: number of the epoch within it; ``None`` where the stage has ended.
        step: steps of the epoch that were taken.
        load: loads the state that they left.
    """

    stage: int
    epoch: int | None
    step: int
    load: Callable[[], None]


class TaskProgress:
    """Counts stages, epochs and steps of the running task.

    Attributes:
        stage: number of the running stage; -1 before the first.
        epoch: number of the running epoch within it.
        step: steps taken of that epoch.
    """

    def __init__(self) -> None:
        self.stage, self.epoch, self.step = -1, 0, 0
        self._marks: dict[int, Mark] = {}
        self._ahead: Mark | None = None

    def begin_task(self, marks: Sequence[Mark] = ()) -> None:
        """Count from 0.

        Args:
            marks: what earlier processes did of the task: of every stage that has ended, then of
                the one that has not.
        """
        self.stage, self.epoch, self.step = -1, 0, 0
        self._marks = {mark.stage: mark for mark in marks}
        self._ahead = None

    def epochs(self, number: int, loader: Any) -> Iterator[None]:
        """Yield once for every epoch of the next stage that is left to train.

        Args:
            number: of its epochs.
            loader: of the stage.
        """
        self.stage, first = self.stage + 1, 0
        mark = self._marks.pop(self.stage, None)
        if mark is not None and mark.epoch is None:
            mark.load()
            return
        if mark is not None and mark.epoch is not None:
            first, self._ahead = mark.epoch, mark
            for _ in range(first):
                for _ in loader.batch_sampler:
                    pass
        for epoch in range(first, number):
            self.epoch, self.step = epoch, 0
            yield

    def batches(self, loader: Any) -> Any:
        """The batches of the running epoch that are left to train."""
        if self._ahead is None:
            return loader
        mark, self._ahead = self._ahead, None
        positions = iter(loader.batch_sampler)
        for _ in range(mark.step):
            next(positions)
        self.step = mark.step
        mark.load()
        return (loader.collate_fn([loader.dataset[i] for i in batch]) for batch in positions)
