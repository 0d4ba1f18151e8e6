"""Avalanche's metrics on our batches: a row per sample or word, and no value of nothing."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import torch
from avalanche.evaluation.metric_results import MetricValue
from avalanche.evaluation.metrics import Mean
from avalanche.training.plugins import EvaluationPlugin
from torch import Tensor

from mkgc_cl.data.processor import IGNORED
from mkgc_cl.models import ModelOutput
from mkgc_cl.strategies.avalanche_parts import Part
from mkgc_cl.strategies.compatibility import part_of


def measure(evaluator: EvaluationPlugin) -> None:
    """Let the metrics of an evaluator that are Avalanche's read our batches, see :class:`Measured`.

    A metric that is not Avalanche's stays as it is.
    """
    found = [(metric, part_of(type(metric))) for metric in evaluator.metrics]
    evaluator.metrics = [m if part is None else Measured(m, part) for m, part in found]


class Measured:
    """A metric of Avalanche that emits what it measured and nothing else.

    * Metrics of outputs and labels see :class:`Rows` of the strategy.
    * A mean of nothing, which Avalanche calls 0, is not emitted, and an experience without a sample
      does not end.
    * Metrics that would mix streams get a copy for each.

    Args:
        metric: the metric.
        part: what is known of it.
    """

    def __init__(self, metric: Any, part: Part) -> None:
        self.metric = metric
        self.part = part
        self._fresh = copy.deepcopy(metric) if part.per_stream else None
        self._of_stream: dict[str, Any] = {}
        self._sampled = False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "metric":  # asked while it is copied
            raise AttributeError(name)
        found = getattr(self.metric, name)
        if name.startswith(("before_", "after_")):
            return functools.partial(self._call, name)
        return found

    def _call(self, callback: str, strategy: Any) -> list[MetricValue]:
        if callback == "before_eval_exp":
            self._sampled = False
        elif callback == "after_eval_iteration":
            self._sampled = True
        elif callback == "after_eval_exp" and not self._sampled:
            return []
        seen = Rows(strategy) if self.part.scores else strategy
        with _means_of_nothing_undefined():
            results = [getattr(metric, callback)(seen) for metric in self._called(strategy)]
        return [value for result in results for value in _values(result) if _measured(value)]

    def _called(self, strategy: Any) -> list[Any]:
        """The metrics that hear a callback: of the evaluated stream, or in training all of them."""
        if self._fresh is None:
            return [self.metric]
        if strategy.is_training:
            return [self._fresh, self.metric, *list(self._of_stream.values())[1:]]
        stream = next((e.origin_stream.name for e in strategy.current_eval_stream), "")
        if stream not in self._of_stream:
            # the first stream has the metric itself, for those who hold it
            metric = copy.deepcopy(self._fresh) if self._of_stream else self.metric
            self._of_stream[stream] = metric
        return [self._of_stream[stream]]


class Rows:
    """A strategy whose outputs and labels have one row per sample or, for tags, per word.

    In an evaluation a tagger's decoded tag is the best of its row, so that a metric counts what the
    model predicts; in training rows are its scores, for nothing is decoded there.

    Args:
        strategy: the strategy, to which everything else is left.
    """

    def __init__(self, strategy: Any) -> None:
        self._strategy = strategy

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_strategy":  # asked while it is copied
            raise AttributeError(name)
        return getattr(self._strategy, name)

    @property
    def mb_output(self) -> Tensor:
        """Scores (N, C)."""
        output = self._strategy.mb_output
        if not isinstance(output, ModelOutput):
            return cast(Tensor, output)  # of an adapted strategy, whose model returns rows
        rows = output.scores
        if self._strategy.is_training or output.word_mask is None:
            return rows
        best = torch.tensor([[tag] for tags in self._strategy.decoded() for tag in tags])
        return rows.scatter(1, best.to(rows.device), rows.amax(dim=1, keepdim=True) + 1)

    @property
    def mb_y(self) -> Tensor:
        """Labels (N,)."""
        labels: Tensor = self._strategy.mb_y
        return labels[labels != IGNORED]

    @property
    def mb_task_id(self) -> Tensor:
        """Task labels (N,), all 0."""
        return torch.zeros_like(self.mb_y)


_means_of_nothing: ContextVar[float] = ContextVar("means_of_nothing", default=0.0)
"""What a mean of Avalanche is of nothing: 0 as ever, but NaN while it measures for us."""

_mean = Mean.result


@functools.wraps(_mean)
def _mean_or_nothing(mean: Mean) -> float:
    return _mean(mean) if mean.weight else _means_of_nothing.get()


# Once and for all threads: whoever else asks a mean, in any thread, hears what he always heard.
Mean.result = _mean_or_nothing


@contextmanager
def _means_of_nothing_undefined() -> Iterator[None]:
    token = _means_of_nothing.set(math.nan)
    try:
        yield
    finally:
        _means_of_nothing.reset(token)


def _values(result: Any) -> Sequence[MetricValue]:
    if result is None:
        return []
    return result if isinstance(result, Sequence) else [result]


def _measured(value: MetricValue) -> bool:
    return not (isinstance(value.value, float) and math.isnan(value.value))
