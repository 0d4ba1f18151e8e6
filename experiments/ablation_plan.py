"""What an ablation consists of: its runs, their folder, and how each system is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mkgc_cl.data import TaskStream
from mkgc_cl.data.provenance import content_fingerprint
from mkgc_cl.experiments.build_check import Trial, check_builds, rehearse_build
from mkgc_cl.experiments.command_line import Tell
from mkgc_cl.experiments.experiment_run import read_stream, stream_of
from mkgc_cl.experiments.experiment_settings import SYSTEMS, Settings, usual_settings
from mkgc_cl.experiments.paper_rows import Paper, paper_of
from mkgc_cl.results import Run, RunRecord
from mkgc_cl.results.run_files import load_run
from mkgc_cl.results.settings import setting_folder


@dataclass(frozen=True)
class Plan:
    """One order of an ablation, before anything of it has run.

    Args:
        settings: of this order.
        stream: its stream.
        fingerprint: of all that its stream shows; part of what makes two runs the same.
        paper: what the paper says of this stream.
        out: folder of all runs.
    """

    settings: Settings
    stream: TaskStream
    fingerprint: str
    paper: Paper
    out: Path

    @property
    def runs(self) -> list[Run]:
        """Every run, seed by seed, so that an early look at an unfinished grid has every row."""
        settings = self.settings
        config = {**settings.run_config(), "stream_fingerprint": self.fingerprint}
        return [
            Run(system, settings.scenario, settings.order, seed, config)
            for seed in settings.seeds
            for system in settings.systems
        ]

    @property
    def target(self) -> Path:
        """Folder of the runs: other seeds and systems join its tables, another order does not."""
        name = self.settings.name
        usual = usual_settings(Settings, name, self.settings.stream.data).run_config()
        return setting_folder(self.out / name, self.runs[0].identity, usual)

    @property
    def waiting(self) -> list[Run]:
        """The runs that would run now.

        Raises:
            RecordError: a file holds another run, or is of a newer version.
        """
        return [run for run in self.runs if load_run(self.target, run) is None]

    def current(self, records: Sequence[RunRecord]) -> tuple[RunRecord, ...]:
        """Those that these settings would make; another was put into their folder by hand."""
        config = self.runs[0].config
        return tuple(record for record in records if record.config == config)


def plan_orders(variants: Sequence[Settings], out: Path, tell: Tell) -> list[Plan]:
    """Read the streams of all orders, and build every system that has a run to run.

    Both before anything runs, so that what is wrong with the last order, or with a sample of its
    last task, is not told hours later.

    Args:
        variants: settings of one order each.
        out: folder of all runs.
        tell: told what takes its time.

    Raises:
        ConfigError: naming every mistake of every system, and a device that does not work.
        DataError: a stream cannot be read, or naming every sample that a system cannot.
    """
    plans = []
    for settings in variants:
        stream = read_stream(settings.stream, settings.model.images)
        paper = paper_of(settings, stream)
        plans.append(Plan(settings, stream, content_fingerprint(stream), paper, out))
    trials: dict[str, Trial] = {}
    for plan in plans:
        for run in plan.waiting:
            # once, not once per order: of its order a build reads the labels only
            build = partial(_build, run, plan.stream.labels)
            new = Trial(run.system, plan.settings, build, plan.settings.model, {})
            trials.setdefault(run.system, new).streams[plan.fingerprint] = plan.stream
    check_builds(trials.values(), tell)
    return plans


def build_stream(settings: Settings) -> Any:
    """Build the Avalanche benchmark of the settings."""
    return stream_of(settings.stream, settings.model.images)


def built(
    settings: Settings,
    run: Run,
    labels: Any,
    *,
    device: str,
    constant_coefficients: Sequence[Sequence[float]] | None = None,
) -> Any:
    """Build the system of a run, ready to train.

    With :func:`build_stream` the place where the ablation meets models, scenarios and strategies.

    Args:
        settings: of the run's order.
        run: names the system and its seed.
        labels: classes of the stream.
        device: where it trains.
        constant_coefficients: what the modulation of a control applies in each task; without, a
            control is the method that it is measured from.

    Raises:
        ConfigError: a setting does not fit.
    """
    from mkgc_cl.models import DualStreamModel
    from mkgc_cl.strategies import mspt

    parts = SYSTEMS[run.system]  # type: ignore[index]
    model = DualStreamModel.build(
        labels,
        interaction="shared-key" if parts.interaction else "self",
        seed=run.seed,
        **asdict(settings.model),
    )
    return mspt(
        model,
        distillation=parts.distillation,
        modulation=parts.modulation,
        memory=parts.memory,
        constant_coefficients=constant_coefficients,
        device=device,
        seed=run.seed,
        **asdict(settings.training),
        **asdict(settings.method),
    )


def _build(run: Run, labels: Any, settings: Settings, device: str) -> Any:
    return rehearse_build(lambda: built(settings, run, labels, device=device))
