"""Where the time of a training run goes, seen from Avalanche's callbacks; nothing is patched.

Two clocks run: the wall's, and the processor time of this process, which other processes of a busy
machine stretch far less. A GPU is waited for at every reading, so that work is counted where it was
asked for; that forbids overlap, in every system measured alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.strategies import MultimodalStrategy

# isort: split
from avalanche.core import SupervisedPlugin  # after ours, which makes it importable without a home

DISTILLATION = "AttentionDistillationPlugin"
TEACHER = "teacher pass"
SET_UP = "set-up"

CORE: dict[str, str] = {
    "before_training": SET_UP,
    "before_training_exp": SET_UP,
    "before_training_epoch": SET_UP,
    "before_training_iteration": "data",  # the loader, collating, the copy to the device
    "before_forward": "optimizer",  # zero_grad
    "after_forward": "forward",
    "before_backward": "forward",  # the task's loss
    "after_backward": "backward",
    "before_update": "backward",
    "after_update": "optimizer",
    "after_training_iteration": "optimizer",
    "after_training_epoch": SET_UP,
    "after_training_exp": SET_UP,
    "after_training": SET_UP,
}
"""What the template has done since the last plugin's turn, by the callback that ends it."""


class Instant(NamedTuple):
    """A reading of both clocks in seconds."""

    wall: float
    cpu: float

    def since(self, start: Instant) -> Instant:
        """Time from ``start`` to here."""
        return Instant(self.wall - start.wall, self.cpu - start.cpu)


NO_TIME = Instant(0.0, 0.0)


@dataclass(frozen=True)
class Step:
    """One training step and its batch.

    Args:
        time: what it took, from the end of the step before.
        samples: in its batch, those of a memory included.
        positions: tokens of the batch, padding included.
        tokens: those that are no padding.
        images: distinct images in it.
        replayed: samples that come from a memory.
        parts: wall seconds by part; they sum to ``time.wall``.
        epoch: from 0, within the task or its memory phase.
    """

    time: Instant
    samples: int
    positions: int
    tokens: int
    images: int
    replayed: int = 0
    parts: dict[str, float] = field(default_factory=dict)
    epoch: int = 0

    @classmethod
    def on(cls, batch: MultimodalBatch, time: Instant, **more: Any) -> Step:
        """A step on ``batch``."""
        return cls(
            time=time,
            samples=len(batch["input_ids"]),
            positions=batch["input_ids"].numel(),
            tokens=int(batch["attention_mask"].sum()),
            images=len(batch["crops_present"]),
            replayed=int(batch["replayed"].sum()),
            **more,
        )

    @property
    def current(self) -> int:
        """Samples of the current task; 0 in a step on the memory alone."""
        return self.samples - self.replayed


@dataclass
class TaskRun:
    """One task of one system.

    Args:
        steps: its training steps.
        training: all of ``train``: steps, binding samples, the teacher's copy, exemplars.
        evaluation: wall seconds of the evaluation after it; zero where there is none.
    """

    steps: list[Step] = field(default_factory=list)
    training: Instant = NO_TIME
    evaluation: float = 0.0

    def current(self) -> list[Step]:
        """Steps on the task's own samples, with or without the memory's beside them."""
        return [step for step in self.steps if step.current]

    def replayed(self) -> list[Step]:
        """Steps on the memory alone, of its own phase or between others."""
        return [step for step in self.steps if not step.current]


def reader(device: torch.device) -> Callable[[], Instant]:
    """Return a function that reads both clocks, after the device is done."""

    def read() -> Instant:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return Instant(time.perf_counter(), time.process_time())

    return read


class Meter:
    """Cut the time of a strategy's training into steps and parts, without a gap.

    Args:
        strategy: a fresh strategy; gets a :class:`Probe` round each of its plugins.
    """

    def __init__(self, strategy: MultimodalStrategy) -> None:
        self.read = reader(torch.device(strategy.device))
        self._strategy = strategy
        self.start()
        plugins = list(strategy.plugins)
        strategy.plugins = [Probe(self._core)]
        for plugin in plugins:
            name, last = type(plugin).__name__, plugin is plugins[-1]
            strategy.plugins += [plugin, Probe(partial(self._after, name, last))]
        _watch_teacher(strategy.network, self.mark)

    def start(self) -> None:
        """Begin a new task."""
        self.run = TaskRun()
        self._parts: dict[str, float] = {}
        self._epoch, self._phase = -1, ""
        self._started = self._begun = self._last = self.read()

    def finish(self) -> TaskRun:
        """Return what was measured since :meth:`start`."""
        self.run.training = self.read().since(self._started)
        return self.run

    def mark(self, part: str) -> None:
        """Count the time since the last mark to ``part``."""
        now = self.read()
        self._parts[part] = self._parts.get(part, 0.0) + now.wall - self._last.wall
        self._last = now

    def _core(self, event: str) -> None:
        self.mark(CORE[event])
        if event == "before_training_epoch":  # what came before belongs to no step
            self._parts, self._begun = {}, self._last
            same, self._phase = self._strategy.phase == self._phase, self._strategy.phase
            self._epoch = self._epoch + 1 if same else 0

    def _after(self, plugin: str, last: bool, event: str) -> None:
        self.mark(plugin)
        if last and event == "after_training_iteration":
            took = self._last.since(self._begun)
            batch = self._strategy.batch
            self.run.steps.append(Step.on(batch, took, parts=self._parts, epoch=self._epoch))
            self._parts = {}
            self._begun = self._last = self.read()  # leave out the time of keeping it


class Probe(SupervisedPlugin):
    """Say when a turn has ended: of the plugin before it, or, as the first, of the template.

    Args:
        heard: told of every event of training.
    """

    def __init__(self, heard: Callable[[str], None]) -> None:
        super().__init__()
        for event in CORE:
            setattr(self, event, lambda strategy, *_, event=event, **__: heard(event))


def _watch_teacher(network: nn.Module, mark: Callable[[str], None]) -> None:
    """Mark the forward passes of ``network``'s copies: hooks are copied with a module.

    Closures on purpose: copying a bound method would copy the meter with it.
    """

    def ending(part: str) -> Callable[..., None]:
        def hook(module: nn.Module, *_: Any) -> None:
            if module is not network:
                mark(part)

        return hook

    network.register_forward_pre_hook(ending(DISTILLATION))
    network.register_forward_hook(ending(TEACHER))
