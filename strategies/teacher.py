"""The model that a task finds, as the teacher of what it becomes, and what it said so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.errors import ConfigError
from mkgc_cl.models import ExtractionModel, ModelOutput
from mkgc_cl.strategies.encoding import Encoding

Answer = TypeVar("Answer")


class Teacher(Generic[Answer]):
    """A frozen copy of the model, in evaluation mode, and its answer to every sample of a task.

    The copy is taken as a task begins, and not when the one before ends, so that no order of
    plugins takes it before a memory phase. A task that an exception cut off keeps its teacher when
    it is begun again. What the teacher says of a sample never changes during a task, so it is
    computed once per sample and kept: one pass per sample and task, whatever the epochs.

    Args:
        read: the answers to the samples of a batch, from the batch, the model's output on it, and
            the model.

    Attributes:
        model: the copy, ``None`` outside of a task and in the first one.
        samples: samples it has encoded so far, over all tasks.
    """

    def __init__(
        self, read: Callable[[MultimodalBatch, ModelOutput, ExtractionModel], Sequence[Answer]]
    ) -> None:
        self.model: ExtractionModel | None = None
        self.samples = 0
        self._read = read
        self._encode: Callable[[ExtractionModel, MultimodalBatch], ModelOutput] | None = None
        self._known: dict[str, Answer] = {}
        self._tasks = 0

    def begin_task(self, strategy: Encoding) -> None:
        """Freeze the model that the tasks before have left, if there were any."""
        if self._tasks > 0 and self.model is None:
            self.model = strategy.snapshot()
            if len(self.model.decisions):
                # it answers by its own scores: a branch beside would be computed in vain
                self.model.decisions = torch.nn.ModuleList()
                self.model._forward_hooks.clear()
            self._encode = strategy.encode  # in the student's precision, or rounding is "lost"

    def end_task(self) -> None:
        """Let the copy and its answers go."""
        self._tasks += 1
        self._forget()

    @torch.no_grad()
    def answers(self, batch: MultimodalBatch, rows: Tensor) -> list[Answer]:
        """Return the answers to samples ``rows`` (N,) of a batch.

        Raises:
            ConfigError: there is no teacher: no task came before.
        """
        if self.model is None or self._encode is None:
            raise ConfigError(["there is no teacher before the second task"])
        new = [row for row in rows.tolist() if batch.uids[row] not in self._known]
        if new:
            part = batch.select(torch.tensor(new, device=rows.device))
            said = self._read(part, self._encode(self.model, part), self.model)
            self._known.update(zip(part.uids, said, strict=True))
            self.samples += len(new)
        return [self._known[batch.uids[row]] for row in rows.tolist()]

    def state_dict(self) -> dict[str, Any]:
        """What steps and ended tasks leave; the copy is the model at the task's start.

        Answers are part of it: computed in another batch, one might differ in its last bit.
        """
        return {
            "tasks": self._tasks,
            "teacher_samples": self.samples,
            "answers": None if self.model is None else dict(self._known),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`; within a task, when it has begun."""
        answers = state["answers"]
        if answers is None:
            self._forget()  # of whatever it was used for
        elif self.model is not None:
            self._known = dict(answers)
        self._tasks = int(state["tasks"])
        self.samples = int(state["teacher_samples"])

    def _forget(self) -> None:
        self.model = self._encode = None
        self._known = {}
