"""What each optimisation brings: the bare loop with one of them off, in paired rounds."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from typing import Any

from mkgc_cl.experiments.checks import Tell
from mkgc_cl.experiments.speed.systems import BareLoop, Bench, System

AS_SHIPPED = "as shipped"


def flag_table(bench: Bench, *, rounds: int, tell: Tell) -> list[dict[str, Any]]:
    """Train one epoch of the first task with every optimisation off in turn.

    Returns:
        One record a variant: ``milliseconds_per_sample`` (median over rounds), ``factor`` against
        the shipped setting (median of the rounds' ratios, by wall and by processor time),
        ``padded_per_token`` (positions a real token) and ``images_per_sample``.
    """
    settings = bench.settings
    once = dataclasses.replace(
        bench,
        settings=dataclasses.replace(
            settings, training=dataclasses.replace(settings.training, epochs=1)
        ),
    )
    variants: dict[str, Callable[[], System]] = {
        AS_SHIPPED: lambda: BareLoop(once),
        "no length buckets": lambda: BareLoop(once, buckets=False),
        "an image encoded for every sample": lambda: BareLoop(once, shared_images=False),
        "AdamW foreach, not fused": lambda: BareLoop(once, fused=False),
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in variants}
    names = list(variants)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            tell(f"flags, round {number + 1} of {rounds}: {name}")
            found[name].append(_numbers(variants[name]()))
    return [_record(name, found[name], found[AS_SHIPPED]) for name in variants]


def _numbers(system: System) -> dict[str, float]:
    steps = system.run_task(0).steps
    shapes = [step.shape for step in steps]
    samples = sum(shape.samples for shape in shapes)
    return {
        "wall": sum(step.time.wall for step in steps) / samples,
        "cpu": sum(step.time.cpu for step in steps) / samples,
        "padding": sum(s.samples * s.length for s in shapes) / sum(s.tokens for s in shapes),
        "images": sum(shape.images for shape in shapes) / samples,
    }


def _record(
    name: str, rounds: list[dict[str, float]], shipped: list[dict[str, float]]
) -> dict[str, Any]:
    def factor(clock: str) -> float:
        pairs = zip(rounds, shipped, strict=True)
        return statistics.median(own[clock] / base[clock] for own, base in pairs)

    return {
        "name": name,
        "milliseconds_per_sample": 1e3 * statistics.median(own["wall"] for own in rounds),
        "factor": factor("wall"),
        "factor_cpu": factor("cpu"),
        "padded_per_token": rounds[0]["padding"],
        "images_per_sample": rounds[0]["images"],
    }
