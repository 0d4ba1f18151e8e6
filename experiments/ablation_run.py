"""Run an ablation that is planned: every cell that is not finished, then its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ablation_plan import Plan, build_stream, built
from experiment_run import device_of, record_of, run_cells
from experiment_settings import Settings

from mkgc_cl.results import Cell, CellRecord
from mkgc_cl.results.grid import GridResult
from mkgc_cl.results.progress import Progress


@dataclass(frozen=True)
class CellRunner:
    """Trains and evaluates one system with one seed over the whole stream, in any process.

    Args:
        settings: of one order.
        made_by: environment and state of the source.
    """

    settings: Settings
    made_by: Mapping[str, object]

    def __call__(self, cell: Cell, progress: Progress) -> CellRecord:
        """Run a cell."""
        settings = self.settings
        benchmark = build_stream(settings)
        device = device_of(settings.device)
        return record_of(
            cell,
            lambda: built(settings, cell, benchmark.stream.labels, device=device),
            benchmark,
            split=settings.stream.split,
            device=device,
            made_by=self.made_by,
            progress=progress,
        )


def run_plan(
    plan: Plan,
    made_by: Mapping[str, object],
    *,
    command: Sequence[str],
    jobs: int = 1,
    quiet: bool = False,
) -> GridResult:
    """Run every cell of one order that is not finished, then write and print everything.

    Args:
        plan: the order.
        made_by: environment and state of the source when the run began.
        command: the command line, for ``config.yaml``.
        jobs: cells at a time.
        quiet: no progress.
    """
    from experiment_report import write_report, write_setup

    settings, target = plan.settings, plan.target
    write_setup(target, settings, made_by, command=command)
    return run_cells(
        plan.cells,
        CellRunner(settings, made_by),
        out=target,
        quiet=quiet,
        jobs=jobs,
        report=lambda records: write_report(target, settings, records),
    )
