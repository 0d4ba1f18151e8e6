"""The report as text."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from mkgc_cl.experiments.speed.flops import COUNTED, SIDE
from mkgc_cl.experiments.speed.summary import PARTS, plugin_label
from mkgc_cl.results.counted import counted

REPLAY = {
    "after": "MSPT replays in a phase of its own after each task",
    "mixed": "MSPT replays beside current samples: steps on current samples carry the memory's",
    "alternate": "MSPT replays between the steps on current samples",
}
WIDTH = 46
"""Columns of a row's name."""


def text_of(report: Mapping[str, Any]) -> str:
    """Write the report as tables."""
    sections = (_head, _speed, _split, _whole, _tasks, _arithmetic, _ratios, _flags)
    return "\n".join(line for section in sections for line in (*section(report), "")) + "\n"


def _head(report: Mapping[str, Any]) -> list[str]:
    setting, machine = report["setting"], report["machine"]
    lines = [
        f"{setting['scenario']}, {setting['tasks']} tasks of at most {setting['samples']} samples, "
        f"{counted(setting['epochs'], 'epoch')}, batch {setting['batch_size']}, "
        f"encoders {setting['text']} + {setting['vision']}, images {setting['images']}",
        REPLAY[setting["replay_schedule"]],
        f"{counted(setting['rounds'], 'paired round')} on {machine['device']} "
        f"({machine['processor']}), {counted(machine['threads'], 'thread')}, "
        f"torch {machine['torch']}",
    ]
    before, after = machine["load"]
    if max(before, after) > machine["threads"] + 0.5:
        lines.append(
            f"BUSY MACHINE: load {before:.1f} before, {after:.1f} after, {machine['cpus']} "
            "processors; wall times are stretched, compare ratios, and those by processor time"
        )
    return lines


def _speed(report: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, system in report["systems"].items():
        speed, memory = system["samples_per_second"], system["memory_mb"]
        peak = "" if memory is None else _number(memory["peak"], "10.0f")
        base = "" if memory is None else _number(memory["before"], "10.0f")
        rows.append([name, f"{speed['steps']:10.1f}", f"{speed['training']:10.1f}", peak, base])
    heads = ["samples/s and memory", "in steps", "all train", "peak MB", "before MB"]
    return _table(heads, rows)


def _split(report: Mapping[str, Any]) -> list[str]:
    splits = {n: s["split"] for n, s in report["systems"].items() if s["split"] is not None}
    rows = []
    for part in PARTS:
        row = [part]
        for found in splits.values():
            row += [f"{found['parts'][part]['ms']:9.2f}", f"{found['parts'][part]['percent']:5.1f}"]
        rows.append(row)
    for name in sorted({name for found in splits.values() for name in found["plugins_ms"]}):
        row = [f"   {plugin_label(name)}"]
        for found in splits.values():
            own = found["plugins_ms"].get(name)
            row += ["" if own is None else f"{own:9.2f}", ""]
        rows.append(row)
    rows.append(["= step"])
    rows.append(["evaluation, all of it by training steps"])
    for found in splits.values():
        rows[-2] += [f"{found['step_ms']:9.2f}", "100.0"]
        share = 100 * found["evaluation_ms"] / found["step_ms"]
        rows[-1] += [f"{found['evaluation_ms']:9.2f}", f"{share:5.1f}"]
    heads = ["a step on current samples, ms and per cent"]
    for name in splits:
        heads += [name[:11], "%"]
    return _table(heads, rows)


def _whole(report: Mapping[str, Any]) -> list[str]:
    words = {
        "current_steps": "steps on current samples",
        "memory_steps": "steps on the memory alone",
        "between": "between (binding, teacher copy, exemplars)",
        "evaluation": "evaluation after every task",
    }
    systems = report["systems"]
    rows = [
        [words[key], *(f"{system['seconds'][key]:10.2f}" for system in systems.values())]
        for key in words
    ]
    return _table(["the whole stream, seconds", *systems], rows)


def _tasks(report: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for name, system in report["systems"].items():
        if system["split"] is None:
            continue
        first = system["tasks"][0]["seconds_per_sample"]
        rows = []
        for task in system["tasks"]:
            rows.append(
                [
                    str(task["task"]),
                    f"{task['samples']}",
                    f"{task['tokens_per_sample']:.1f}",
                    f"{1e3 * task['seconds_per_sample']:.2f}",
                    f"{task['seconds_per_sample'] / first:.2f}",
                    f"{task['teacher_samples']}/{task['teacher_seconds']:.2f}",
                    f"{task['memory_samples']}/{task['memory_seconds']:.2f}",
                    f"{task['between_seconds']:.2f}",
                    f"{task['evaluated']}/{task['evaluation_seconds']:.2f}",
                ]
            )
        heads = [f"{name}, task", "samples", "tokens", "ms/sample", "/task 1"]
        heads += ["teacher n/s", "memory n/s", "between s", "eval n/s"]
        lines += [*_table(heads, rows, first=20), ""]
    return lines[:-1]


def _arithmetic(report: Mapping[str, Any]) -> list[str]:
    product = report["machine"]["matrix_product_flops"]
    rows = []
    for name, system in report["systems"].items():
        flops = system["flops"]
        rows.append(
            [
                name,
                f"{flops['giga_per_sample']:.3f}",
                f"{flops['training'] / 1e9:.1f}",
                f"{flops['percent_of_product']:.1f}",
            ]
        )
    heads = ["arithmetic, GFLOP and GFLOP/s", "a sample", "all train", "% product"]
    note = f"matrix product {SIDE}^3 float32: {product / 1e9:.1f} GFLOP/s"
    return [*_table(heads, rows), note, *textwrap.wrap(COUNTED, 100)]


def _ratios(report: Mapping[str, Any]) -> list[str]:
    rows = []
    for found in report["ratios"]:
        aim = found["aim"]
        verdict = {True: "met", False: "MISSED", None: ""}[found["met"]]
        spread = f"{found['low']:.2f}-{found['high']:.2f}" if "low" in found else ""
        wall, cpu = f"{found['value']:.3f}", f"{found['cpu']:.3f}"
        rows.append([found["name"], wall, spread, cpu, "" if aim is None else f"{aim}", verdict])
    same = {True: "yes, bit for bit", False: "NO", None: "not compared"}[report["same_weights"]]
    heads = ["ratios", "wall", "rounds", "cpu time", "aim", ""]
    return [*_table(heads, rows), f"bare loop and fine-tuning end with the same weights: {same}"]


def _flags(report: Mapping[str, Any]) -> list[str]:
    rows = [
        [
            found["name"],
            f"{found['milliseconds_per_sample']:.2f}",
            f"{found['factor']:.2f}",
            f"{found['factor_cpu']:.2f}",
            f"{found['padded_per_token']:.2f}",
            f"{found['images_per_sample']:.2f}",
        ]
        for found in report["flags"]
    ]
    heads = ["bare loop, task 1, one thing off", "ms/sample", "x wall", "x cpu", "pad", "images"]
    return _table(heads, rows) if rows else []


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], first: int = WIDTH) -> list[str]:
    def line(runs: Sequence[str]) -> str:
        return (f"{runs[0]:<{first}}" + "".join(f"{run.strip():>12}" for run in runs[1:])).rstrip()

    return [line(heads), "-" * (first + 12 * (len(heads) - 1)), *(line(row) for row in rows)]


def _number(value: float | None, form: str) -> str:
    return "?" if value is None else format(value, form)
