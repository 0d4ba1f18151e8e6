"""What every system of the tables costs: one line each, and its growth with the number of tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from mkgc_cl.data.samples import Sample, TaskStream
from mkgc_cl.experiments.checks import Trial, check_builds, device_of
from mkgc_cl.experiments.console import Tell
from mkgc_cl.experiments.plan import Row, options_of
from mkgc_cl.experiments.runner import build_row
from mkgc_cl.experiments.settings import Settings
from mkgc_cl.experiments.speed.rounds import give_back, peak
from mkgc_cl.experiments.speed.systems import Measured
from mkgc_cl.results.counted import counted
from mkgc_cl.runs.provenance import environment
from mkgc_cl.scenarios import make_benchmark
from mkgc_cl.strategies.template import MultimodalStrategy


def measure_systems(
    settings: Settings, rows: Mapping[str, Row], stream: TaskStream, samples: int, *, tell: Tell
) -> tuple[dict[str, Any], str]:
    """Measure every system (:func:`system_costs`); return the report, plain types, and its text."""
    costs = system_costs(settings, rows, stream, tell=tell)
    title = (
        f"{settings.scenario}, {len(stream.tasks)} tasks of at most {samples} samples, "
        f"{counted(settings.training.epochs, 'epoch')}, batch {settings.training.batch_size}, "
        f"encoders {settings.encoders.text} + {settings.encoders.vision}, "
        f"{counted(torch.get_num_threads(), 'thread')}"
    )
    report = {"title": title, "systems": costs, "provenance": environment()}
    return report, text_of_costs(costs, title=title)


def system_costs(
    settings: Settings, rows: Mapping[str, Row], stream: TaskStream, *, tell: Tell
) -> list[dict[str, Any]]:
    """Run every system of the settings over the stream once, alone, one after the other.

    All are built before the first is measured, so that a mistake in the last costs nothing.

    Returns:
        Per system: ``samples_per_second`` on current samples, ``seconds`` of training per task,
        ``step_ms`` on current samples per task, ``peak_mb`` and ``before_mb``, ``exemplars``,
        ``exemplar_mb``, what the model reads of them, and ``state_mb``, the tensors that its
        plugins and a readout (prototypes) keep between tasks. What takes no steps has ``None`` for
        their speed and time.

    Raises:
        ConfigError: naming every mistake of every system, and a device that does not work.
    """
    builds = {
        name: partial(build_row, rows[name], options_of(settings, name, rows[name]), stream.labels)
        for name in settings.systems
    }
    check_builds([Trial(name, settings, build) for name, build in builds.items()], tell)
    benchmark = make_benchmark(stream)
    device = torch.device(device_of(settings.device))
    found = []
    for name, build in builds.items():
        tell(f"cost of {name}")
        before = give_back(device)
        strategy = build(settings, str(device))
        plugins = list(strategy.plugins)
        measured = Measured(benchmark, strategy)
        runs = [measured.run_task(task) for task in range(len(stream.tasks))]
        current = [run.current() for run in runs]
        exemplars = [s for p in plugins if hasattr(p, "exemplars") for s in p.exemplars()]
        samples = sum(step.current for steps in current for step in steps)
        wall = sum(step.time.wall for steps in current for step in steps)
        found.append(
            {
                "system": name,
                "samples_per_second": samples / wall if wall else None,
                "seconds": [run.training.wall for run in runs],
                "step_ms": [
                    1000 * sum(step.time.wall for step in steps) / len(steps) if steps else None
                    for steps in current
                ],
                "before_mb": before,
                "peak_mb": peak(device),
                "exemplars": len(exemplars),
                "exemplar_mb": bytes_read(strategy, exemplars) / 1e6,
                "state_mb": sum(map(kept_bytes, (*plugins, strategy.network.readout))) / 1e6,
            }
        )
        del strategy, measured, plugins
    return found


def bytes_read(strategy: MultimodalStrategy, exemplars: Sequence[Sample]) -> int:
    """Bytes of what the model reads of exemplars: token ids, and each distinct image once."""
    if not exemplars:
        return 0
    batch, targets = strategy.network.processor.collate(exemplars)
    return sum(tensor.numel() * tensor.element_size() for tensor in (*batch.values(), targets))


def kept_bytes(plugin: object) -> int:
    """Bytes of the tensors in a plugin's state: anchors, Fisher information, prototypes."""
    state = plugin.state_dict() if hasattr(plugin, "state_dict") else {}
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(state))


def _tensors(state: object) -> Iterable[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        yield state
    elif isinstance(state, Mapping):
        for value in state.values():
            yield from _tensors(value)
    elif isinstance(state, list | tuple):
        for value in state:
            yield from _tensors(value)


def text_of_costs(costs: Sequence[Mapping[str, Any]], *, title: str) -> str:
    """Write the costs as a table."""
    tasks = len(costs[0]["seconds"])
    head = f"{'':<22}{'samples/s':>9}{'peak MB':>9}{'kept MB':>9}"
    head += f"{'exemplars':>11}{'MB':>6}{'step':>8}"
    head += "   seconds of training, task 1 to " + str(tasks)
    lines = [title, head, "-" * len(head)]
    for cost in costs:
        steps = cost["step_ms"]
        growth = f"{steps[-1] / steps[1]:.2f}" if tasks > 2 and steps[1] and steps[-1] else "-"
        speed = cost["samples_per_second"]
        top = "-" if cost["peak_mb"] is None else f"{cost['peak_mb']:.0f}"
        seconds = " ".join(f"{second:.1f}" for second in cost["seconds"])
        lines.append(
            f"{cost['system']:<22}{'-' if speed is None else f'{speed:.1f}':>9}{top:>9}"
            f"{cost['state_mb']:>9.1f}{cost['exemplars']:>11}{cost['exemplar_mb']:>6.2f}"
            f"{growth:>8}   {seconds}"
        )
    lines.append("step: time of a step on current samples, last task over second")
    lines.append("kept: tensors that plugins and readouts hold between tasks, exemplars aside")
    lines.append("MB: token ids, labels and distinct images of exemplars, as the model reads them")
    return "\n".join(lines) + "\n"
