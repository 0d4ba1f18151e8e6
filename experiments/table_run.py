"""Run a table of systems: every system, seed and order of the settings, each once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiment_run import device_of, record_of, run_cells, stream_of
from table_settings import TableSettings

from mkgc_cl.data.provenance import content_fingerprint
from mkgc_cl.errors import ConfigError
from mkgc_cl.results import Cell, CellRecord
from mkgc_cl.results.files import write_atomic
from mkgc_cl.results.grid import TRACES
from mkgc_cl.results.progress import Progress
from mkgc_cl.results.provenance import environment


@dataclass(frozen=True)
class Made:
    """What a run of one order left.

    Args:
        settings: its settings.
        out: its folder.
        records: its finished cells, of this call and of earlier ones with the same settings.
        failed: whether a cell of this call failed.
    """

    settings: TableSettings
    out: Path
    records: tuple[CellRecord, ...]
    failed: bool


@dataclass(frozen=True)
class CellRunner:
    """Trains and evaluates one system with one seed over the whole stream, in any process.

    Args:
        settings: of one order.
        made_by: environment and state of the source.
    """

    settings: TableSettings
    made_by: Mapping[str, object]

    def __call__(self, cell: Cell, progress: Progress) -> CellRecord:
        """Run a cell."""
        settings = self.settings
        benchmark = stream_of(settings.stream, settings.encoders.images)
        from mkgc_cl.strategies.catalogue import build_system
        from mkgc_cl.strategies.recipe import Encoders, Training

        config: Mapping[str, Any] = cell.config
        device = device_of(settings.device)

        def build() -> Any:
            return build_system(
                cell.system,
                benchmark.stream.labels,
                encoders=Encoders(**asdict(settings.encoders)),
                training=Training(**asdict(settings.training), device=device, seed=cell.seed),
                exemplars=settings.exemplars,
                options=config["options"],
            )

        return record_of(
            cell,
            build,
            benchmark,
            split=settings.stream.split,
            device=device,
            made_by=self.made_by,
            progress=progress,
        )


def run_table(
    settings: TableSettings,
    *,
    out: Path,
    command: Sequence[str],
    jobs: int = 1,
    quiet: bool = False,
) -> Made:
    """Run every cell of one order that is not finished, and write and print its tables.

    One setting has one folder, ``<out>/<name>/<order>-<digest>``: other seeds and systems join it.
    A cell that is there, or in the folder of other options or another budget that do not touch it,
    is not run again.
    """
    from experiment_report import write_setup
    from table_report import write_system_report

    # Read before anything runs: the checkout may be at another commit when a long cell ends.
    made_by = environment()
    # Once and first: a wrong data root is one message and not one a cell, and what the stream holds
    # is part of what makes two cells the same.
    benchmark = stream_of(settings.stream, settings.encoders.images)
    fingerprint = content_fingerprint(benchmark.stream)
    options = options_by_system(settings)

    def config_of(system: str) -> dict[str, Any]:
        return {
            **settings.cell_config(system),
            "options": options.get(system, {}),
            "stream_fingerprint": fingerprint,
        }

    # Seed by seed, so that an early look at an unfinished grid has every row.
    cells = [
        Cell(system, settings.scenario, settings.order, seed, config_of(system))
        for seed in settings.seeds
        for system in settings.rows
    ]
    shared = {
        **settings.cell_config(settings.rows[0]),
        "exemplars": settings.exemplars,
        "options": options,
        "stream_fingerprint": fingerprint,
    }
    folder = Cell("", settings.scenario, settings.order, 0, shared).setting
    target = out / settings.name / folder
    take_over(cells, target)
    write_setup(target, settings, made_by, command=command)

    def current(records: Sequence[CellRecord]) -> tuple[CellRecord, ...]:
        """Those that these settings would make; others are of other options or budgets."""
        wanted = {name: config_of(name) for name in _known(records)}
        return tuple(r for r in records if r.config == wanted.get(r.system))

    result = run_cells(
        cells,
        CellRunner(settings, made_by),
        out=target,
        quiet=quiet,
        jobs=jobs,
        report=lambda records: write_system_report(target, settings, current(records)),
    )
    return Made(settings, target, current(result.records), bool(result.failures))


def take_over(cells: Sequence[Cell], target: Path) -> None:
    """Copy finished cells from the folders beside ``target``: the same name is the same run."""
    for cell in cells:
        if (target / "cells" / f"{cell.key}.json").exists():
            continue
        for found in sorted(target.parent.glob(f"*/cells/{cell.key}.json")):
            side = found.with_name(f"{cell.key}{TRACES}")
            if side.exists():
                # the record last: a cell counts as finished when it is there
                for path in (side, found):
                    text = path.read_text(encoding="utf-8")
                    write_atomic(target / "cells" / path.name, text)
                break


def options_by_system(settings: TableSettings) -> dict[str, dict[str, Any]]:
    """Options of every system that has some, of the types its recipe declares.

    Raises:
        ConfigError: naming every mistake of every system.
    """
    from mkgc_cl.strategies.catalogue import checked_options

    found, wrong = {}, []
    for name, options in (settings.options or {}).items():
        try:
            fit = checked_options(name, options)
            if settings.exemplars is not None:
                fit.pop("na_policy", None)  # one budget for all: see build_system
            found[name] = fit
        except ConfigError as error:
            wrong += error.problems
    if wrong:
        raise ConfigError(wrong)
    return found


def _known(records: Sequence[CellRecord]) -> set[str]:
    from mkgc_cl.systems import SYSTEMS

    return {record.system for record in records} & SYSTEMS.keys()
