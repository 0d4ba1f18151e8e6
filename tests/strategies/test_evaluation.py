"""Metrics of a run: the matrix against a recount, and what reaches every logger."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from avalanche.logging import CSVLogger, InteractiveLogger, TensorboardLogger, TextLogger
from avalanche.training.plugins import EvaluationPlugin

from mkgc_cl.errors import ConfigError
from mkgc_cl.metrics import Counts
from mkgc_cl.scenarios import make_benchmark
from mkgc_cl.strategies import (
    ContinualMetrics,
    JsonLinesLogger,
    PrototypeReplayPlugin,
    continual_evaluator,
    run_stream,
)
from mkgc_cl.strategies.avalanche_parts import LOGGERS
from mkgc_cl.strategies.evaluation import result_matrix


def entities(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """Strict BIO by pattern matching on the joined tags, as far from the library as it gets."""
    found = set()
    text = " ".join(tags) + " "
    starts = [0, *(match.end() for match in re.finditer(" ", text))]
    for match in re.finditer(r"B-(\w+) (I-\1 )*", text):
        found.add((match[1], starts.index(match.start()), starts.index(match.end())))
    return found


def recount(strategy: Any, experience: Any) -> tuple[int, int, int]:
    """True positives, predicted and gold of one experience, sample by sample, on the bare model."""
    model = strategy.network.eval()
    tp = predicted = gold = 0
    for sample in experience.samples:
        with torch.no_grad():
            decoded = model.decode(model(model.processor.collate([sample])[0]))[0]
        names = [experience.labels.outputs[index] for index in decoded]
        if experience.labels.kind == "re":
            found = set(names) - {experience.na}
            wanted = {sample.relation} - {experience.na}
        else:
            found = {e for e in entities(names) if e[0] in experience.classes}
            wanted = {e for e in entities(sample.tags) if e[0] in experience.classes}
        tp += len(found & wanted)
        predicted += len(found)
        gold += len(wanted)
    return tp, predicted, gold


def f1(tp: int, predicted: int, gold: int) -> float:
    return 2 * tp / (predicted + gold)


def pooled(runs: Sequence[tuple[int, int, int]]) -> float:
    return f1(*(sum(column) for column in zip(*runs, strict=True)))


def learner(kit: Any, labels: Any, *loggers: Any, epochs: int = 6, **options: Any) -> Any:
    """A strategy that learns these tiny streams well enough for counts that are not zero."""
    return kit.strategy(
        labels,
        PrototypeReplayPlugin(size=2, epochs=2),
        evaluator=continual_evaluator(*loggers),
        epochs=epochs,
        lr=0.02,
        dropout=0.0,
        **options,
    )


@pytest.mark.slow
def test_matrix_and_measures_against_a_recount(kit: Any, kind: str) -> None:
    benchmark = kit.benchmark(kind, 3)
    strategy = learner(kit, benchmark.labels)
    rows: dict[str, list[list[tuple[int, int, int]]]] = {"valid": [], "test": []}
    emitted: list[dict[str, float]] = []
    for experience in benchmark.train_stream:
        strategy.train(experience)
        strategy.eval(benchmark.valid_stream)
        emitted.append(strategy.eval(benchmark.test_stream))
        for stream, table in rows.items():
            table.append([recount(strategy, e) for e in benchmark.streams[stream]])
    matrix = result_matrix(strategy)
    assert matrix is not None
    assert matrix.streams == ("test", "valid")
    for stream, table in rows.items():
        for after, row in enumerate(table):
            for on, run in enumerate(row):
                assert matrix.counts(stream, after=after, on=on) == Counts(*run)
    test = rows["test"]
    assert sum(run[0] for row in test for run in row) > 2
    assert rows["valid"] != test
    for k, values in enumerate(emitted):
        single = [[f1(*run) for run in row] for row in test]
        lost = [max(single[a][j] for a in range(j, k)) - single[k][j] for j in range(k)]
        change = [single[k][j] - single[j][j] for j in range(k)]
        expected = {
            "A_Stream": pooled(test[k][: k + 1]),
            "U_Stream": single[k][k],
        }
        if k:  # before there is an earlier task nothing can be forgotten
            expected |= {"Forgetting_Stream": sum(lost) / k, "BWT_Stream": sum(change) / k}
        else:
            assert not any(name.startswith(("Forgetting", "BWT")) for name in values)
        for name, value in expected.items():
            assert values[f"{name}/eval_phase/test_stream"] == pytest.approx(value), (name, k)
        for on in range(3):
            name = f"F1_Exp/eval_phase/test_stream/Exp{on:03d}"
            assert values[name] == pytest.approx(single[k][on])


@pytest.mark.slow
def test_evaluation_in_the_middle_of_a_task_leaves_earlier_rows_alone(kit: Any) -> None:
    """With ``eval_every=1`` the matrix must be the one of a run that evaluates between tasks."""
    benchmark = kit.benchmark("re", 2)
    quiet = learner(kit, benchmark.labels, epochs=5)
    busy = learner(kit, benchmark.labels, epochs=5, eval_every=1)
    for number, experience in enumerate(benchmark.train_stream, start=1):
        quiet.train(experience)
        quiet.eval(benchmark.test_stream[:number])
        busy.train(experience, eval_streams=[benchmark.test_stream[:number]])
        busy.eval(benchmark.test_stream[:number])
    matrix, other = result_matrix(quiet), result_matrix(busy)
    assert matrix is not None
    assert other is not None
    assert max(matrix.average_f1("test")) > 0
    assert matrix.average_f1("test") == other.average_f1("test")
    assert matrix.plasticity("test") == other.plasticity("test")
    assert matrix.forgetting("test") == other.forgetting("test")
    last = other.before("test")  # evaluated before any training, too
    assert last[0] is not None


@pytest.mark.slow
def test_incomplete_evaluations_emit_what_they_can(kit: Any) -> None:
    """Evaluating old tasks only, in the middle of a task and after, is no error."""
    benchmark = kit.benchmark("re", 2)
    strategy = kit.strategy(benchmark.labels, evaluator=continual_evaluator(), eval_every=1)
    strategy.train(benchmark.train_stream[0], eval_streams=[benchmark.test_stream[:1]])
    values = strategy.train(benchmark.train_stream[1], eval_streams=[benchmark.test_stream[:1]])
    strategy.eval(benchmark.valid_stream[1:])
    assert "F1_Exp/eval_phase/test_stream/Exp000" in values
    assert "F1_Exp/eval_phase/test_stream/Exp001" not in values


def test_empty_experiences_can_be_evaluated(kit: Any, kind: str) -> None:
    stream = kit.stream(kind, 1)
    benchmark = make_benchmark(
        replace(stream, tasks=tuple(replace(task, valid=()) for task in stream.tasks))
    )
    strategy = kit.strategy(benchmark.labels, evaluator=continual_evaluator())
    strategy.train(benchmark.train_stream[0])
    assert strategy.eval(benchmark.valid_stream) == {}  # nothing to find, nothing measured


NAMES = (
    "F1_Exp/eval_phase/test_stream/Exp000",
    "A_Stream/eval_phase/test_stream",
    "U_Stream/eval_phase/test_stream",
    "Forgetting_Stream/eval_phase/test_stream",
    "BWT_Stream/eval_phase/test_stream",
)


@pytest.mark.slow
def test_every_logger_shows_every_metric(
    kit: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = io.StringIO()
    board = TensorboardLogger(tmp_path / "board")
    loggers = [InteractiveLogger(), TextLogger(text), board, JsonLinesLogger(tmp_path / "m.jsonl")]
    promised = {part.name for part in LOGGERS if part.works}
    assert promised == {type(logger).__name__ for logger in loggers[:-1]}
    benchmark = kit.benchmark("re", 2)
    strategy = learner(kit, benchmark.labels, *loggers)
    history: dict[str, list[float]] = {name: [] for name in NAMES}
    steps: dict[str, list[int]] = {name: [] for name in NAMES}
    for number, experience in enumerate(benchmark.train_stream):
        strategy.train(experience)
        values = strategy.eval(benchmark.test_stream)
        for name in NAMES if number else NAMES[:3]:  # of one task nothing can be forgotten
            history[name].append(values[name])
            steps[name].append(strategy.clock.train_iterations)
    assert any(value > 0 for values in history.values() for value in values)

    printed = capsys.readouterr().out
    for shown in (printed, text.getvalue()):
        for name, values in history.items():
            found = re.findall(rf"{re.escape(name)} = (-?\d\.\d+)", shown)
            assert [float(value) for value in found] == [round(value, 4) for value in values]

    lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    for name, values in history.items():
        own = [(line["step"], line["value"]) for line in lines if line["name"] == name]
        assert own == list(zip(steps[name], values, strict=True))

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board.writer.close()
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    for name, values in history.items():
        scalars = events.Scalars(name)
        assert [event.step for event in scalars] == steps[name]
        assert [event.value for event in scalars] == pytest.approx(values)


@pytest.mark.slow
def test_what_cannot_be_measured_reaches_no_logger(kit: Any, kind: str, tmp_path: Path) -> None:
    """The second of three tasks has no positive test sample."""
    stream = kit.stream(kind, 3)
    first, second, third = stream.tasks
    if kind == "re":
        negative = tuple(s for s in second.test if s.relation == stream.labels.na)
    else:
        negative = tuple(replace(s, tags=("O",) * len(s.tags)) for s in second.test)
    assert negative  # which may give false alarms
    second = replace(second, test=negative)
    benchmark = make_benchmark(replace(stream, tasks=(first, second, third)))
    strategy = kit.strategy(
        benchmark.labels, evaluator=continual_evaluator(JsonLinesLogger(tmp_path / "m.jsonl"))
    )
    matrix = run_stream(strategy, benchmark).matrix
    counts = matrix.counts("test", after=1, on=1)
    assert (counts.tp, counts.gold) == (0, 0)
    lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    written = [line["name"].partition("/eval_phase/test_stream") for line in lines]
    names = [head + tail for head, _, tail in written]
    lost = ["Forgetting_Stream", "BWT_Stream"]
    assert names == [
        *("F1_Exp/Exp000", "A_Stream", "U_Stream"),
        *("F1_Exp/Exp000", "A_Stream", *lost),
        *("F1_Exp/Exp000", "F1_Exp/Exp002", "A_Stream", "U_Stream", *lost),
    ]
    assert strategy.evaluator.get_last_metrics().keys() == {line["name"] for line in lines}
    assert all(isinstance(line["value"], float) for line in lines)


def test_a_logger_that_makes_zeros_up_is_refused_by_name(kit: Any, tmp_path: Path) -> None:
    logger = CSVLogger(str(tmp_path))
    labels = kit.benchmark("re", 1).labels
    by_hand = EvaluationPlugin(ContinualMetrics(), loggers=[logger])
    for build in (
        lambda: continual_evaluator(TextLogger(io.StringIO()), logger),
        lambda: kit.strategy(labels, evaluator=by_hand),
    ):
        with pytest.raises(ConfigError) as caught:
            build()
        (problem,) = caught.value.problems
        assert "CSVLogger" in problem
        assert "JsonLinesLogger" in problem
    logger.close()
    written = "".join(path.read_text() for path in tmp_path.iterdir())
    assert not any(character.isdigit() for character in written)


def test_json_lines_are_appended_to_and_folders_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "metrics.jsonl"
    JsonLinesLogger(path).log_single_metric("x", 0.5, 1)
    JsonLinesLogger(path).log_single_metric("y", torch.tensor([1, 2]), 2)  # a run taken up again
    first, second = map(json.loads, path.read_text().splitlines())
    assert first == {"name": "x", "value": 0.5, "step": 1}
    assert second["value"] == [1, 2]
