"""Run an ablation that is planned: every cell that is not finished, then its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ablation_plan import Plan, build_stream, built
from experiment_run import StreamRunner, run_cells

from mkgc_cl.results import Cell
from mkgc_cl.results.grid import GridResult


class CellRunner(StreamRunner):
    """Runs one system with one seed."""

    def benchmark(self) -> Any:
        """The stream of the settings."""
        return build_stream(self.settings)

    def build(self, cell: Cell, labels: Any, *, device: str) -> Any:
        """The cell's system, ready to train."""
        return built(self.settings, cell, labels, device=device)


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
