"""The benchmark's report is complete and consistent; how fast anything is, no test says."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mkgc_cl.models import DualStreamModel
from mkgc_cl.scenarios import demo, make_benchmark
from mkgc_cl.strategies.catalogue import build_system
from mkgc_cl.strategies.recipe import Encoders, Training

SAMPLES, TASKS, EPOCHS, BATCH = 8, 3, 2, 4


@pytest.fixture(scope="module")
def modules() -> SimpleNamespace:
    from mkgc_cl.experiments.pipeline import settings
    from mkgc_cl.experiments.speed import cli, clock, costs, rounds, summary, systems, text

    return SimpleNamespace(
        cli=cli,
        costs=costs,
        clock=clock,
        rounds=rounds,
        summary=summary,
        systems=systems,
        text=text,
        settings=settings,
    )


@pytest.fixture(scope="module")
def report(modules: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("benchmark") / "report.json"
    sizes = [
        "--task",
        "ner",
        "--samples",
        str(SAMPLES),
        "--tasks",
        str(TASKS),
        "--epochs",
        str(EPOCHS),
    ]
    small = [f"training.batch_size={BATCH}", "stream.train_per_task=16", "stream.test_size=16"]
    small += ["MSPT.replay_schedule=after", f"MSPT.memory_epochs={EPOCHS}"]
    command = [*sizes, "--rounds", "1", "--quiet", "--json", str(path), *small]
    assert modules.cli.main(command) == 0
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def bench(modules: SimpleNamespace) -> Any:
    stream = demo(task="ner", train_per_task=8, test_size=8).stream
    stream = modules.cli.smaller(stream, per_split=SAMPLES, tasks=2)
    training = modules.settings.TrainingSettings(epochs=EPOCHS, batch_size=BATCH)
    settings = modules.settings.Settings(training=training)
    model = DualStreamModel.build(stream.labels)
    return modules.systems.Bench(settings, make_benchmark(stream), model, torch.device("cpu"))


@pytest.fixture(scope="module")
def runs(modules: SimpleNamespace, bench: Any) -> list[Any]:
    """Both tasks under the whole method."""
    system = modules.systems.Measured(bench.benchmark, bench.whole_method())
    return [system.run_task(index) for index in range(2)]


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for item in value.values():
            yield from numbers(item)
    elif isinstance(value, list):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, float):
        yield value


@pytest.mark.slow
def test_the_report_is_complete(report: dict[str, Any]) -> None:
    assert list(report["systems"]) == ["MSPT", "bare loop", "fine-tuning"]  # sorted by JSON
    for system in report["systems"].values():
        assert min(system["samples_per_second"].values()) > 0
        assert system["memory_mb"]["peak"] >= system["memory_mb"]["before"] > 0
        assert system["flops"]["giga_per_sample"] > 0
    assert all(math.isfinite(number) for number in numbers(report))
    assert report["machine"]["matrix_product_flops"] > 0
    assert [flag["name"] for flag in report["flags"]] == [
        "as shipped",
        "no length buckets",
        "an image encoded for every sample",
        "AdamW foreach, not fused",
    ]
    assert report["flags"][0]["factor"] == 1.0


@pytest.mark.slow
def test_parts_sum_to_the_step(report: dict[str, Any]) -> None:
    for name in ("fine-tuning", "MSPT"):
        split = report["systems"][name]["split"]
        parts = split["parts"].values()
        assert sum(part["ms"] for part in parts) == pytest.approx(split["step_ms"])
        assert sum(part["percent"] for part in parts) == pytest.approx(100)
        plugins = sum(split["plugins_ms"].values())
        assert plugins == pytest.approx(split["parts"]["plugins"]["ms"])
        assert split["steps"] == TASKS * EPOCHS * SAMPLES // BATCH
    assert "teacher pass" in report["systems"]["MSPT"]["split"]["plugins_ms"]
    assert "teacher pass" not in report["systems"]["fine-tuning"]["split"]["plugins_ms"]


@pytest.mark.slow
def test_the_bare_loop_trains_the_same_model(report: dict[str, Any]) -> None:
    assert report["same_weights"] is True


@pytest.mark.slow
def test_every_aim_is_printed_with_its_verdict(
    modules: SimpleNamespace, report: dict[str, Any]
) -> None:
    aimed = [ratio for ratio in report["ratios"] if ratio["aim"] is not None]
    assert [ratio["aim"] for ratio in aimed] == [1.05, 1.5, 1.05]
    assert all(ratio["met"] == (ratio["value"] <= ratio["aim"]) for ratio in aimed)
    missed = [{**ratio, "met": False} for ratio in report["ratios"]]
    text = modules.text.text_of({**report, "ratios": missed})
    assert text.count("MISSED") == len(missed)
    for word in ("samples/s", "peak MB", "teacher pass", "1024^3", "evaluation", "no length"):
        assert word in text


@pytest.mark.slow
def test_no_time_is_lost_or_counted_twice(runs: list[Any]) -> None:
    for run in runs:
        for step in run.steps:
            assert sum(step.parts.values()) == pytest.approx(step.time.wall)
        assert sum(step.time.wall for step in run.steps) <= run.training.wall
        assert run.evaluation > 0


def test_steps_know_their_epoch_and_phase(runs: list[Any]) -> None:
    first, second = runs
    epochs = [epoch for epoch in range(EPOCHS) for _ in range(SAMPLES // BATCH)]
    assert [step.epoch for step in first.steps] == epochs
    assert not first.replayed()
    assert [step.epoch for step in second.current()] == epochs
    assert {step.epoch for step in second.replayed()} == set(range(EPOCHS))
    for run in runs:
        assert sum(step.current for step in run.steps) == SAMPLES * EPOCHS
    # the teacher sees a sample once, whatever the epochs; the first task has none
    taught = [[step for step in run.steps if "teacher pass" in step.parts] for run in runs]
    assert [sum(step.samples for step in steps) for steps in taught] == [0, SAMPLES]
    assert {step.epoch for step in taught[1]} == {0}


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["mixed", "alternate"])
def test_replayed_samples_are_told_from_current_ones(
    modules: SimpleNamespace, bench: Any, schedule: str
) -> None:
    settings = dataclasses.replace(bench.settings, options={"MSPT": {"replay_schedule": schedule}})
    strategy = dataclasses.replace(bench, settings=settings).whole_method()
    system = modules.systems.Measured(bench.benchmark, strategy)
    first, second = (system.run_task(index) for index in range(2))
    assert not any(step.replayed for step in first.steps)
    assert [step.epoch for step in second.current()] == [step.epoch for step in first.steps]
    assert sum(step.current for step in second.steps) == SAMPLES * EPOCHS
    beside = [step.replayed > 0 for step in second.current()]
    assert beside == [schedule == "mixed"] * len(beside)
    assert len(second.replayed()) == (len(beside) if schedule == "alternate" else 0)


def test_operations_are_counted_once_for_all_training(modules: SimpleNamespace, bench: Any) -> None:
    """Of one linear layer: 2 x rows x weights forward, twice that backward (but for its input)."""

    class Layer:
        def __init__(self) -> None:
            self.model = torch.nn.Linear(6, 4)

        def train_task(self, index: int) -> Any:
            self.model(torch.ones(5, 6)).sum().backward()
            clock = modules.clock
            return clock.TaskRun([clock.Step(clock.NO_TIME, 7, 7, 7, 1, replayed=2)])

    counted = modules.rounds.operations_per_sample(Layer(), 2)
    assert counted == 2 * (2 * 5 * 6 * 4) / 5  # by the current samples of a step


def test_a_ratio_forgives_one_disturbed_round(modules: SimpleNamespace) -> None:
    clock = modules.clock

    def rounds(*rows: tuple[float, float]) -> list[list[Any]]:
        def step(wall: float) -> Any:
            return clock.Step(clock.Instant(wall, wall / 2), 1, 1, 1, 1)

        return [[clock.TaskRun([step(wall) for wall in row])] for row in rows]

    above, below = rounds((2, 8), (2, 8), (2, 99)), rounds((1, 4), (1, 4), (1, 4))
    found = modules.summary.ratio(above, below)
    assert found == {"value": 2.0, "cpu": 2.0, "low": 2.0, "high": pytest.approx(101 / 5)}


def test_images_of_their_own_change_no_score(modules: SimpleNamespace, bench: Any) -> None:
    samples = bench.benchmark.train_stream[0].samples[:2]
    shared, _ = bench.model.processor.collate([*samples, *samples])
    own = modules.systems.one_image_each(shared)
    assert len(shared["images"]) == 2
    assert len(own["images"]) == 4
    model = bench.model.eval()
    with torch.no_grad():
        torch.testing.assert_close(model(own).logits, model(shared).logits)
    model.train()


def test_a_smaller_stream_is_spread_over_the_whole(modules: SimpleNamespace) -> None:
    stream = demo(task="re", train_per_task=20, test_size=40).stream
    part = modules.cli.smaller(stream, per_split=4, tasks=2)
    assert len(part.tasks) == 2
    assert part.labels.classes == stream.labels.classes[:4]
    assert part.tasks[1].train == stream.tasks[1].train[::5]
    assert modules.cli.smaller(stream, per_split=10**6, tasks=None) == stream


def test_wrong_sizes_are_told(modules: SimpleNamespace, capsys: Any) -> None:
    assert modules.cli.main(["--samples", "0", "--rounds", "0"]) == 2
    message = capsys.readouterr().err
    assert "--samples is 0; give 1 or more" in message
    assert "--rounds is 0" in message


@pytest.mark.slow
def test_the_command_line_answers_without_torch() -> None:
    code = "import sys; from mkgc_cl.experiments.speed import cli; cli.parse([]); "
    code += "sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert done.returncode == 0


@pytest.mark.slow
def test_every_system_of_the_tables_has_its_line(
    modules: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "costs.json"
    names = "Vanilla,EWC,RP-CRE,MSPT,Frozen + Gaussian"
    argv = ["--systems", names, "--samples", "8", "--tasks", "2", "--epochs", "1", "--quiet"]
    argv += ["--json", str(path), "stream.train_per_task=16", "stream.test_size=16"]
    argv += ["RP-CRE.memory_epochs=1", "exemplars=2"]
    assert modules.cli.main(argv) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("demo-re, 2 tasks of at most 8 samples, 1 epoch, ")
    costs = {cost["system"]: cost for cost in json.loads(path.read_text())["systems"]}
    assert list(costs) == names.split(",")
    closed = costs["Frozen + Gaussian"]  # takes no steps
    assert (closed["samples_per_second"], closed["step_ms"]) == (None, [None] * 2)
    for name, cost in costs.items():
        assert cost is closed or cost["samples_per_second"] > 0
        assert len(cost["seconds"]) == len(cost["step_ms"]) == 2
        assert any(line.startswith(f"{name} ") for line in printed)
    assert costs["Vanilla"]["exemplars"] == 0 == costs["Vanilla"]["state_mb"]
    assert costs["Vanilla"]["exemplar_mb"] == 0
    assert 0 < costs["RP-CRE"]["exemplars"] <= 2 * 5
    # of 3 * 32 * 32 bytes or more an image, which RP-CRE does not read
    assert costs["MSPT"]["exemplar_mb"] * 1e6 > 3 * 32 * 32
    assert 0 < costs["RP-CRE"]["exemplar_mb"] * 1e6 < 1000 * costs["RP-CRE"]["exemplars"]
    assert costs["RP-CRE"]["state_mb"] > 0  # attention over memory, and its prototypes
    # online EWC holds two copies of the model, whatever the number of tasks
    ewc = build_system(
        "EWC",
        demo("re").labels,
        encoders=Encoders(max_text_length=64),
        training=Training(),
    )
    weights = sum(p.numel() * 4 for p in ewc.network.parameters())
    assert costs["EWC"]["state_mb"] == pytest.approx(2 * weights / 1e6, rel=0.01)


def test_unknown_systems_are_refused(modules: SimpleNamespace, capsys: Any) -> None:
    assert modules.cli.main(["--systems", "Vanila", "--quiet"]) == 2
    assert "did you mean 'Vanilla'" in capsys.readouterr().err


def test_no_system_is_not_every_system(modules: SimpleNamespace, capsys: Any) -> None:
    assert modules.cli.main(["--systems", "", "--quiet"]) == 2
    assert "--systems is empty; give a value" in capsys.readouterr().err


def test_where_numbers_go_is_known_before_they_are_measured(
    modules: SimpleNamespace, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "file").touch()
    assert modules.cli.main(["--json", str(tmp_path / "file" / "a.json"), "--quiet"]) == 1
    assert "file: results cannot be kept there (Not a directory)" in capsys.readouterr().err
    assert modules.cli.main(["--json", "", "--quiet"]) == 2
    assert "--json is empty" in capsys.readouterr().err


def test_quick_is_no_benchmark_of_real_samples(modules: SimpleNamespace, capsys: Any) -> None:
    for more in ([], ["--systems", "Vanilla"]):
        assert modules.cli.main(["--quick", "--scenario", "imre", "--quiet", *more]) == 2
        assert "leave out --quick to run on imre" in capsys.readouterr().err


@pytest.mark.slow
def test_all_systems_are_built_before_the_first_is_measured(
    modules: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """A wrong option of the last must not throw away what was measured before it."""

    def measured(*_: object) -> None:
        raise AssertionError("measured before the last was built")

    monkeypatch.setattr(modules.costs, "Measured", measured)
    argv = ["--systems", "Vanilla,EWC,MSPT", "EWC.weight=-3", "MSPT.alpha=-1"]
    assert modules.cli.main([*argv, "stream.train_per_task=16", "--quiet"]) == 2
    told = capsys.readouterr().err
    assert "EWC: weight=-3.0; give 0 or more" in told
    assert "MSPT: alpha=-1.0" in told
    assert "2 mistake(s)" in told
