"""Paired rounds: every system in turn on every task, so that a busy machine disturbs all alike."""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mkgc_cl.experiments.pipeline.console import Tell
from mkgc_cl.experiments.speed.clock import TaskRun, reader
from mkgc_cl.experiments.speed.systems import MSPT, BareLoop, Bench, System, systems
from mkgc_cl.runs.provenance import peak_memory_mb, reset_peak_memory

logger = logging.getLogger(__name__)

Runs = dict[str, list[list[TaskRun]]]
"""Of every system its rounds, each a list of tasks."""
Makers = Mapping[str, Callable[[], System]]
FEW_TASKS = 2
"""Tasks of the passes that measure memory and operations: the second is the first with teacher
and exemplars."""
SIDE = 1024
"""Of the matrices whose product stands for what the machine can do."""
SHIPPED = "as shipped"
OFF = {
    SHIPPED: {},
    "no length buckets": {"buckets": False},
    "an image encoded for every sample": {"shared_images": False},
    "AdamW foreach, not fused": {"fused": False},
}
"""The bare loop with every optimisation off in turn."""


def take_turns(
    makers: Makers,
    *,
    tasks: int,
    rounds: int,
    tell: Tell,
    done: Callable[[dict[str, System]], object] = lambda made: None,
) -> Runs:
    """Train every system ``rounds`` times, anew in each round.

    Within a round the systems take turns task by task. The first to go changes with every task, and
    every other round goes backwards: what a system leaves behind (freed memory that the next one
    must fault in again) then meets each of the others.

    Args:
        makers: what makes each system, by name.
        tasks: how many of the stream.
        rounds: how many.
        tell: told of every turn.
        done: given the systems at the end of every round.
    """
    found: Runs = {name: [] for name in makers}
    for number in range(rounds):
        made = {name: make() for name, make in makers.items()}
        for runs in found.values():
            runs.append([])
        names = list(made)[:: -1 if number % 2 else 1]
        for task in range(tasks):
            first = (task + number) % len(names)
            for name in names[first:] + names[:first]:
                tell(f"round {number + 1} of {rounds}, task {task + 1} of {tasks}: {name}")
                found[name][-1].append(made[name].run_task(task))
        done(made)
    return found


def optimisations_off(bench: Bench, *, rounds: int, tell: Tell) -> Runs:
    """Train the bare loop for one epoch of the first task, in every variant of :data:`OFF`."""
    once = _short(bench, {})
    makers = {name: partial(BareLoop, once, **off) for name, off in OFF.items()}
    return take_turns(makers, tasks=1, rounds=rounds, tell=tell)


def peaks(bench: Bench, *, tell: Tell) -> dict[str, dict[str, float | None]]:
    """Measure the memory of each system alone on the first tasks; warms everything up as well.

    Returns:
        By system, in MB (10^6 bytes): ``before``, resident before it was made (Python, libraries,
        data, one spare model); ``peak``, the most while it trained and evaluated, of the GPU where
        that is the device.
    """
    options = dict(bench.options)
    if options.get("replay_schedule", "after") == "after":  # the others have no phase of their own
        options["memory_epochs"] = 1
    found = {}
    for name, make in systems(_short(bench, options)).items():
        tell(f"memory: {name}")
        before = give_back(bench.device)
        system = make()
        for task in range(min(FEW_TASKS, bench.tasks)):
            system.run_task(task)
        found[name] = {"before": before, "peak": peak(bench.device)}
        del system
    return found


def operations_per_sample(system: System, tasks: int) -> float:
    """Train on the first tasks and return the operations by current samples."""
    total, samples = 0, 0
    for index in range(tasks):
        # The fused kernels of a CPU are not counted; the plain mathematics is the same work.
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            run = system.train_task(index)
        total += counter.get_total_flops()
        samples += sum(step.current for step in run.steps)
    return total / samples


def matrix_product(device: torch.device) -> float:
    """FLOP/s of a float32 product of two square matrices, the best of some: what can be reached."""
    left = torch.randn(SIDE, SIDE, device=device, generator=torch.Generator(device).manual_seed(0))
    read, seconds = reader(device), []
    for _ in range(6):  # the first sets up threads and kernels
        started = read()
        torch.mm(left, left)
        seconds.append(read().since(started).wall)
    return 2 * SIDE**3 / min(seconds)


def same_weights(one: System, other: System) -> bool:
    """Whether two systems have the same weights, bit for bit."""
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


def _short(bench: Bench, options: dict[str, Any]) -> Bench:
    """One epoch per task, MSPT with ``options``."""
    training = dataclasses.replace(bench.settings.training, epochs=1)
    settings = dataclasses.replace(bench.settings, training=training, options={MSPT: options})
    return dataclasses.replace(bench, settings=settings)
