"""Run a strategy over a whole stream."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mkgc_cl.data.provenance import content_fingerprint
from mkgc_cl.data.readiness import require_readable
from mkgc_cl.errors import ConfigError
from mkgc_cl.metrics.matrix import ResultMatrix
from mkgc_cl.scenarios.benchmark import KnowledgeBenchmark
from mkgc_cl.strategies.checkpoints import Checkpointing, Resumed
from mkgc_cl.strategies.evaluation import result_matrix
from mkgc_cl.strategies.template import MultimodalStrategy
from mkgc_cl.strategies.traces import traces_of

Progress = Callable[[int, int, float], None]


@dataclass(frozen=True, slots=True)
class StreamResult:
    """What a run over a stream gives.

    Args:
        matrix: counts after every task on every task seen.
        seconds: wall time of training and evaluation.
        traces: values per step by name, as plugins publish them
            (:func:`~mkgc_cl.strategies.traces.traces_of`).
    """

    matrix: ResultMatrix
    seconds: float
    traces: dict[str, list[float]]


def run_stream(
    strategy: MultimodalStrategy,
    benchmark: KnowledgeBenchmark,
    *,
    split: Literal["test", "valid"] = "test",
    progress: Progress | None = None,
    checkpoint: Checkpointing | str | Path | None = None,
) -> StreamResult:
    """Train on every task in order and evaluate all seen tasks after each.

    Every sample of every split is looked at before the first task is trained on. With checkpoints
    the same call goes on where a process was killed, to the result that it would have had; one that
    came to its end gives that again, until its folder is removed.

    Args:
        strategy: a fresh strategy whose evaluator has
            :class:`~mkgc_cl.strategies.ContinualMetrics`.
        benchmark: the stream.
        split: the samples to evaluate on; settings are chosen on ``"valid"``.
        progress: called after each task with tasks done, tasks in all and the last A_k, NaN where
            it cannot be measured yet.
        checkpoint: where checkpoints go and how often; a folder has one after every task.

    Raises:
        DataError: all that is wrong with samples of the stream
            (:func:`~mkgc_cl.data.readiness.require_readable`).
        ConfigError: the evaluator has no :class:`~mkgc_cl.strategies.ContinualMetrics`; or naming
            every setting in which this run differs from that of the checkpoints.
    """
    require_readable(benchmark.stream, strategy.network.processor)
    started = time.perf_counter()
    trained = 0
    if checkpoint is not None:
        resumed = go_on(strategy, benchmark, checkpoint)
        trained, started = resumed.trained, started - resumed.seconds
    tasks = len(benchmark.train_stream)
    measured = benchmark.test_stream if split == "test" else benchmark.valid_stream
    matrix: ResultMatrix | None = None
    for index, experience in enumerate(benchmark.train_stream):
        if index < trained - 1:
            continue  # evaluated before the task after it began
        if index >= trained:
            strategy.train(experience)
        if index >= trained or not _is_evaluated(result_matrix(strategy), split, index):
            strategy.eval(measured[: index + 1])
        matrix = result_matrix(strategy)
        if matrix is None:
            raise ConfigError(
                ["the strategy's evaluator measures nothing; build it with continual_evaluator()"]
            )
        if progress is not None:
            progress(index + 1, tasks, matrix.average_f1(split)[-1])
    if matrix is None:
        raise ConfigError(["the benchmark has no task to train on"])
    return StreamResult(matrix, time.perf_counter() - started, traces_of(strategy.plugins))


def go_on(
    strategy: MultimodalStrategy,
    benchmark: KnowledgeBenchmark,
    checkpoint: Checkpointing | str | Path,
) -> Resumed:
    """Let a strategy go on from its checkpoints on a stream, and write more of them.

    Raises:
        ConfigError: naming every setting in which the run differs from that of the checkpoints.
    """
    asked = checkpoint if isinstance(checkpoint, Checkpointing) else Checkpointing(checkpoint)
    if "stream" not in asked.made_for:
        stream = content_fingerprint(benchmark.stream)
        asked = replace(asked, made_for={**asked.made_for, "stream": stream})
    samples = (s for experience in benchmark.train_stream for s in experience.samples)
    return strategy.keep_checkpoints(asked, samples=samples)


def _is_evaluated(matrix: ResultMatrix | None, split: str, task: int) -> bool:
    """Whether every task seen was evaluated after a task, from 0."""
    return matrix is not None and None not in matrix.f1(split)[task][: task + 1]
