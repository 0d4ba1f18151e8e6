"""Metrics of a continual run as ordinary Avalanche metrics, and a JSON-lines logger."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avalanche.evaluation import PluginMetric
from avalanche.evaluation.metric_results import AlternativeValues, MetricValue
from avalanche.logging import BaseLogger
from avalanche.training.plugins import EvaluationPlugin
from torch import Tensor

from mkgc_cl.metrics.counts import Counts, relation_counts, span_counts
from mkgc_cl.metrics.matrix import BEFORE, IncompleteMatrixError, ResultMatrix
from mkgc_cl.scenarios.benchmark import KnowledgeExperience
from mkgc_cl.strategies.evaluator import evaluation_plugin
from mkgc_cl.strategies.template import MultimodalStrategy


class ContinualMetrics(PluginMetric[dict[str, float]]):
    """Fill one result matrix and emit what is read off it; all values are fractions in [0, 1].

    After each evaluated experience: ``F1_Exp``. After an evaluation, where the seen tasks were all
    evaluated: ``A_Stream`` (A_k), ``U_Stream``, ``Forgetting_Stream`` and ``BWT_Stream``. What
    cannot be measured (:mod:`mkgc_cl.metrics.matrix`) is not emitted, so no logger has a number of
    it: F1 where an experience has no positive, forgetting before the second task.
    Streams are kept apart, which Avalanche's own forgetting does not do.

    An evaluation in the middle of a task counts as one after this task; the last one stands.

    Counts of processes that share an evaluation are added up.

    Attributes:
        matrix: the result matrix, ``None`` before the first evaluation.
    """

    supports_distributed = True

    def __init__(self) -> None:
        super().__init__()
        self.matrix: ResultMatrix | None = None
        self._after = BEFORE
        self._counts = Counts()
        self._stream = ""
        self._last: dict[str, float] = {}

    def result(self) -> dict[str, float]:
        """Last emitted values by name."""
        return dict(self._last)

    def reset(self) -> None:
        """Forget everything."""
        self.matrix, self._after, self._last = None, BEFORE, {}

    def state_dict(self) -> dict[str, Any]:
        """What was measured so far."""
        return {
            "matrix": None if self.matrix is None else self.matrix.to_dict(),
            "after": self._after,
            "last": dict(self._last),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        matrix = state["matrix"]
        self.matrix = None if matrix is None else ResultMatrix.from_dict(matrix)
        self._after, self._last = int(state["after"]), dict(state["last"])

    def before_training_exp(self, strategy: MultimodalStrategy) -> None:
        """Note the task: evaluations during and after its training fill its row."""
        experience: KnowledgeExperience = strategy.experience
        self._after = experience.current_experience

    def before_eval_exp(self, strategy: MultimodalStrategy) -> None:
        """Start counting."""
        self._counts = Counts()

    def after_eval_iteration(self, strategy: MultimodalStrategy) -> None:
        """Count the batch."""
        experience: KnowledgeExperience = strategy.experience
        self._counts += batch_counts(strategy.decoded(), strategy.gold(), experience)

    def after_eval_exp(self, strategy: MultimodalStrategy) -> list[MetricValue]:
        """Record and emit the experience's F1."""
        experience: KnowledgeExperience = strategy.experience
        self._stream = experience.origin_stream.name
        on = experience.current_experience
        if isinstance(strategy, MultimodalStrategy):  # not one of Avalanche's own
            counts = self._counts
            found = strategy.ranks.totals([counts.tp, counts.predicted, counts.gold])
            self._counts = Counts(*map(int, found))
        if self.matrix is None:
            self.matrix = ResultMatrix(len(experience.origin_stream))
        self.matrix.record(self._stream, after=self._after, on=on, counts=self._counts)
        place = f"eval_phase/{self._stream}_stream/Exp{on:03d}"
        return self._emitted(strategy, {f"F1_Exp/{place}": self._counts.f1})

    def after_eval(self, strategy: MultimodalStrategy) -> list[MetricValue]:
        """Emit what the matrix says about the stream so far."""
        matrix, stream = self.matrix, self._stream
        if matrix is None:
            return []
        place = f"eval_phase/{stream}_stream"
        try:
            values = {
                f"A_Stream/{place}": matrix.average_f1(stream)[-1],
                f"U_Stream/{place}": matrix.plasticity(stream)[-1],
                f"Forgetting_Stream/{place}": matrix.forgetting(stream).mean,
                f"BWT_Stream/{place}": matrix.backward_transfer(stream),
            }
        except IncompleteMatrixError:  # some tasks were not evaluated after some others
            return []
        return self._emitted(strategy, values)

    def _emitted(
        self, strategy: MultimodalStrategy, values: Mapping[str, float]
    ) -> list[MetricValue]:
        known = {name: value for name, value in values.items() if not math.isnan(value)}
        self._last |= known
        step = strategy.clock.train_iterations
        return [MetricValue(self, name, value, step) for name, value in known.items()]

    def __str__(self) -> str:
        return "ContinualMetrics"


def batch_counts(
    decoded: Sequence[Sequence[int]], targets: Sequence[Any], experience: KnowledgeExperience
) -> Counts:
    """Counts of one batch on an experience.

    Args:
        decoded: best output ids, one list per sample.
        targets: label ids: one per sample, or one list per sample padded with -100.
        experience: its classes say which entity types count on it.
    """
    if experience.labels.kind == "re":
        return relation_counts([ids[0] for ids in decoded], targets, ignore={0})
    names = experience.labels.outputs
    predicted = [[names[tag] for tag in tags] for tags in decoded]
    gold = [
        [names[tag] for tag in row[: len(tags)]] for row, tags in zip(targets, decoded, strict=True)
    ]
    return span_counts(predicted, gold, types=experience.classes)


def continual_evaluator(*loggers: BaseLogger, metrics: Sequence[Any] = ()) -> EvaluationPlugin:
    """Return an evaluator with :class:`ContinualMetrics` and the given loggers.

    Args:
        loggers: Avalanche's or one's own; the README says which of Avalanche's work.
        metrics: more metrics, such as ``accuracy_metrics(stream=True)``.

    Raises:
        ConfigError: a metric or logger of Avalanche that cannot work here.
    """
    return evaluation_plugin(ContinualMetrics(), *metrics, loggers=loggers)


def result_matrix(strategy: MultimodalStrategy) -> ResultMatrix | None:
    """The result matrix of a strategy whose evaluator has :class:`ContinualMetrics`."""
    found = [m for m in strategy.evaluator.metrics if isinstance(m, ContinualMetrics)]
    return found[0].matrix if found else None


class JsonLinesLogger(BaseLogger):
    """Append every metric value to a file, one JSON object per line: name, value, step.

    Args:
        path: the file; its folder is made. An existing file is appended to, so a resumed run keeps
            its history.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def log_single_metric(self, name: str, value: Any, x_plot: int) -> None:
        """Append one value: a tensor as lists, and what JSON cannot hold as text."""
        if isinstance(value, AlternativeValues):  # a figure, and what it shows
            value = value.best_supported_value(int, float, str, Tensor, dict)
        if isinstance(value, Tensor):
            value = value.tolist()
        line = json.dumps({"name": name, "value": value, "step": x_plot}, default=str)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
