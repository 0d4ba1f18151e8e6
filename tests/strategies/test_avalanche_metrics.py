"""Avalanche's metrics read samples and words, keep streams apart and emit nothing unmeasured."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from avalanche.evaluation import metrics as found
from avalanche.logging import BaseLogger
from matplotlib import pyplot

from mkgc_cl.scenarios import make_benchmark
from mkgc_cl.strategies import JsonLinesLogger, continual_evaluator, measured
from mkgc_cl.strategies.avalanche_parts import METRICS

EVAL = {"experience": True, "stream": True}
ALL = {"minibatch": True, "epoch": True, **EVAL}
MAKE: dict[str, Callable[[], Any]] = {
    "accuracy_metrics": lambda: found.accuracy_metrics(**ALL, trained_experience=True),
    "amca_metrics": lambda: found.amca_metrics(),
    "class_accuracy_metrics": lambda: found.class_accuracy_metrics(**ALL),
    "topk_acc_metrics": lambda: found.topk_acc_metrics(top_k=2, **ALL),
    "confusion_matrix_metrics": lambda: found.confusion_matrix_metrics(stream=True),
    "CumulativeAccuracyPluginMetric": lambda: found.CumulativeAccuracyPluginMetric(),
    "CumulativeForgettingPluginMetric": lambda: found.CumulativeForgettingPluginMetric(),
    "forgetting_metrics": lambda: found.forgetting_metrics(**EVAL),
    "bwt_metrics": lambda: found.bwt_metrics(**EVAL),
    "labels_repartition_metrics": lambda: found.labels_repartition_metrics(on_eval=True),
    "loss_metrics": lambda: found.loss_metrics(**ALL),
    "timing_metrics": lambda: found.timing_metrics(**ALL),
    "cpu_usage_metrics": lambda: found.cpu_usage_metrics(**ALL),
    # of a folder that no other test writes to: du fails on a file that goes away meanwhile
    "disk_usage_metrics": lambda: found.disk_usage_metrics(
        paths_to_monitor=str(Path(found.__file__).parent), **ALL
    ),
}


@pytest.fixture(autouse=True)
def _figures_closed() -> Iterator[None]:
    """Avalanche leaves the figures it draws open."""
    yield
    pyplot.close("all")


def predictions(strategy: Any, experience: Any) -> list[tuple[int, int]]:
    """Predicted and true output of every sample or word, sample by sample on the bare model."""
    model = strategy.network.eval()
    pairs = []
    for sample in experience.samples:
        with torch.no_grad():
            (decoded,) = model.decode(model(model.processor.collate([sample])[0]))
        pairs += list(zip(decoded, model.processor.target(sample), strict=True))
    return pairs


def share(pairs: list[tuple[int, int]]) -> float:
    return sum(best == true for best, true in pairs) / len(pairs)


def trained(kit: Any, kind: str, *metrics: Any, tasks: int = 1, **options: Any) -> tuple[Any, Any]:
    """A strategy that learned something of its first task, so that no measure is 0."""
    benchmark = kit.benchmark(kind, tasks)
    strategy = kit.strategy(
        benchmark.labels, evaluator=continual_evaluator(metrics=metrics), epochs=6, **options
    )
    strategy.train(benchmark.train_stream[0])
    return strategy, benchmark


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "tagger"), [("re", "softmax"), ("ner", "crf"), ("ner", "softmax")]
)
def test_accuracy_and_confusion_count_what_the_model_predicts(
    kit: Any, kind: str, tagger: str
) -> None:
    model = kit.model(kit.benchmark(kind, 2).labels, tagger=tagger)
    strategy, benchmark = trained(
        kit,
        kind,
        found.accuracy_metrics(**EVAL),
        found.class_accuracy_metrics(stream=True),
        found.confusion_matrix_metrics(stream=True, save_image=False, num_classes=5),
        tasks=2,
        model=model,
    )
    values = strategy.eval(benchmark.test_stream)
    parts = [predictions(strategy, experience) for experience in benchmark.test_stream]
    place = "eval_phase/test_stream"
    for number, pairs in enumerate(parts):
        accuracy = values[f"Top1_Acc_Exp/{place}/Task000/Exp{number:03d}"]
        assert accuracy == pytest.approx(share(pairs))
    pooled = [pair for pairs in parts for pair in pairs]
    assert 0 < share(pooled) < 1
    assert values[f"Top1_Acc_Stream/{place}/Task000"] == pytest.approx(share(pooled))
    for true in {true for _, true in pooled}:
        own = share([pair for pair in pooled if pair[1] == true])
        assert values[f"Top1_ClassAcc_Stream/{place}/Task000/{true}"] == pytest.approx(own)
    matrix = torch.zeros(5, 5, dtype=torch.long)
    for best, true in pooled:
        matrix[true, best] += 1
    assert torch.equal(values[f"ConfusionMatrix_Stream/{place}"], matrix)


@pytest.mark.slow
def test_forgetting_keeps_streams_apart_and_is_silent_before_there_is_any(kit: Any) -> None:
    """One evaluator, two streams: Avalanche's own would take one stream's start for the other's."""
    held = found.StreamForgetting()
    strategy, benchmark = trained(kit, "re", found.forgetting_metrics(**EVAL), held, tasks=2)
    starts = {}
    for name in ("valid", "test"):
        stream = getattr(benchmark, f"{name}_stream")
        values = strategy.eval(stream)
        starts[name] = share(predictions(strategy, stream[0]))
    assert not any("StreamForgetting" in name or "ExperienceF" in name for name in values)
    strategy.train(benchmark.train_stream[1])
    for name, start in starts.items():
        stream = getattr(benchmark, f"{name}_stream")
        values = strategy.eval(stream)
        lost = start - share(predictions(strategy, stream[0]))
        assert values[f"StreamForgetting/eval_phase/{name}_stream"] == pytest.approx(lost)
    assert starts["valid"] != starts["test"]
    assert held.result() == pytest.approx(  # the metric one holds is that of the first stream
        values["StreamForgetting/eval_phase/valid_stream"]
    )


