"""Where the time of a training run goes, seen from Avalanche's callbacks; nothing is patched.

Two clocks run: the wall's, and the processor time of this process, which other processes of a busy
machine stretch far less. A GPU is waited for at every reading, so that work is counted where it was
asked for; that forbids overlap, in every system measured alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
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


class Shape(NamedTuple):
    """Size of a padded batch.

    Samples, tokens per sample, images, tokens that are no padding, and samples that come from a
    memory.
    """

    samples: int
    length: int
    images: int
    tokens: int
    replayed: int = 0

    @property
    def current(self) -> int:
        """Samples of the current task."""
        return self.samples - self.replayed

    @classmethod
    def of(cls, batch: MultimodalBatch) -> Shape:
        """Measure a batch."""
        samples, length = batch["input_ids"].shape
        images = batch["crops_present"].shape[0]
        tokens, replayed = int(batch["attention_mask"].sum()), int(batch["replayed"].sum())
        return cls(samples, length, images, tokens, replayed)


@dataclass(frozen=True)
class Step:
    """One training step.

    Args:
        shape: its batch.
        time: what it took, from the end of the step before.
        parts: wall seconds by part; they sum to ``time.wall``.
        epoch: from 0, within the task or its memory phase.
        taught: batches the teacher encoded in it.
    """

    shape: Shape
    time: Instant
    parts: dict[str, float]
    epoch: int = 0
    taught: tuple[Shape, ...] = ()

    @property
    def memory(self) -> bool:
        """A step on the memory alone, of its own phase or between others."""
        return self.shape.current == 0


@dataclass
class TaskRun:
    """One task of one system.

    Args:
        steps: its training steps.
        outside: wall seconds outside any step, by part: binding samples, copying the teacher,
            choosing exemplars.
        training: all of ``train``.
        evaluation: the evaluation after it; zero where there is none.
        evaluated: samples that evaluation scored.
    """

    steps: list[Step] = field(default_factory=list)
    outside: dict[str, float] = field(default_factory=dict)
    training: Instant = NO_TIME
    evaluation: Instant = NO_TIME
    evaluated: int = 0

    def current(self) -> list[Step]:
        """Steps on the task's own samples, with or without the memory's beside them."""
        return [step for step in self.steps if not step.memory]

    def replayed(self) -> list[Step]:
        """Steps on the memory alone."""
        return [step for step in self.steps if step.memory]


def reader(device: torch.device) -> Callable[[], Instant]:
    """Return a function that reads both clocks, after the device is done."""
    if device.type == "cuda":

        def read() -> Instant:
            torch.cuda.synchronize(device)
            return Instant(time.perf_counter(), time.process_time())

        return read
    return lambda: Instant(time.perf_counter(), time.process_time())


class Meter:
    """Cut the time of a strategy's training into steps and parts, without a gap.

    Args:
        strategy: a fresh strategy; gets a :class:`Probe` round each of its plugins.
    """

    def __init__(self, strategy: MultimodalStrategy) -> None:
        self.read = reader(torch.device(strategy.device))
        self.run = TaskRun()
        self._strategy = strategy
        self._last = self._begun = self.read()
        self._open: dict[str, float] = {}
        self._taught: list[Shape] = []
        self._epoch, self._phase = -1, ""
        plugins = list(strategy.plugins)
        probes = [Probe(self, None)]
        probes += [Probe(self, type(plugin).__name__) for plugin in plugins]
        probes[-1].last = True
        strategy.plugins = [probes[0]]
        for plugin, probe in zip(plugins, probes[1:], strict=True):
            strategy.plugins += [plugin, probe]
        _watch_teacher(strategy.network, self)

    def start(self) -> None:
        """Begin a new task."""
        self.run = TaskRun()
        self._open, self._taught, self._phase = {}, [], ""
        self._last = self._begun = self.read()

    def mark(self, part: str) -> None:
        """Count the time since the last mark to ``part``."""
        now = self.read()
        self._open[part] = self._open.get(part, 0.0) + now.wall - self._last.wall
        self._last = now

    def flush(self) -> None:
        """What was counted since the last step belongs to no step."""
        for part, seconds in self._open.items():
            self.run.outside[part] = self.run.outside.get(part, 0.0) + seconds
        self._open = {}
        self._begun = self._last

    def start_epoch(self) -> None:
        """A pass over a task or a memory begins."""
        same = self._strategy.phase == self._phase
        self._epoch = self._epoch + 1 if same else 0
        self._phase = self._strategy.phase

    def close_step(self) -> None:
        """Keep the step that ends at the last mark."""
        self.run.steps.append(
            Step(
                shape=Shape.of(self._strategy.batch),
                time=self._last.since(self._begun),
                parts=self._open,
                epoch=self._epoch,
                taught=tuple(self._taught),
            )
        )
        self._open, self._taught = {}, []
        self._last = self._begun = self.read()  # leave out the time of keeping it

    def finish(self, started: Instant) -> TaskRun:
        """Return what was measured since :meth:`start`, which was at ``started``."""
        self.mark(SET_UP)
        self.flush()
        self.run.training = self._last.since(started)
        return self.run

    def teaching(self, batch: MultimodalBatch, *, begins: bool) -> None:
        """The teacher begins or ends a forward pass."""
        if begins:
            self.mark(DISTILLATION)
            self._taught.append(Shape.of(batch))
        else:
            self.mark(TEACHER)


class Probe(SupervisedPlugin):
    """Mark a turn: of the plugin before it, or, as the first of all, of the template itself.

    Args:
        meter: where it marks.
        plugin: name of the plugin before it; ``None`` for the first probe.
    """

    def __init__(self, meter: Meter, plugin: str | None) -> None:
        super().__init__()
        self._meter = meter
        self._plugin = plugin
        self.last = False

    def heard(self, event: str) -> None:
        """Mark, and begin or end what the event begins or ends."""
        meter = self._meter
        meter.mark(self._plugin or CORE[event])
        if self._plugin is None and event == "before_training_epoch":
            meter.flush()
            meter.start_epoch()
        elif self.last and event == "after_training_iteration":
            meter.close_step()


def _listener(event: str) -> Callable[..., None]:
    def listen(self: Probe, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        self.heard(event)

    return listen


for _event in CORE:
    setattr(Probe, _event, _listener(_event))


def _watch_teacher(network: nn.Module, meter: Meter) -> None:
    """Hear the forward passes of ``network``'s copies: hooks are copied with a module.

    Closures on purpose: copying a bound method would copy the meter with it.
    """

    def begins(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if module is not network:
            meter.teaching(inputs[0], begins=True)

    def ends(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if module is not network:
            meter.teaching(inputs[0], begins=False)

    network.register_forward_pre_hook(begins)
    network.register_forward_hook(ends)
