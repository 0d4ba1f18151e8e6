"""What an ablation consists of: its cells, their folder, and how each system is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mkgc_cl.data import TaskStream
from mkgc_cl.data.provenance import content_fingerprint
from mkgc_cl.experiments.build_check import Trial, check_builds, left_to_the_cell
from mkgc_cl.experiments.command_line import Tell
from mkgc_cl.experiments.experiment_run import read_stream, stream_of
from mkgc_cl.experiments.experiment_settings import SYSTEMS, Settings
from mkgc_cl.experiments.paper_rows import Paper, paper_of
from mkgc_cl.results import Cell, CellRecord
from mkgc_cl.results.run_files import load_cell


@dataclass(frozen=True)
class Plan:
    """One order of an ablation, before anything of it has run.

    Args:
        settings: of this order.
        stream: its stream.
        fingerprint: of all that its stream shows; part of what makes two cells the same.
        paper: what the paper says of this stream.
        out: folder of all runs.
    """

    settings: Settings
    stream: TaskStream
    fingerprint: str
    paper: Paper
    out: Path

    @property
    def cells(self) -> list[Cell]:
        """Every cell, seed by seed, so that an early look at an unfinished grid has every row."""
        settings = self.settings
        config = {**settings.cell_config(), "stream_fingerprint": self.fingerprint}
        return [
            Cell(system, settings.scenario, settings.order, seed, config)
            for seed in settings.seeds
            for system in settings.systems
        ]

    @property
    def target(self) -> Path:
        """Folder of the cells: other seeds and systems join its tables, another order does not."""
        return self.out / self.settings.name / self.cells[0].setting

    @property
    def waiting(self) -> list[Cell]:
        """The cells that would run now.

        Raises:
            RecordError: a file holds another cell, or is of a newer version.
        """
        return [cell for cell in self.cells if load_cell(self.target, cell) is None]

    def current(self, records: Sequence[CellRecord]) -> tuple[CellRecord, ...]:
        """Those that these settings would make; another was put into their folder by hand."""
        config = self.cells[0].config
        return tuple(record for record in records if record.config == config)


def plan_orders(variants: Sequence[Settings], out: Path, tell: Tell) -> list[Plan]:
    """Read the streams of all orders, and build every system that has a cell to run.

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
        for cell in plan.waiting:
            # once, not once per order: of its order a build reads the labels only
            build = partial(_build, cell, plan.stream.labels)
            new = Trial(cell.system, plan.settings, build, plan.settings.model, {})
            trials.setdefault(cell.system, new).streams[plan.fingerprint] = plan.stream
    check_builds(trials.values(), tell)
    return plans


def build_stream(settings: Settings) -> Any:
    """Build the Avalanche benchmark of the settings."""
    return stream_of(settings.stream, settings.model.images)


def built(
    settings: Settings,
    cell: Cell,
    labels: Any,
    *,
    device: str,
    constant_coefficients: Sequence[Sequence[float]] | None = None,
) -> Any:
    """Build the system of a cell, ready to train.

    With :func:`build_stream` the place where the ablation meets models, scenarios and strategies.

    Args:
        settings: of the cell's order.
        cell: names the system and its seed.
        labels: classes of the stream.
        device: where it trains.
        constant_coefficients: what the modulation of a control applies in each task; without, a
            control is the method that it is measured from.

    Raises:
        ConfigError: a setting does not fit.
    """
    from mkgc_cl.models import DualStreamModel
    from mkgc_cl.strategies import mspt

    parts = SYSTEMS[cell.system]  # type: ignore[index]
    model = DualStreamModel.build(
        labels,
        interaction="shared-key" if parts.interaction else "self",
        seed=cell.seed,
        **asdict(settings.model),
    )
    return mspt(
        model,
        distillation=parts.distillation,
        modulation=parts.modulation,
        memory=parts.memory,
        constant_coefficients=constant_coefficients,
        device=device,
        seed=cell.seed,
        **asdict(settings.training),
        **asdict(settings.method),
    )


def _build(cell: Cell, labels: Any, settings: Settings, device: str) -> Any:
    return left_to_the_cell(lambda: built(settings, cell, labels, device=device))
