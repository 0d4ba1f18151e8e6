"""From measured steps to the numbers of the report, as plain types for JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from mkgc_cl.experiments.speed.clock import Step, TaskRun
from mkgc_cl.experiments.speed.rounds import SHIPPED, Runs
from mkgc_cl.experiments.speed.systems import BARE, FINE_TUNING, MSPT

PARTS = ("data", "forward", "backward", "optimizer", "plugins")
AIMS = {"bare": 1.05, "mspt": 1.5, "growth": 1.05}
"""Largest ratios that are aimed at."""

Rounds = Sequence[Sequence[TaskRun]]
"""Of one system."""
Chosen = Callable[[int, Step], bool]


def summarise(rounds: Rounds, *, operations: float, product: float) -> dict[str, Any]:
    """What is known of one system: medians of speeds and means of seconds, over rounds.

    ``operations`` are floating-point operations by current samples, ``product`` the FLOP/s of a
    matrix product on this machine.
    """

    def seconds(of: Callable[[TaskRun], float]) -> Any:
        return np.array([sum(map(of, tasks)) for tasks in rounds])

    current = seconds(lambda task: _wall(task.current()))
    memory = seconds(lambda task: _wall(task.replayed()))
    training = seconds(lambda task: task.training.wall)
    samples = sum(step.current for task in rounds[0] for step in task.steps)
    speed = float(np.median(samples / training))
    return {
        "samples_per_second": {"steps": float(np.median(samples / current)), "training": speed},
        "split": split(rounds),
        "seconds": {
            "current_steps": float(current.mean()),
            "memory_steps": float(memory.mean()),
            "between": float((training - current - memory).clip(min=0).mean()),
            "evaluation": float(seconds(lambda task: task.evaluation).mean()),
        },
        "flops": {
            "giga_per_sample": operations / 1e9,
            "training": operations * speed,
            "percent_of_product": 100 * operations * speed / product,
        },
    }


def split(rounds: Rounds) -> dict[str, Any] | None:
    """Where the time of a step on current samples goes, mean over all rounds; not of a bare loop.

    Returns:
        ``step_ms`` and for every part of :data:`PARTS` its ``ms`` and ``percent``; ``plugins`` the
        milliseconds of each plugin (the teacher's pass apart); ``evaluation_ms``, all evaluations
        of the stream over all current steps, which is no part of the step.
    """
    steps = [step for tasks in rounds for task in tasks for step in task.current()]
    names = sorted({name for step in steps for name in step.parts})
    if not names:
        return None

    def per_step(seconds: Iterable[float]) -> float:
        return 1e3 * math.fsum(seconds) / len(steps)

    spent = {n: per_step(step.parts.get(n, 0.0) for step in steps) for n in (*PARTS, *names)}
    plugins = {name: spent[name] for name in names if name not in PARTS}
    spent["plugins"], total = sum(plugins.values()), per_step(step.time.wall for step in steps)
    return {
        "step_ms": total,
        "parts": {n: {"ms": spent[n], "percent": 100 * spent[n] / total} for n in PARTS},
        "plugins_ms": plugins,
        "evaluation_ms": per_step(task.evaluation for tasks in rounds for task in tasks),
        "steps": len(steps) // len(rounds),
    }


def ratio(
    above: Rounds, below: Rounds, chosen: Chosen = lambda task, step: True
) -> dict[str, float]:
    """Cost of the same steps in two systems, ``above`` to ``below``.

    Rounds repeat the same work, so a step's time is its median over rounds, and the ratio is that
    of the sums: what is dear in a few steps counts in full, what disturbed one round does not.

    Returns:
        ``value`` by wall time, ``cpu`` by processor time, ``low`` and ``high`` over single rounds.
    """

    def times(rounds: Rounds) -> np.ndarray:
        """Seconds, of shape (rounds, steps, clocks)."""
        return np.array(
            [
                [s.time for n, task in enumerate(tasks) for s in task.current() if chosen(n, s)]
                for tasks in rounds
            ]
        )

    over, under = times(above), times(below)
    wall, cpu = np.median(over, axis=0).sum(axis=0) / np.median(under, axis=0).sum(axis=0)
    single = over[..., 0].sum(axis=1) / under[..., 0].sum(axis=1)
    found = {"value": wall, "cpu": cpu, "low": single.min(), "high": single.max()}
    return {name: float(number) for name, number in found.items()}


def ratios(runs: Runs, epochs: int) -> list[dict[str, Any]]:
    """Every ratio with an aim, and those that explain them."""
    bare, fine, full = (runs[name] for name in (BARE, FINE_TUNING, MSPT))
    tasks = len(fine[0])
    found = [
        _aimed("fine-tuning / bare loop, a step", ratio(fine, bare), AIMS["bare"]),
        _aimed("MSPT / fine-tuning, a step on current samples", ratio(full, fine), AIMS["mspt"]),
    ]
    if tasks > 1:
        parts: dict[str, Chosen] = {"tasks 2 and later": lambda task, _: task > 0}
        if epochs > 1:
            parts["first epoch, with the teacher's pass"] = lambda t, s: t > 0 and s.epoch == 0
            parts["later epochs"] = lambda task, step: task > 0 and step.epoch > 0
        found += [_aimed(f"   {name}", ratio(full, fine, part)) for name, part in parts.items()]
    if tasks > 2:
        # Tasks differ in length and images, which fine-tuning feels too: divided by it, they drop
        # out. From task 2, as the first has no teacher.
        last = ratio(full, fine, lambda task, _: task == tasks - 1)
        second = ratio(full, fine, lambda task, _: task == 1)
        growth = {key: last[key] / second[key] for key in ("value", "cpu")}
        found.append(_aimed(f"growth of that ratio, task {tasks} / task 2", growth, AIMS["growth"]))
    return found


def flags(runs: Runs) -> list[dict[str, Any]]:
    """What each optimisation brings.

    Returns:
        One record a variant: ``milliseconds_per_sample`` (median over rounds), ``factor`` against
        the shipped setting, by wall and by processor time, ``padded_per_token`` (positions a real
        token) and ``images_per_sample``.
    """
    found = []
    for name, rounds in runs.items():
        factor, steps = ratio(rounds, runs[SHIPPED]), rounds[0][0].steps
        samples = sum(step.samples for step in steps)
        wall = float(np.median([_wall(task.steps) for (task,) in rounds]))
        found.append(
            {
                "name": name,
                "milliseconds_per_sample": 1e3 * wall / samples,
                "factor": factor["value"],
                "factor_cpu": factor["cpu"],
                "padded_per_token": sum(s.positions for s in steps) / sum(s.tokens for s in steps),
                "images_per_sample": sum(step.images for step in steps) / samples,
            }
        )
    return found


def _aimed(name: str, values: dict[str, float], aim: float | None = None) -> dict[str, Any]:
    """A ratio with its aim; met or not is told by the wall clock."""
    met = None if aim is None else values["value"] <= aim
    return {"name": name, **values, "aim": aim, "met": met}


def _wall(steps: Sequence[Step]) -> float:
    return math.fsum(step.time.wall for step in steps)
