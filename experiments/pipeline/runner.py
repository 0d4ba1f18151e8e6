"""One run: build a row's system, train and evaluate it over the whole stream, record it."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mkgc_cl.errors import GroupError
from mkgc_cl.experiments.pipeline.checks import device_of
from mkgc_cl.experiments.pipeline.launch import team
from mkgc_cl.experiments.pipeline.plan import Row
from mkgc_cl.experiments.pipeline.settings import Settings
from mkgc_cl.experiments.pipeline.streams import benchmark_of
from mkgc_cl.results import RunRecord
from mkgc_cl.results.undefined import per_cent
from mkgc_cl.runs import Run
from mkgc_cl.runs.kept import checkpoint_folder, keep_failure
from mkgc_cl.runs.progress import Progress
from mkgc_cl.runs.provenance import peak_memory_mb, reset_peak_memory
from mkgc_cl.systems import load_installed, load_plugin, origins

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Runner:
    """Trains and evaluates one row with one seed over the whole stream, in any process.

    Args:
        settings: of one order.
        rows: the rows by name.
        made_by: environment and state of the source.
        plugins: files that registered systems, which a process of its own loads again.
        out: folder of the runs, for checkpoints; ``None`` for none.
    """

    settings: Settings
    rows: Mapping[str, Row]
    made_by: Mapping[str, object]
    plugins: tuple[str, ...] = ()
    out: Path | None = None

    def __call__(self, run: Run, progress: Progress) -> RunRecord:
        """Make a run, and lead the processes that share it.

        Raises:
            GroupError: it failed in one of them.
        """
        if (together := team()) is None:
            return self.make(run, progress)
        try:
            with together.leading(run.key):
                return self.make(run, progress)
        except GroupError as error:
            if self.out is not None:
                keep_failure(self.out, run, error.reason, error.traceback)
            words = f"FAILED {run.name}: {error.reason}\nall processes of torchrun end"
            raise GroupError(f"{words}; the same command tries again") from error

    def make(self, run: Run, progress: Progress) -> RunRecord:
        """Build a strategy, run it over the whole stream, and record what it measured."""
        load_installed()
        for file in self.plugins:
            load_plugin(file)
        import torch

        from mkgc_cl.strategies import run_stream
        from mkgc_cl.strategies.distributed import current_ranks

        settings, row = self.settings, self.rows[run.system]
        benchmark = benchmark_of(settings.stream, settings.encoders.images)
        stream, device = benchmark.stream, device_of(settings.device)
        memory_since = "start of the run" if reset_peak_memory() else "start of the process"

        def step(done: int, tasks: int, latest: float) -> None:
            progress(done / tasks, f"task {done} of {tasks}, A {per_cent(100 * latest)}")

        strategy = self._strategy(run, benchmark, device)
        views = strategy.network.processor.views
        split = settings.stream.split
        checkpoint = self._checkpointing(run, strategy)
        result = run_stream(strategy, benchmark, split=split, progress=step, checkpoint=checkpoint)
        return RunRecord.from_matrix(
            result.matrix,
            system=run.system,
            scenario=run.scenario,
            order=run.order,
            seed=run.seed,
            tasks=[task.name for task in stream.tasks],
            seconds=result.seconds,
            peak_memory_mb=peak_memory_mb(),
            config=run.config,
            provenance={
                **self.made_by,
                **({"plugins": dict(own)} if (own := origins([row.system])) else {}),
                "device": device,
                "processes": current_ranks().number,
                "threads": torch.get_num_threads(),  # sums of floats depend on how they are split
                "memory_since": memory_since,
                "stream": stream.provenance,
                "reads_images": views.looks,
            },
            traces=result.traces,
            stream=split,
        )

    def _strategy(self, run: Run, benchmark: Any, device: str) -> Any:
        """The run's system, ready to train; a control trains what it is measured from first."""
        row, labels = self.rows[run.system], benchmark.stream.labels
        parts = (row, run.config["options"], labels, self.settings, device)
        build: Callable[..., Any] = partial(build_row, *parts, seed=run.seed)
        if row.rates is None:
            return build()
        from mkgc_cl.strategies import control_coefficients

        measured = build()
        checkpoint = self._checkpointing(run, measured, "measured")
        held = control_coefficients(measured, benchmark, row.rates, checkpoint=checkpoint)
        del measured
        gc.collect()  # parts of a strategy refer to each other: its weights go before the next
        return build(constant_coefficients=tuple(tuple(pair) for pair in held))

    def _checkpointing(self, run: Run, strategy: Any, *part: str) -> Any:
        """Where the run goes on from if this process is killed, and how often it notes it."""
        from mkgc_cl.strategies import Checkpointing
        from mkgc_cl.strategies.captured import untold

        if self.out is None:
            return None
        if wrong := untold(strategy):
            logger.warning("%s cannot go on if it is killed: %s", run.name, "; ".join(wrong))
            return None
        git: Any = self.made_by.get("git")
        return Checkpointing(
            checkpoint_folder(self.out, run).joinpath(*part),
            **asdict(self.settings.checkpoint),
            made_for={
                "run": run.identity,
                "stream": run.config["stream_fingerprint"],
                "commit": git and git["commit"],
                "uncommitted changes": git and git.get("changes"),
            },
        )


def build_row(
    row: Row,
    options: Any,
    labels: Any,
    settings: Settings,
    device: str,
    *,
    seed: int = 0,
    **more: Any,
) -> Any:
    """Build the system of a row, ready to train; here settings meet models and strategies.

    Args:
        row: the row; without ``more`` a control is the method that it is measured from.
        options: of its recipe.
        labels: classes of the stream.
        settings: of the order.
        device: where it trains.
        seed: of the run.
        more: options that are known at run time alone.

    Raises:
        ConfigError: a setting or an option does not fit the system.
    """
    from mkgc_cl.strategies.catalogue import build_system
    from mkgc_cl.strategies.recipe import Encoders, Training

    return build_system(
        row.system,
        labels,
        encoders=Encoders(**asdict(settings.encoders)),
        training=Training(**asdict(settings.training), device=device, seed=seed),
        exemplars=settings.exemplars,
        options={**options, **more},
    )