def test_nothing_is_emitted_that_was_not_measured(kit: Any, kind: str) -> None:
    """No sample, no class, no value: Avalanche says 0 of each."""
    stream = kit.stream(kind, 2)
    first, second = stream.tasks
    benchmark = make_benchmark(replace(stream, tasks=(first, replace(second, test=()))))
    metrics = [
        found.accuracy_metrics(**EVAL),
        found.loss_metrics(**EVAL),
        found.class_accuracy_metrics(experience=True),
        found.forgetting_metrics(**EVAL),
    ]
    strategy = kit.strategy(benchmark.labels, evaluator=continual_evaluator(metrics=metrics))
    strategy.train(benchmark.train_stream[0])
    strategy.eval(benchmark.valid_stream)
    values = strategy.eval(benchmark.test_stream)
    own = {name: value for name, value in values.items() if name.startswith(("Top1", "Loss"))}
    assert any("test_stream/Task000/Exp000" in name for name in own)
    assert not any("test_stream/Task000/Exp001" in name for name in own)
    classes = {
        int(name.rsplit("/", 1)[1]) for name in own if "valid_stream/Task000/Exp001/" in name
    }
    assert classes == {y for s in second.valid for y in strategy.network.processor.target(s)}


def test_means_of_others_are_what_they_were_while_ours_measure() -> None:
    """In another thread, and in this one afterwards, in whatever order two runs come to an end."""
    inside, outside = threading.Event(), threading.Event()
    heard: list[float] = []

    def other() -> None:
        inside.wait()
        heard.append(found.Mean().result())
        with measured._means_of_nothing_undefined():
            outside.set()
            heard.append(found.Mean().result())

    thread = threading.Thread(target=other)
    thread.start()
    with measured._means_of_nothing_undefined():
        heard.append(found.Mean().result())
        inside.set()
        outside.wait()
    thread.join()
    assert math.isnan(heard[0])
    assert heard[1] == 0
    assert math.isnan(heard[2])
    assert found.Mean().result() == 0


@pytest.mark.slow
def test_loss_weighs_samples(kit: Any, kind: str) -> None:
    strategy, benchmark = trained(kit, kind, found.loss_metrics(stream=True))
    values = strategy.eval(benchmark.test_stream)
    model, losses = strategy.network.eval(), []
    for sample in benchmark.test_stream[0].samples:
        batch, targets = model.processor.collate([sample])
        with torch.no_grad():
            losses.append(float(model.loss(model(batch), targets)))
    mean = sum(losses) / len(losses)
    assert values["Loss_Stream/eval_phase/test_stream/Task000"] == pytest.approx(mean, rel=1e-4)


def test_a_matrix_reaches_json_lines_as_numbers(kit: Any, tmp_path: Path) -> None:
    benchmark = kit.benchmark("re", 1)
    logger = JsonLinesLogger(tmp_path / "m.jsonl")
    metrics = found.confusion_matrix_metrics(stream=True)
    evaluator = continual_evaluator(logger, metrics=metrics)
    kit.strategy(benchmark.labels, evaluator=evaluator).eval(benchmark.test_stream)
    lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    (matrix,) = [line["value"] for line in lines if line["name"].startswith("ConfusionMatrix")]
    assert sum(map(sum, matrix)) == len(benchmark.test_stream[0].samples)


def test_every_metric_that_is_said_to_work_is_tried() -> None:
    assert set(MAKE) == {part.name for part in METRICS if part.works}


class Heard(BaseLogger):
    """Keeps every value, with the metric it is of."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[Any] = []

    def log_metrics(self, metric_values: list[Any]) -> None:
        self.values += metric_values


@pytest.mark.slow
def test_all_emit_numbers_of_their_own_and_disturb_nothing(kit: Any, kind: str) -> None:
    benchmark = kit.benchmark(kind, 2)
    plain = kit.train(kit.strategy(benchmark.labels), benchmark)
    heard, made = Heard(), {name: make() for name, make in MAKE.items()}
    evaluator = continual_evaluator(heard, metrics=list(made.values()))
    strategy = kit.strategy(benchmark.labels, evaluator=evaluator)
    for experience in benchmark.train_stream:
        strategy.train(experience)
        strategy.eval(benchmark.test_stream)
        strategy.eval(benchmark.valid_stream)
    assert kit.same(kit.weights(strategy), plain)
    emitted = {type(value.origin) for value in heard.values}
    for name, metrics in made.items():
        parts = metrics if isinstance(metrics, list) else [metrics]
        assert {type(part) for part in parts} & emitted, name
    numbers = [value.value for value in heard.values if isinstance(value.value, float)]
    assert all(map(math.isfinite, numbers))
