"""From measured steps to the numbers of the report, as plain types for JSON."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mkgc_cl.experiments.speed.clock import DISTILLATION, TEACHER, Step, TaskRun
from mkgc_cl.experiments.speed.rounds import Peak, Rounds
from mkgc_cl.experiments.speed.systems import BARE, FINE_TUNING, MSPT

PARTS = ("data", "forward", "backward", "optimizer", "plugins")
AIMS = {"bare": 1.05, "mspt": 1.5, "growth": 1.05}
"""Largest ratios that are aimed at."""
PLUGINS = {
    "GradientModulationPlugin": "modulation",
    DISTILLATION: "distillation, its teacher's pass apart",
    "PrototypeReplayPlugin": "replay",
    "EvaluationPlugin": "Avalanche's metrics and logging",
    "PeriodicEval": "Avalanche's periodic evaluation",
    "Clock": "Avalanche's clock",
}

Runs = Sequence[Sequence[TaskRun]]
Chosen = Callable[[int, Step], bool]


def split(runs: Runs) -> dict[str, Any]:
    """Where the time of a step on current samples goes: mean over all rounds.

    Returns:
        ``step_ms`` and for every part of :data:`PARTS` its ``ms`` and ``percent``; ``plugins`` the
        milliseconds of each plugin (the teacher's pass apart); ``evaluation_ms``, all evaluations
        of the stream over all current steps, which is no part of the step.
    """
    steps = [step for tasks in runs for task in tasks for step in task.current()]
    plugins: dict[str, float] = {}
    parts = dict.fromkeys(PARTS, 0.0)
    for step in steps:
        for name, seconds in step.parts.items():
            if name in parts:
                parts[name] += seconds
            else:
                parts["plugins"] += seconds
                plugins[name] = plugins.get(name, 0.0) + seconds
    total = sum(step.time.wall for step in steps)
    evaluation = sum(task.evaluation.wall for tasks in runs for task in tasks)
    scale = 1e3 / len(steps)
    return {
        "step_ms": total * scale,
        "parts": {
            name: {"ms": seconds * scale, "percent": 100 * seconds / total}
            for name, seconds in parts.items()
        },
        "plugins_ms": {name: s * scale for name, s in sorted(plugins.items())},
        "evaluation_ms": evaluation * scale,
        "steps": len(steps) // len(runs),
    }


def whole(runs: Runs) -> dict[str, float]:
    """Seconds of the whole stream by what they were spent on: mean over rounds."""
    current = _mean(sum(s.time.wall for t in tasks for s in t.current()) for tasks in runs)
    memory = _mean(sum(s.time.wall for t in tasks for s in t.replayed()) for tasks in runs)
    training = _mean(sum(task.training.wall for task in tasks) for tasks in runs)
    return {
        "current_steps": current,
        "memory_steps": memory,
        "between": max(0.0, training - current - memory),
        "evaluation": _mean(sum(task.evaluation.wall for task in tasks) for tasks in runs),
    }


def throughput(runs: Runs) -> dict[str, float]:
    """Current samples per second: in its steps alone, and with all that training takes."""
    steps, everything = [], []
    for tasks in runs:
        current = [step for task in tasks for step in task.current()]
        samples = sum(step.shape.current for step in current)
        steps.append(samples / sum(step.time.wall for step in current))
        everything.append(samples / sum(task.training.wall for task in tasks))
    return {"steps": statistics.median(steps), "training": statistics.median(everything)}


def by_task(runs: Runs) -> list[dict[str, Any]]:
    """What each task cost: medians over rounds, counts as they are.

    Memory samples beside current ones are counted, their time is that of the step they are in.
    """
    found = []
    for index in range(len(runs[0])):
        tasks = [one[index] for one in runs]
        current = tasks[0].current()
        samples = sum(step.shape.current for step in current)
        found.append(
            {
                "task": index + 1,
                "samples": samples,
                "tokens_per_sample": sum(step.shape.tokens for step in current)
                / sum(step.shape.samples for step in current),
                "seconds_per_sample": _median(_wall(task.current()) / samples for task in tasks),
                "teacher_samples": sum(s.samples for step in current for s in step.taught),
                "teacher_seconds": _median(
                    sum(step.parts.get(TEACHER, 0.0) for step in task.steps) for task in tasks
                ),
                "memory_samples": sum(step.shape.replayed for step in tasks[0].steps),
                "memory_seconds": _median(_wall(task.replayed()) for task in tasks),
                "between_seconds": _median(
                    max(0.0, task.training.wall - _wall(task.steps)) for task in tasks
                ),
                "evaluated": tasks[0].evaluated,
                "evaluation_seconds": _median(task.evaluation.wall for task in tasks),
            }
        )
    return found


def arithmetic(operations: float, speed: float, product: float) -> dict[str, float]:
    """Operations a sample, achieved FLOP/s of all training, and its share of a matrix product's."""
    achieved = operations * speed
    return {
        "giga_per_sample": operations / 1e9,
        "training": achieved,
        "percent_of_product": 100 * achieved / product,
    }


def ratio(above: Runs, below: Runs, chosen: Chosen = lambda task, step: True) -> dict[str, float]:
    """Cost of the same steps in two systems, ``above`` to ``below``.

    Rounds repeat the same work, so a step's time is its median over rounds, and the ratio is that
    of the sums: what is dear in a few steps counts in full, what disturbed one round does not.

    Returns:
        ``value`` by wall time, ``cpu`` by processor time, ``low`` and ``high`` over single rounds.
    """

    def times(runs: Runs, clock: str) -> list[list[float]]:
        return [
            [
                getattr(step.time, clock)
                for index, task in enumerate(tasks)
                for step in task.current()
                if chosen(index, step)
            ]
            for tasks in runs
        ]

    def robust(runs: Runs, clock: str) -> float:
        columns: Iterable[tuple[float, ...]] = zip(*times(runs, clock), strict=True)
        return sum(map(statistics.median, columns))

    pairs = zip(times(above, "wall"), times(below, "wall"), strict=True)
    single = [sum(one) / sum(other) for one, other in pairs]
    return {
        "value": robust(above, "wall") / robust(below, "wall"),
        "cpu": robust(above, "cpu") / robust(below, "cpu"),
        "low": min(single),
        "high": max(single),
    }


def ratios(rounds: Rounds, epochs: int) -> list[dict[str, Any]]:
    """Every ratio with an aim, and those that explain them."""
    bare, fine, full = (rounds.runs[name] for name in (BARE, FINE_TUNING, MSPT))
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


def summarise(rounds: Rounds, peaks: dict[str, Peak]) -> dict[str, Any]:
    """All that is known of each system, by name."""
    product = statistics.median(rounds.products)
    found = {}
    for name, runs in rounds.runs.items():
        peak, speed = peaks.get(name), throughput(runs)
        found[name] = {
            "samples_per_second": speed,
            "split": split(runs) if name != BARE else None,
            "seconds": whole(runs),
            "tasks": by_task(runs),
            "flops": arithmetic(rounds.operations[name], speed["training"], product),
            "memory_mb": None if peak is None else {"before": peak.before, "peak": peak.peak},
        }
    return found


def plugin_label(name: str) -> str:
    """Name of a plugin as the report has it."""
    return PLUGINS.get(name, name)


def _aimed(name: str, values: dict[str, float], aim: float | None = None) -> dict[str, Any]:
    """A ratio with its aim; met or not is told by the wall clock."""
    met = None if aim is None else values["value"] <= aim
    return {"name": name, **values, "aim": aim, "met": met}


def _wall(steps: Sequence[Step]) -> float:
    return sum(step.time.wall for step in steps)


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)
