"""The report as text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from mkgc_cl.experiments.speed.clock import DISTILLATION
from mkgc_cl.experiments.speed.rounds import SIDE
from mkgc_cl.experiments.speed.summary import PARTS
from mkgc_cl.results.counted import counted

Report = Mapping[str, Any]
REPLAY = {
    "after": "MSPT replays in a phase of its own after each task",
    "mixed": "MSPT replays beside current samples: steps on current samples carry the memory's",
    "alternate": "MSPT replays between the steps on current samples",
}
PLUGINS = {
    "GradientModulationPlugin": "modulation",
    DISTILLATION: "distillation, its teacher's pass apart",
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


def text_of(report: Report) -> str:
    """Write the report as tables."""
    sections = (_head, _speed, _split, _whole, _arithmetic, _ratios, _flags)
    return "\n".join(line for section in sections for line in (*section(report), "")) + "\n"


def _row(name: str, *entries: object) -> str:
    """One line; floats with two decimals, nothing for ``None``."""
    texts = [f"{e:.2f}" if isinstance(e, float) else "" if e is None else str(e) for e in entries]
    return (f"{name:<46}" + "".join(f"{text:>12}" for text in texts)).rstrip()


def _top(*heads: str) -> list[str]:
    return [_row(*heads), "-" * (46 + 12 * (len(heads) - 1))]


def _head(report: Report) -> Iterator[str]:
    setting, machine = report["setting"], report["machine"]
    yield (
        f"{setting['scenario']}, {setting['tasks']} tasks of at most {setting['samples']} samples, "
        f"{counted(setting['epochs'], 'epoch')}, batch {setting['batch_size']}, "
        f"encoders {setting['text']} + {setting['vision']}, images {setting['images']}"
    )
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


def _speed(report: Report) -> Iterator[str]:
    yield from _top("samples/s and memory", "in steps", "all train", "peak MB", "before MB")
    for name, system in report["systems"].items():
        speeds = [f"{speed:.1f}" for speed in system["samples_per_second"].values()]
        memory = [system["memory_mb"][when] for when in ("peak", "before")]
        yield _row(name, *speeds, *("?" if mb is None else f"{mb:.0f}" for mb in memory))


def _split(report: Report) -> Iterator[str]:
    splits = {n: s["split"] for n, s in report["systems"].items() if s["split"] is not None}
    heads = [word for name in splits for word in (name[:11], "%")]
    yield from _top("a step on current samples, ms and per cent", *heads)

    def line(name: str, times: list[float | None], *, shares: bool = True) -> str:
        wholes = [found["step_ms"] for found in splits.values()]
        pairs = zip(times, wholes, strict=True)
        return _row(
            name,
            *(
                entry
                for ms, whole in pairs
                for entry in (ms, f"{100 * ms / whole:.1f}" if shares and ms is not None else "")
            ),
        )

    for part in PARTS:
        yield line(part, [found["parts"][part]["ms"] for found in splits.values()])
    for name in sorted({name for found in splits.values() for name in found["plugins_ms"]}):
        times = [found["plugins_ms"].get(name) for found in splits.values()]
        yield line(f"   {PLUGINS.get(name, name)}", times, shares=False)
    yield line("= step", [found["step_ms"] for found in splits.values()])
    times = [found["evaluation_ms"] for found in splits.values()]
    yield line("evaluation, all of it by training steps", times)


def _whole(report: Report) -> Iterator[str]:
    systems = report["systems"]
    yield from _top("the whole stream, seconds", *systems)
    for key, words in SECONDS.items():
        yield _row(words, *(system["seconds"][key] for system in systems.values()))


def _arithmetic(report: Report) -> Iterator[str]:
    yield from _top("arithmetic, GFLOP and GFLOP/s", "a sample", "all train", "% product")
    for name, system in report["systems"].items():
        flops = system["flops"]
        rates = (f"{flops['training'] / 1e9:.1f}", f"{flops['percent_of_product']:.1f}")
        yield _row(name, f"{flops['giga_per_sample']:.3f}", *rates)
    product = report["machine"]["matrix_product_flops"]
    yield f"matrix product {SIDE}^3 float32: {product / 1e9:.1f} GFLOP/s"
    yield from textwrap.wrap(OPERATIONS, 100)


def _ratios(report: Report) -> Iterator[str]:
    yield from _top("ratios", "wall", "rounds", "cpu time", "aim", "")
    for found in report["ratios"]:
        spread = f"{found['low']:.2f}-{found['high']:.2f}" if "low" in found else ""
        aim = "" if found["aim"] is None else str(found["aim"])
        wall, cpu = f"{found['value']:.3f}", f"{found['cpu']:.3f}"
        yield _row(found["name"], wall, spread, cpu, aim, VERDICT[found["met"]])
    same = SAME[report["same_weights"]]
    yield f"bare loop and fine-tuning end with the same weights: {same}"


def _flags(report: Report) -> Iterator[str]:
    heads = ("ms/sample", "x wall", "x cpu", "pad", "images")
    yield from _top("bare loop, task 1, one thing off", *heads)
    for found in report["flags"]:
        numbers = [value for key, value in found.items() if key != "name"]
        yield _row(found["name"], *numbers)
