"""What a system says, row by row, and what its label leaves open."""

from __future__ import annotations

from typing import Any

import pytest

from mkgc_cl.data.samples import TaggingSample
from mkgc_cl.metrics.counts import Counts
from mkgc_cl.strategies import GaussianReadoutPlugin
from mkgc_cl.strategies.confidence import confidence, merged, readings


@pytest.fixture
def trained(kit: Any, kind: str) -> Any:
    """A strategy with a Gaussian readout, trained on two tasks, and its stream."""
    benchmark = kit.benchmark(kind, 2)
    model = kit.text_model(benchmark.labels, layers=(2, 3))
    strategy = kit.strategy(benchmark.labels, GaussianReadoutPlugin(), model=model)
    kit.train(strategy, benchmark)
    return strategy, benchmark


def test_its_samples_add_up_to_the_score(trained: Any) -> None:
    strategy, benchmark = trained
    classes = benchmark.labels.classes
    samples = [s for task in benchmark.stream.tasks for s in task.test]
    found = readings(strategy, [(merged(samples), classes)])
    tags = benchmark.labels.kind == "ner"
    rows = sum(len(s.tokens) if tags else 1 for s in merged(samples))
    assert len(found.scores) == len(found.labels) == len(found.sample) == rows
    assert all(len(label) == 1 for label in found.labels)
    strategy.eval(benchmark.test_stream)
    (metric,) = [m for m in strategy.evaluator.metrics if hasattr(m, "matrix")] or [None]
    total = sum(found.counts, Counts())
    assert total.gold > 0
    if metric is not None:
        assert metric.matrix.average_f1("test")[-1] == pytest.approx(total.f1)


def test_a_tasks_o_leaves_other_types_open(kit: Any) -> None:
    benchmark = kit.benchmark("ner", 2)
    model = kit.text_model(benchmark.labels, layers=(2, 3))
    strategy = kit.strategy(benchmark.labels, GaussianReadoutPlugin(), model=model)
    kit.train(strategy, benchmark)
    task = benchmark.stream.tasks[0]
    found = readings(strategy, [(task.valid, task.classes)])
    outputs = benchmark.labels.outputs  # O, B and I of the first type, then of the second
    assert len(outputs) == 5
    assert set(found.labels) == {frozenset({0, 3, 4}), frozenset({1}), frozenset({2})}


def test_a_temperature_is_fitted_and_measured(trained: Any) -> None:
    strategy, benchmark = trained
    found = confidence(strategy, benchmark.stream.tasks)
    assert 0.01 <= found.temperature <= 100
    assert sum(each.n for each in found.before) == sum(each.n for each in found.after)
    assert found.curve[-1][0] == 1.0
    assert all(0 <= error <= 1 for error in found.errors)


def test_sentences_of_several_tasks_are_one() -> None:
    one = TaggingSample("a", ("x", "y"), ("B-PER", "O"))
    other = TaggingSample("a", ("x", "y"), ("O", "B-LOC"))
    (found,) = merged([one, other])
    assert isinstance(found, TaggingSample)
    assert found.tags == ("B-PER", "B-LOC")
