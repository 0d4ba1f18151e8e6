"""What every experiment does: build its stream, run the runs that are left, say what came out."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from mkgc_cl.data import TaskStream, imner_stream, imre_stream
from mkgc_cl.data.merge import first_tasks, merge_tasks
from mkgc_cl.experiments.experiment_settings import StreamSettings, arrival
from mkgc_cl.results import Run, RunRecord, run_grid
from mkgc_cl.results.grid import GridResult
from mkgc_cl.results.progress import Progress
from mkgc_cl.results.provenance import peak_memory_mb, reset_peak_memory
from mkgc_cl.results.undefined import per_cent
from mkgc_cl.results.writing import written_to


# All are looked at before the first is trained on, so all of a sweep must have their place: four
# controls in several orders. One is words and names of images, next to nothing beside a model.
@lru_cache(maxsize=32)
def read_stream(stream: StreamSettings, images: str) -> TaskStream:
    """Read the stream of the settings; once for the runs of one process.

    Imports no training code: what is wrong with the data is told before that is loaded.

    Args:
        stream: its settings.
        images: the images that the models look at.

    Raises:
        DataError: it cannot be read.
    """
    whole = replace(stream, control="none", merge=1, first=None)
    if stream != whole:
        from mkgc_cl.data.controls import controlled

        changed = controlled(read_stream(whole, images), stream.control, seed=stream.seed)
        merged = merge_tasks(changed, stream.merge)
        return first_tasks(merged, stream.first or len(merged.tasks))
    visual: dict[str, Any] = {"images": images, "missing_images": stream.missing_images}
    if stream.scenario == "demo":
        from mkgc_cl.data.demo import demo_stream

        return demo_stream(
            stream.task,
            seed=stream.seed,
            order=stream.order or None,
            train_per_task=stream.train_per_task,
            test_size=stream.test_size,
        )
    if stream.scenario == "imner":
        order = tuple(arrival(stream, "imner").split("-"))
        return imner_stream(stream.data, order=order, **visual)
    tasks = int(arrival(stream, "imre").removeprefix("sep"))
    return imre_stream(stream.data, tasks=tasks, negative=stream.negative, **visual)


@lru_cache(maxsize=32)
def stream_of(stream: StreamSettings, images: str) -> Any:
    """Build the Avalanche benchmark of :func:`read_stream`."""
    from mkgc_cl.scenarios import make_benchmark

    return make_benchmark(read_stream(stream, images))


def device_of(name: str) -> str:
    """Return ``name``, or for ``"auto"`` a GPU where there is one and the CPU elsewhere.

    Raises:
        ConfigError: nothing can be computed on a device of this name here.
    """
    import torch

    from mkgc_cl.devices import usable_device

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    usable_device(name)
    return name


def record_of(
    run: Run,
    build: Callable[[], Any],
    benchmark: Any,
    *,
    split: Literal["test", "valid"],
    device: str,
    made_by: Mapping[str, object],
    progress: Progress,
) -> RunRecord:
    """Build a strategy, run it over the whole stream, and record what it measured.

    Args:
        run: what the record is of.
        build: builds the strategy; its memory counts.
        benchmark: the stream.
        split: samples that are measured on.
        device: where it trains.
        made_by: environment and state of the source.
        progress: told after every task.
    """
    import torch

    from mkgc_cl.strategies import run_stream

    memory_since = "start of the run" if reset_peak_memory() else "start of the process"
    stream = benchmark.stream

    def step(done: int, tasks: int, latest: float) -> None:
        progress(done / tasks, f"task {done} of {tasks}, A {per_cent(100 * latest)}")

    result = run_stream(build(), benchmark, split=split, progress=step)
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
            **made_by,
            "device": device,
            "threads": torch.get_num_threads(),  # sums of floats depend on how they are split
            "memory_since": memory_since,
            "stream": stream.provenance,
        },
        traces=result.traces,
        stream=split,
    )


@dataclass(frozen=True)
class StreamRunner(ABC):
    """Trains and evaluates one system with one seed over the whole stream, in any process.

    Args:
        settings: of one order, of either kind of experiment.
        made_by: environment and state of the source.
    """

    settings: Any
    made_by: Mapping[str, object]

    @abstractmethod
    def benchmark(self) -> Any:
        """The stream of the settings."""

    @abstractmethod
    def build(self, run: Run, labels: Any, *, device: str) -> Any:
        """The run's system, ready to train."""

    def __call__(self, run: Run, progress: Progress) -> RunRecord:
        """Run a run."""
        benchmark, device = self.benchmark(), device_of(self.settings.device)
        return record_of(
            run,
            lambda: self.build(run, benchmark.stream.labels, device=device),
            benchmark,
            split=self.settings.stream.split,
            device=device,
            made_by=self.made_by,
            progress=progress,
        )


def make_runs(
    runs: Sequence[Run],
    execute: Callable[[Run, Progress], RunRecord],
    *,
    out: Path,
    quiet: bool,
    jobs: int = 1,
    report: Callable[[Sequence[RunRecord]], str],
) -> GridResult:
    """Run a grid, print what ``report`` says of its records, and name what failed.

    Raises:
        OutputError: a record or a table cannot be written, or the folder is gone at the end.
    """
    result = run_grid(runs, execute, out=out, quiet=quiet, jobs=jobs)
    if result.records:
        with written_to(out):
            text = report(result.records)
        sys.stdout.write(text)
    for failure in result.failures:
        sys.stderr.write(f"FAILED {failure.run.name}: {failure.error}\n")
    if result.failures:
        sys.stderr.write(f"tracebacks are in {out / 'failed'}; the same command tries again\n")
    sys.stdout.write(f"written to {out}\n")
    return result
