"""What every system of the tables costs: one line each, and its growth with the number of tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch

from mkgc_cl.data.samples import Sample, TaskStream
from mkgc_cl.experiments.pipeline.checks import Trial, check_builds, device_of
from mkgc_cl.experiments.pipeline.console import Tell
from mkgc_cl.experiments.pipeline.plan import Row, options_of
from mkgc_cl.experiments.pipeline.runner import build_row
from mkgc_cl.experiments.pipeline.settings import Settings
from mkgc_cl.experiments.speed.rounds import give_back, peak
from mkgc_cl.experiments.speed.systems import Measured
from mkgc_cl.experiments.speed.tables import aligned
from mkgc_cl.experiments.speed.text import setting_of, title
from mkgc_cl.results.counted import counted
from mkgc_cl.scenarios import make_benchmark
from mkgc_cl.strategies.template import MultimodalStrategy

LEGEND = (
    "step: time of a step on current samples, last task over second",
    "kept: tensors that plugins and readouts hold between tasks, exemplars aside",
    "MB: token ids, labels and distinct images of exemplars, as the model reads them",
)


def measure_systems(
    settings: Settings, rows: Mapping[str, Row], stream: TaskStream, samples: int, *, tell: Tell
) -> tuple[dict[str, Any], str]:
    """Run every system of the settings over the stream once, alone, one after the other.

    All are built before the first is measured, so that a mistake in the last costs nothing.

    Returns:
        The report, plain types, and its text. Per system: ``samples_per_second`` on current
        samples, ``seconds`` of training per task, ``step_ms`` on current samples per task,
        ``peak_mb`` and ``before_mb``, ``exemplars``, ``exemplar_mb``, what the model reads of them,
        and ``state_mb``, the tensors that its plugins and a readout (prototypes) keep between
        tasks. What takes no steps has ``None`` for their speed and time.

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
    costs = []
    for name, build in builds.items():
        tell(f"cost of {name}")
        before = give_back(device)
        strategy = build(settings, str(device))
        plugins = list(strategy.plugins)
        measured = Measured(benchmark, strategy)
        runs = [measured.run_task(task) for task in range(len(stream.tasks))]
        current = [run.current() for run in runs]
        walls = [sum(step.time.wall for step in steps) for steps in current]
        samples_seen = sum(step.current for steps in current for step in steps)
        exemplars = [s for p in plugins if hasattr(p, "exemplars") for s in p.exemplars()]
        holders = [p for p in (*plugins, strategy.network.readout) if hasattr(p, "state_dict")]
        states = [holder.state_dict() for holder in holders]
        costs.append(
            {
                "system": name,
                "samples_per_second": samples_seen / sum(walls) if sum(walls) else None,
                "seconds": [run.training.wall for run in runs],
                "step_ms": [
                    1000 * wall / len(steps) if steps else None
                    for wall, steps in zip(walls, current, strict=True)
                ],
                "before_mb": before,
                "peak_mb": peak(device),
                "exemplars": len(exemplars),
                "exemplar_mb": bytes_read(strategy, exemplars) / 1e6,
                "state_mb": kept_bytes(states) / 1e6,
            }
        )
        del strategy, measured, plugins, holders, states
    setting = setting_of(settings, stream, samples)
    words = f"{title(setting)}, {counted(torch.get_num_threads(), 'thread')}"
    report = {"title": words, "setting": setting, "systems": costs}
    return report, text_of_costs(costs, title=words)


def bytes_read(strategy: MultimodalStrategy, exemplars: Sequence[Sample]) -> int:
    """Bytes of what the model reads of exemplars: token ids, and each distinct image once."""
    if not exemplars:
        return 0
    batch, targets = strategy.network.processor.collate(exemplars)
    return sum(tensor.nbytes for tensor in (*batch.values(), targets))


def kept_bytes(state: object) -> int:
    """Bytes of the tensors in a state: anchors, Fisher information, prototypes."""
    if isinstance(state, torch.Tensor):
        return state.nbytes
    if isinstance(state, Mapping):
        state = list(state.values())
    return sum(map(kept_bytes, state)) if isinstance(state, list | tuple) else 0


def text_of_costs(costs: Sequence[Mapping[str, Any]], *, title: str) -> str:
    """Write the costs as a table."""
    tasks = len(costs[0]["seconds"])
    heads = ("", "samples/s", "peak MB", "kept MB", "exemplars", "MB", "step")
    rows = []
    for cost in costs:
        steps, speed, top = cost["step_ms"], cost["samples_per_second"], cost["peak_mb"]
        rows.append(
            (
                cost["system"],
                "-" if speed is None else f"{speed:.1f}",
                "-" if top is None else f"{top:.0f}",
                f"{cost['state_mb']:.1f}",
                cost["exemplars"],
                cost["exemplar_mb"],
                steps[-1] / steps[1] if tasks > 2 and steps[1] and steps[-1] else "-",
                " ".join(f"{second:.1f}" for second in cost["seconds"]),
            )
        )
    table = aligned((*heads, f"seconds of training, task 1 to {tasks}"), rows)
    return "\n".join([title, *table, *LEGEND]) + "\n"
