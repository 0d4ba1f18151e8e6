"""The report on MSPT as text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mkgc_cl.data.samples import TaskStream
from mkgc_cl.experiments.pipeline.settings import Settings
from mkgc_cl.experiments.speed.rounds import SIDE
from mkgc_cl.experiments.speed.summary import PARTS
from mkgc_cl.experiments.speed.tables import aligned
from mkgc_cl.results.counted import counted

Report = Mapping[str, Any]
REPLAY = {
    "after": "MSPT replays in a phase of its own after each task",
    "mixed": "MSPT replays beside current samples: steps on current samples carry the memory's",
    "alternate": "MSPT replays between the steps on current samples",
}
PLUGINS = {
    "GradientModulationPlugin": "modulation",
    "AttentionDistillationPlugin": "distillation, its teacher's pass apart",
    "PrototypeReplayPlugin": "replay",
    "EvaluationPlugin": "Avalanche's metrics and logging",
    "PeriodicEval": "Avalanche's periodic evaluation",
    "Clock": "Avalanche's clock",
}
SECONDS = {
    "current_steps": "steps on current samples",
    "memory_steps": "steps on the memory alone",
    "between": "between (binding, teacher copy, exemplars)",
    "evaluation": "evaluation after every task",
}
OPERATIONS = (
    "operations: matrix products and convolutions of all training of the first two tasks, forward "
    "and backward, with padding, teacher and memory, by current samples (torch's FlopCounterMode)"
)
VERDICT = {True: "met", False: "MISSED", None: ""}
SAME = {True: "yes, bit for bit", False: "NO"}


def setting_of(settings: Settings, stream: TaskStream, samples: int) -> dict[str, Any]:
    """What is trained on, and with what."""
    return {
        "scenario": settings.scenario,
        "order": settings.order,
        "tasks": len(stream.tasks),
        "samples": samples,
        "epochs": settings.training.epochs,
        "batch_size": settings.training.batch_size,
        "text": settings.encoders.text,
        "vision": settings.encoders.vision,
    }


def title(setting: Report) -> str:
    """The same in words."""
    return (
        f"{setting['scenario']}, {setting['tasks']} tasks of at most {setting['samples']} samples, "
        f"{counted(setting['epochs'], 'epoch')}, batch {setting['batch_size']}, "
        f"encoders {setting['text']} + {setting['vision']}"
    )


def text_of(report: Report) -> str:
    """Write the report on MSPT as tables."""
    sections = (_head, _speed, _split, _whole, _arithmetic, _ratios, _flags)
    return "\n".join(line for section in sections for line in (*section(report), "")) + "\n"


def _head(report: Report) -> Iterator[str]:
    setting, machine = report["setting"], report["machine"]
    yield f"{title(setting)}, images {setting['images']}"
    yield REPLAY[setting["replay_schedule"]]
    yield (
        f"{counted(setting['rounds'], 'paired round')} on {machine['device']} "
        f"({machine['processor']}), {counted(machine['threads'], 'thread')}, "
        f"torch {machine['torch']}"
    )
    before, after = machine["load"]
    if max(before, after) > machine["threads"] + 0.5:
        yield (
            f"BUSY MACHINE: load {before:.1f} before, {after:.1f} after, {machine['cpus']} "
            "processors; wall times are stretched, compare ratios, and those by processor time"
        )


def _speed(report: Report) -> list[str]:
    rows = []
    for name, system in report["systems"].items():
        speeds = [f"{speed:.1f}" for speed in system["samples_per_second"].values()]
        memory = [system["memory_mb"][when] for when in ("peak", "before")]
        rows.append([name, *speeds, *("?" if mb is None else f"{mb:.0f}" for mb in memory)])
    return aligned(("samples/s and memory", "in steps", "all train", "peak MB", "before MB"), rows)


def _split(report: Report) -> list[str]:
    splits = {n: s["split"] for n, s in report["systems"].items() if s["split"] is not None}
    heads = [word for name in splits for word in (name, "%")]
    rows: list[list[object]] = []

    def add(words: str, times: Iterable[float]) -> None:
        pairs = zip(times, splits.values(), strict=True)
        rows.append([words])
        rows[-1] += [n for ms, own in pairs for n in (ms, f"{100 * ms / own['step_ms']:.1f}")]

    for part in PARTS:
        add(part, (own["parts"][part]["ms"] for own in splits.values()))
    for name in sorted({name for own in splits.values() for name in own["plugins_ms"]}):
        times = (own["plugins_ms"].get(name) for own in splits.values())
        rows.append([f"   {PLUGINS.get(name, name)}", *(n for ms in times for n in (ms, ""))])
    add("= step", (own["step_ms"] for own in splits.values()))
    add(
        "evaluation, all of it by training steps",
        (own["evaluation_ms"] for own in splits.values()),
    )
    return aligned(("a step on current samples, ms and per cent", *heads), rows)


def _whole(report: Report) -> list[str]:
    seconds = {name: system["seconds"] for name, system in report["systems"].items()}
    rows = [[words, *(own[key] for own in seconds.values())] for key, words in SECONDS.items()]
    return aligned(("the whole stream, seconds", *seconds), rows)


def _arithmetic(report: Report) -> list[str]:
    rows = [
        [
            name,
            f"{system['flops']['giga_per_sample']:.3f}",
            f"{system['flops']['training'] / 1e9:.1f}",
            f"{system['flops']['percent_of_product']:.1f}",
        ]
        for name, system in report["systems"].items()
    ]
    product = report["machine"]["matrix_product_flops"] / 1e9
    return [
        *aligned(("arithmetic, GFLOP and GFLOP/s", "a sample", "all train", "% product"), rows),
        f"matrix product {SIDE}^3 float32: {product:.1f} GFLOP/s",
        *textwrap.wrap(OPERATIONS, 100),
    ]


def _ratios(report: Report) -> list[str]:
    rows = []
    for found in report["ratios"]:
        spread = f"{found['low']:.2f}-{found['high']:.2f}" if "low" in found else ""
        aim = "" if found["aim"] is None else str(found["aim"])
        wall, cpu = f"{found['value']:.3f}", f"{found['cpu']:.3f}"
        rows.append([found["name"], wall, spread, cpu, aim, VERDICT[found["met"]]])
    same = SAME[report["same_weights"]]
    return [
        *aligned(("ratios", "wall", "rounds", "cpu time", "aim", ""), rows),
        f"bare loop and fine-tuning end with the same weights: {same}",
    ]


def _flags(report: Report) -> list[str]:
    heads = ("bare loop, task 1, one thing off", "ms/sample", "x wall", "x cpu", "pad", "images")
    return aligned(heads, ([*found.values()] for found in report["flags"]))
