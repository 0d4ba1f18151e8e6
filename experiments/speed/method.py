"""The cost of MSPT and of its parts over plain fine-tuning and a bare loop, in paired rounds."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import torch

from mkgc_cl.data.samples import TaskStream
from mkgc_cl.experiments.pipeline.checks import device_of
from mkgc_cl.experiments.pipeline.console import Tell
from mkgc_cl.experiments.pipeline.plan import Row
from mkgc_cl.experiments.pipeline.runner import build_row
from mkgc_cl.experiments.pipeline.settings import Settings
from mkgc_cl.experiments.speed import rounds as paired
from mkgc_cl.experiments.speed.summary import flags, ratios, summarise
from mkgc_cl.experiments.speed.systems import BARE, FINE_TUNING, MSPT, Bench, System, systems
from mkgc_cl.experiments.speed.text import setting_of, text_of
from mkgc_cl.runs.provenance import environment
from mkgc_cl.scenarios import make_benchmark


def measure_method(
    settings: Settings, stream: TaskStream, samples: int, rounds: int, *, tell: Tell
) -> tuple[dict[str, Any], str]:
    """Measure the bare loop, fine-tuning and MSPT; return the report, plain types, and its text.

    ``samples`` is the most of a task and split that ``stream`` has.
    """
    load = [psutil.getloadavg()[0]]
    device = torch.device(device_of(settings.device))
    options = (settings.options or {}).get(MSPT, {})
    model = build_row(Row(MSPT), options, stream.labels, settings, "cpu").network
    bench = Bench(settings, make_benchmark(stream), model, device)
    memory = paired.peaks(bench, tell=tell)
    makers, products, same = systems(bench), [paired.matrix_product(device)], []

    def done(made: Mapping[str, System]) -> None:
        same.append(paired.same_weights(made[BARE], made[FINE_TUNING]))
        products.append(paired.matrix_product(device))

    runs = paired.take_turns(makers, tasks=bench.tasks, rounds=rounds, tell=tell, done=done)
    product, found = statistics.median(products), {}
    for name, make in makers.items():
        tell(f"operations: {name}")
        few = min(paired.FEW_TASKS, bench.tasks)
        operations = paired.operations_per_sample(make(), few)
        found[name] = summarise(runs[name], operations=operations, product=product)
        found[name]["memory_mb"] = memory[name]
    off = flags(paired.optimisations_off(bench, rounds=rounds, tell=tell))
    load.append(psutil.getloadavg()[0])
    report = {
        "setting": {
            **setting_of(settings, stream, samples),
            "replay_schedule": options.get("replay_schedule", "after"),
            "memory_epochs": options.get("memory_epochs"),
            "images": image_words(stream),
            "rounds": rounds,
        },
        "machine": {
            "device": str(device),
            "processor": processor(),
            "cpus": psutil.cpu_count(),
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


def image_words(stream: TaskStream) -> str:
    """How many images there are: blank ones cost next to nothing, as they are all the same."""
    keys = [sample.visual.key for task in stream.tasks for sample in task.train]
    return f"{len(set(keys))} different on {len(keys)} samples"


def processor() -> str:
    """Name of the processor, as well as the system tells it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
