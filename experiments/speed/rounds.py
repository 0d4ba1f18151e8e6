"""Paired rounds: every system in turn on every task, so that a busy machine disturbs all alike."""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from mkgc_cl.experiments.checks import Tell
from mkgc_cl.experiments.speed.clock import TaskRun
from mkgc_cl.experiments.speed.flops import matrix_product, operations_per_sample
from mkgc_cl.experiments.speed.systems import BARE, FINE_TUNING, MSPT, Bench, System
from mkgc_cl.results.provenance import peak_memory_mb, reset_peak_memory

logger = logging.getLogger(__name__)

Makers = Mapping[str, Callable[[], System]]
MEMORY_TASKS = 2
"""Tasks of the passes that measure memory and operations: the second is the first with teacher
and exemplars."""


@dataclass
class Rounds:
    """What was measured.

    Args:
        runs: for every system its rounds, each a list of tasks.
        products: FLOP/s of a matrix product before every round and at the end.
        operations: of every system, floating-point operations a current sample.
        same_weights: the bare loop ended every round with the weights of fine-tuning, bit for bit;
            ``None`` if they were not both measured.
    """

    runs: dict[str, list[list[TaskRun]]]
    products: list[float] = field(default_factory=list)
    operations: dict[str, float] = field(default_factory=dict)
    same_weights: bool | None = None


@dataclass(frozen=True)
class Peak:
    """Memory of one system in MB (10^6 bytes), alone on a short pass.

    Args:
        before: resident before the system was made: Python, libraries, data, one spare model.
        peak: the most while it trained and evaluated; of the GPU where that is the device.
    """

    before: float | None
    peak: float | None


def run_rounds(bench: Bench, makers: Makers, *, rounds: int, tell: Tell) -> Rounds:
    """Measure every system ``rounds`` times.

    Within a round the systems take turns task by task. The first to go changes with every task, and
    every other round goes backwards: what a system leaves behind (freed memory that the next one
    must fault in again) then meets each of the others.
    """
    found = Rounds({name: [] for name in makers})
    for number in range(rounds):
        found.products.append(matrix_product(bench.device))
        made = {name: make() for name, make in makers.items()}
        for runs in found.runs.values():
            runs.append([])
        names = list(made)[:: -1 if number % 2 else 1]
        for task in range(bench.tasks):
            first = (task + number) % len(names)
            for name in names[first:] + names[:first]:
                tell(f"round {number + 1} of {rounds}, task {task + 1} of {bench.tasks}: {name}")
                found.runs[name][-1].append(made[name].run_task(task))
        if BARE in made and FINE_TUNING in made:
            same = _same_weights(made[BARE], made[FINE_TUNING])
            found.same_weights = same and found.same_weights is not False
    found.products.append(matrix_product(bench.device))
    for name, make in makers.items():
        tell(f"operations: {name}")
        found.operations[name] = operations_per_sample(make(), min(MEMORY_TASKS, bench.tasks))
    return found


def peaks(bench: Bench, makers: Callable[[Bench], Makers], *, tell: Tell) -> dict[str, Peak]:
    """Measure the memory of each system alone on the first tasks; warms everything up as well."""
    settings, options = bench.settings, dict(bench.options)
    if options.get("replay_schedule", "after") == "after":  # the others have no phase of their own
        options["memory_epochs"] = 1
    short = dataclasses.replace(
        settings,
        training=dataclasses.replace(settings.training, epochs=1),
        options={MSPT: options},
    )
    found = {}
    for name, make in makers(dataclasses.replace(bench, settings=short)).items():
        tell(f"memory: {name}")
        before = give_back(bench.device)
        system = make()
        for task in range(min(MEMORY_TASKS, bench.tasks)):
            system.run_task(task)
        found[name] = Peak(before, peak(bench.device))
        del system
    return found


def _same_weights(one: System, other: System) -> bool:
    first, second = one.model.state_dict(), other.model.state_dict()
    return all(torch.equal(value, second[name]) for name, value in first.items())


def give_back(device: torch.device) -> float | None:
    """Return what is free to the system, start a new peak, and tell what is in use now."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device) / 1e6
    try:
        ctypes.CDLL(None).malloc_trim(0)  # glibc keeps freed memory; it would hide the next peak
    except (AttributeError, OSError, TypeError) as error:
        logger.debug("no malloc_trim here, peaks may hold what was freed before: %s", error)
    return peak_memory_mb() if reset_peak_memory() else None


def peak(device: torch.device) -> float | None:
    """Most memory in use since :func:`give_back`, MB; ``None`` where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return peak_memory_mb()
