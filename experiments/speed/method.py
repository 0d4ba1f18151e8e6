"""The cost of MSPT and of its parts over plain fine-tuning and a bare loop, in paired rounds."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mkgc_cl.data.samples import TaskStream
from mkgc_cl.experiments.checks import device_of
from mkgc_cl.experiments.console import Tell
from mkgc_cl.experiments.plan import Row
from mkgc_cl.experiments.runner import build_row
from mkgc_cl.experiments.settings import Settings
from mkgc_cl.experiments.speed.rounds import (
    FEW_TASKS,
    matrix_product,
    operations_per_sample,
    optimisations_off,
    peaks,
    same_weights,
    take_turns,
)
from mkgc_cl.experiments.speed.summary import flags, ratios, summarise
from mkgc_cl.experiments.speed.systems import BARE, FINE_TUNING, MSPT, Bench, System, systems
from mkgc_cl.experiments.speed.text import text_of
from mkgc_cl.runs.provenance import environment
from mkgc_cl.scenarios import make_benchmark


def measure_method(
    settings: Settings, stream: TaskStream, samples: int, rounds: int, *, tell: Tell
) -> tuple[dict[str, Any], str]:
    """Measure the bare loop, fine-tuning and MSPT; return the report, plain types, and its text.

    Args:
        settings: of the ablation.
        stream: the part of the stream to measure on.
        samples: most samples of a task and split, for the report.
        rounds: paired rounds.
        tell: told of every turn.
    """
    load = [_load()]
    device = torch.device(device_of(settings.device))
    options = (settings.options or {}).get(MSPT, {})
    model = build_row(Row(MSPT), options, stream.labels, settings, "cpu").network
    bench = Bench(settings, make_benchmark(stream), model, device)
    memory = peaks(bench, systems, tell=tell)
    makers, products, same = systems(bench), [matrix_product(device)], []

    def done(made: Mapping[str, System]) -> None:
        same.append(same_weights(made[BARE], made[FINE_TUNING]))
        products.append(matrix_product(device))

    runs = take_turns(makers, tasks=bench.tasks, rounds=rounds, tell=tell, done=done)
    product, found = statistics.median(products), {}
    for name, make in makers.items():
        tell(f"operations: {name}")
        operations = operations_per_sample(make(), min(FEW_TASKS, bench.tasks))
        found[name] = summarise(runs[name], operations=operations, product=product)
        found[name]["memory_mb"] = memory[name]
    off = flags(optimisations_off(bench, rounds=rounds, tell=tell))
    load.append(_load())
    report = {
        "setting": {
            "scenario": settings.scenario,
            "order": settings.order,
            "tasks": len(stream.tasks),
            "samples": samples,
            "epochs": settings.training.epochs,
            "replay_schedule": options.get("replay_schedule", "after"),
            "memory_epochs": options.get("memory_epochs"),
            "batch_size": settings.training.batch_size,
            "text": settings.encoders.text,
            "vision": settings.encoders.vision,
            "images": image_words(stream),
            "rounds": rounds,
        },
        "machine": {
            "device": str(device),
            "processor": processor(),
            "cpus": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "load": load,
            "matrix_product_flops": product,
        },
        "systems": found,
        "ratios": ratios(runs, settings.training.epochs),
        "same_weights": all(same),
        "flags": off,
        "provenance": environment() | {"stream": stream.provenance},
    }
    return report, text_of(report)


def _load() -> float:
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def image_words(stream: TaskStream) -> str:
    """How many images there are: blank ones cost next to nothing, as they are all the same."""
    keys = [sample.visual.key for task in stream.tasks for sample in task.train]
    return f"{len(set(keys))} different on {len(keys)} samples"


def processor() -> str:
    """Name of the processor, as well as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
