"""Run an ablation that is planned: every run that is not finished, then its tables."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from typing import Any

from mkgc_cl.experiments.ablation_plan import Plan, build_stream, built
from mkgc_cl.experiments.experiment_run import StreamRunner, make_runs
from mkgc_cl.experiments.experiment_settings import SYSTEMS
from mkgc_cl.results import Run
from mkgc_cl.results.grid import GridResult


class RunMaker(StreamRunner):
    """Runs one system with one seed."""

    def benchmark(self) -> Any:
        """The stream of the settings."""
        return build_stream(self.settings)

    def build(self, run: Run, labels: Any, *, device: str) -> Any:
        """The run's system, ready to train; a control trains what it is measured from first."""
        control, held = SYSTEMS[run.system].control, None  # type: ignore[index]
        if control is not None:
            from mkgc_cl.strategies import control_coefficients

            measured = built(self.settings, run, labels, device=device)
            held = control_coefficients(measured, self.benchmark(), control)
            del measured
            gc.collect()  # parts of a strategy refer to each other: its weights go before the next
        return built(self.settings, run, labels, device=device, constant_coefficients=held)


def run_plan(
    plan: Plan,
    made_by: Mapping[str, object],
    *,
    command: Sequence[str],
    jobs: int = 1,
    quiet: bool = False,
) -> GridResult:
    """Run every run of one order that is not finished, then write and print everything.

    Args:
        plan: the order.
        made_by: environment and state of the source when the run began.
        command: the command line, for ``config.yaml``.
        jobs: runs at a time.
        quiet: no progress.
    """
    from mkgc_cl.experiments.experiment_report import about, write_report, write_setup

    settings, target = plan.settings, plan.target
    said = about(settings, settings.systems, plan.paper)
    write_setup(target, settings, made_by, said, command=command)
    return make_runs(
        plan.runs,
        RunMaker(settings, made_by),
        out=target,
        quiet=quiet,
        jobs=jobs,
        report=lambda records: write_report(target, settings, plan.current(records), plan.paper),
    )
