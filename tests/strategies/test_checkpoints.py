"""A run goes on from its checkpoints to the end that it would have had, or says why it does not."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin

from mkgc_cl.data.samples import Sample
from mkgc_cl.errors import ConfigError, DataError, MissingDataError, TrainingError
from mkgc_cl.strategies import (
    AttentionDistillationPlugin,
    Checkpointing,
    CumulativePlugin,
    EWCPlugin,
    GradientModulationPlugin,
    PrototypeReplayPlugin,
    continual_evaluator,
    run_stream,
)

SMALL = {"re": {"per_class": 3, "na": 2}, "ner": {}}


def plugins(name: str) -> list[Any]:
    if name == "mspt":
        replay = PrototypeReplayPlugin(size=2, schedule="after")
        return [
            GradientModulationPlugin(noise=True),
            AttentionDistillationPlugin(weight=0.5),
            replay,
        ]
    if name == "replay-ewc":
        return [EWCPlugin(weight=5.0, samples=3), PrototypeReplayPlugin(size=2)]
    if name == "turns":
        return [PrototypeReplayPlugin(size=3, scope="task", schedule="round-robin")]
    return [CumulativePlugin()]


def build(kit: Any, labels: Any, name: str, *more: Any, **options: Any) -> Any:
    options = {"epochs": 2, "batch": 4, "evaluator": continual_evaluator(), **options}
    return kit.strategy(labels, *more, *plugins(name), **options)


class Killed(BaseException):
    pass


def killer(at: int | None) -> SupervisedPlugin:
    """Ends the run in the middle of a step."""
    left = [at]

    class Killer(SupervisedPlugin):
        def before_update(self, strategy: Any, **kwargs: Any) -> None:
            if left[0] is not None:
                left[0] -= 1
                if left[0] <= 0:
                    raise Killed

    return Killer()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), [("mspt", "re"), ("turns", "ner")])
def test_a_run_goes_on_from_any_step(name: str, kind: str, kit: Any, tmp_path: Path) -> None:
    benchmark = kit.benchmark(kind, 2, **SMALL[kind])
    straight = build(kit, benchmark.labels, name, killer(None))
    wanted = run_stream(straight, benchmark)
    kills = 0
    for at in (3, 5, 8, 4, 7, 9, *[6] * 40):
        strategy = build(kit, benchmark.labels, name, killer(at))
        try:
            asked = Checkpointing(tmp_path, steps=2)
            result = run_stream(strategy, benchmark, checkpoint=asked)
        except Killed:
            kills += 1
            continue
        break
    assert kills >= 2
    assert kit.same(kit.weights(strategy), kit.weights(straight))
    assert result.matrix == wanted.matrix
    assert result.traces == wanted.traces
    # the same folder gives the same again, and trains nothing
    again = build(kit, benchmark.labels, name, killer(1))
    once_more = run_stream(again, benchmark, checkpoint=tmp_path)
    assert once_more.matrix == wanted.matrix
    assert once_more.traces == wanted.traces


def samples_of(benchmark: Any) -> list[Sample]:
    return [s for experience in benchmark.train_stream for s in experience.samples]


@pytest.mark.slow
def test_the_folder_carries_old_samples(kit: Any, tmp_path: Path) -> None:
    benchmark = kit.benchmark("re", 2, **SMALL["re"])
    one = build(kit, benchmark.labels, "replay-ewc", epochs=1)
    one.train(benchmark.train_stream[0])
    one.save(tmp_path / "with")
    one.save(tmp_path / "without", carry_samples=False)
    one.train(benchmark.train_stream[1])

    other = build(kit, benchmark.labels, "replay-ewc", epochs=1)
    assert other.resume(tmp_path / "with") == 1
    other.train(benchmark.train_stream[1])
    assert kit.same(kit.weights(one), kit.weights(other))

    other = build(kit, benchmark.labels, "replay-ewc", epochs=1)
    with pytest.raises(DataError, match="are not in the given samples"):
        other.resume(tmp_path / "without")
    assert other.resume(tmp_path / "without", samples=samples_of(benchmark)) == 1
    other.train(benchmark.train_stream[1])
    assert kit.same(kit.weights(one), kit.weights(other))


@pytest.mark.slow
def test_other_settings_are_named_all_at_once(kit: Any, tmp_path: Path) -> None:
    benchmark = kit.benchmark("re", 2, **SMALL["re"])
    one = build(kit, benchmark.labels, "mspt")
    one.train(benchmark.train_stream[0])
    one.save(tmp_path)
    other = build(kit, benchmark.labels, "mspt", lr=0.02, seed=4, epochs=3)
    other.plugins[1].weight = 0.25
    with pytest.raises(ConfigError) as caught:
        other.resume(tmp_path)
    *problems, advice = caught.value.problems
    assert "seed is 0 in the checkpoint and 4 here" in problems
    assert "train_epochs is 2 in the checkpoint and 3 here" in problems
    assert "plugins.1.weight is 0.5 in the checkpoint and 0.25 here" in problems
    assert any(p.startswith("optimizer.groups[0].lr is 0.01 in") for p in problems)
    assert f"to start again, remove the folder {tmp_path} or choose another one" in advice
    with pytest.raises(ConfigError, match=r"plugins\.0\.kind is 'GradientMod.* 'EWCPlugin' here"):
        build(kit, benchmark.labels, "replay-ewc").resume(tmp_path)
    with pytest.raises(MissingDataError):
        other.resume(tmp_path / "elsewhere")


@pytest.mark.slow
def test_another_number_of_threads_is_told_and_not_refused(
    kit: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    benchmark = kit.benchmark("re", 2, **SMALL["re"])
    one, other = (build(kit, benchmark.labels, "mspt", epochs=1) for _ in range(2))
    one.train(benchmark.train_stream[0])
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        one.save(tmp_path)
        assert other.resume(tmp_path) == 1
        assert not caplog.records
    finally:
        torch.set_num_threads(threads)
    assert other.resume(tmp_path) == 1
    [record] = caplog.records
    assert f"written with {threads + 1} threads and the run goes on with {threads}" in (
        record.getMessage()
    )


@pytest.mark.slow
def test_other_data_are_refused(kit: Any, tmp_path: Path) -> None:
    benchmark = kit.benchmark("re", 2, **SMALL["re"])
    strategy = build(kit, benchmark.labels, "mspt", killer(3))
    with pytest.raises(Killed):
        run_stream(strategy, benchmark, checkpoint=Checkpointing(tmp_path, steps=1))
    other = kit.benchmark("re", 2, per_class=2, na=2)
    with pytest.raises(ConfigError, match="stream is '"):
        run_stream(build(kit, other.labels, "mspt", killer(None)), other, checkpoint=tmp_path)
    # without a stream, the task that it is within is looked at
    again = build(kit, benchmark.labels, "mspt", killer(None))
    resumed = again.keep_checkpoints(
        Checkpointing(tmp_path, made_for=_stream(tmp_path)), samples=samples_of(benchmark)
    )
    assert resumed.trained == 0
    with pytest.raises(ConfigError, match="within the task 'T1', and the task to train is 'T2'"):
        again.train(benchmark.train_stream[1])


def _stream(folder: Path) -> dict[str, Any]:
    body = json.loads(max(folder.glob("*.json")).read_text())["body"]
    return {"stream": body["made_for"]["stream"]}


@pytest.mark.slow
def test_none_that_is_whole_starts_again_and_says_so(
    kit: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    benchmark = kit.benchmark("ner", 2)
    first = run_stream(
        build(kit, benchmark.labels, "joint", epochs=1), benchmark, checkpoint=tmp_path
    )
    for path in tmp_path.glob("*.json"):
        path.write_bytes(path.read_bytes()[:-1])
    strategy = build(kit, benchmark.labels, "joint", epochs=1)
    caplog.set_level(logging.WARNING)
    assert run_stream(strategy, benchmark, checkpoint=tmp_path).matrix == first.matrix
    (message,) = caplog.messages
    assert "nothing is left to go on from: the run starts again" in message
    with pytest.raises(ConfigError, match="steps=0; give 1 or more"):
        Checkpointing(tmp_path, steps=0)


class Poison(SupervisedPlugin):
    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        if strategy.clock.train_iterations == 4:
            strategy.loss = strategy.loss * float("nan")


@pytest.mark.slow
def test_a_loss_that_is_not_finite_keeps_the_last_good_one(kit: Any, tmp_path: Path) -> None:
    benchmark = kit.benchmark("ner", 2)
    strategy = build(kit, benchmark.labels, "joint", Poison())
    asked = Checkpointing(tmp_path, steps=1)
    with pytest.raises(TrainingError, match="the last good checkpoint: task 'K0', epoch") as caught:
        run_stream(strategy, benchmark, checkpoint=asked)
    assert str(tmp_path) in str(caught.value)
    again = build(kit, benchmark.labels, "joint", Poison())
    again.keep_checkpoints(
        Checkpointing(tmp_path, made_for=_stream(tmp_path)), samples=samples_of(benchmark)
    )
    values = kit.weights(again).values()
    assert all(bool(torch.isfinite(v).all()) for v in values if v.is_floating_point())


@pytest.mark.slow
def test_checkpoints_change_nothing(kit: Any, tmp_path: Path) -> None:
    benchmark = kit.benchmark("re", 2, **SMALL["re"])
    without = build(kit, benchmark.labels, "mspt", epochs=1)
    wanted = run_stream(without, benchmark)
    state = torch.get_rng_state()
    strategy = build(kit, benchmark.labels, "mspt", epochs=1)
    result = run_stream(strategy, benchmark, checkpoint=Checkpointing(tmp_path, minutes=1e-9))
    assert torch.equal(state, torch.get_rng_state())
    assert kit.same(kit.weights(strategy), kit.weights(without))
    assert (result.matrix, result.traces) == (wanted.matrix, wanted.traces)


@pytest.mark.slow
def test_a_full_disk_costs_the_checkpoint_and_not_the_run(
    kit: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    benchmark = kit.benchmark("ner", 2)
    caplog.set_level(logging.WARNING)
    strategy = build(kit, benchmark.labels, "joint", epochs=1)
    asked = Checkpointing(tmp_path / "file" / "deeper", steps=1)
    assert run_stream(strategy, benchmark, checkpoint=asked).matrix.average_f1("test")
    assert "no checkpoint after task 2, the run goes on" in caplog.text


class Secretive(SupervisedPlugin):
    def __init__(self) -> None:
        super().__init__()
        self.seen = 0


def test_a_plugin_that_tells_no_state_is_refused(kit: Any, tmp_path: Path) -> None:
    benchmark = kit.benchmark("ner", 2)
    strategy = build(kit, benchmark.labels, "joint", Secretive())
    with pytest.raises(ConfigError, match=r"Secretive has no state_dict\(\)"):
        strategy.save(tmp_path)
    with pytest.raises(ConfigError, match="Secretive"):
        run_stream(strategy, benchmark, checkpoint=tmp_path)


class Awkward(SupervisedPlugin):
    """A plugin from outside whose state cannot be kept."""

    def __init__(self, state: object) -> None:
        super().__init__()
        self._state = state

    def state_dict(self) -> dict[str, Any]:
        if isinstance(self._state, Exception):
            raise self._state
        return {"inner": [self._state]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        raise KeyError("outer")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({1, 2}, "Awkward.state_dict().inner[0] is a set"),
        (torch.eye(2).to_sparse(), "Awkward.state_dict().inner[0] is a sparse"),
        (AttributeError("oh"), "Awkward.state_dict() fails: AttributeError: oh"),
    ],
    ids=["set", "sparse", "raises"],
)
def test_a_state_that_cannot_be_kept_costs_checkpoints_and_not_the_run(
    state: object, said: str, kit: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    benchmark = kit.benchmark("ner", 2)
    caplog.set_level(logging.WARNING)
    strategy = build(kit, benchmark.labels, "joint", Awkward(state), epochs=1)
    assert run_stream(strategy, benchmark, checkpoint=tmp_path).matrix.average_f1("test")
    assert len(caplog.messages) == 2
    assert all("the run goes on" in m and said in m for m in caplog.messages)
    assert not list(tmp_path.glob("checkpoint-*"))


def test_a_state_that_cannot_be_loaded_is_an_error_that_names_the_plugin(
    kit: Any, tmp_path: Path
) -> None:
    benchmark = kit.benchmark("ner", 2)
    build(kit, benchmark.labels, "joint", Awkward(1)).save(tmp_path)
    with pytest.raises(ConfigError, match=r"Awkward\.load_state_dict\(\) fails: KeyError: 'outer'"):
        build(kit, benchmark.labels, "joint", Awkward(1)).resume(tmp_path)


class Cooling(SupervisedPlugin):
    """Lowers the rates, and an option of its own, after every task."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.weight /= 2
        for group in strategy.optimizer.param_groups:
            group["lr"] /= 2

    def state_dict(self) -> dict[str, Any]:
        return {"weight": self.weight}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weight = state["weight"]


@pytest.mark.slow
def test_what_training_changes_does_not_keep_a_run_from_going_on_twice(
    kit: Any, tmp_path: Path
) -> None:
    benchmark = kit.benchmark("ner", 3)
    asked = Checkpointing(tmp_path)
    for done in range(3):
        strategy = build(kit, benchmark.labels, "joint", Cooling(), epochs=1)
        assert strategy.keep_checkpoints(asked, samples=samples_of(benchmark)).trained == done
        strategy.train(benchmark.train_stream[done])
    assert strategy.plugins[0].weight == 0.125
    assert {g["lr"] for g in strategy.optimizer.param_groups} == {0.01 / 8}


class Saving(SupervisedPlugin):
    def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        strategy.save("anywhere")


def test_a_strategy_is_saved_between_tasks(kit: Any) -> None:
    benchmark = kit.benchmark("ner", 2)
    strategy = build(kit, benchmark.labels, "joint", Saving())
    with pytest.raises(ConfigError, match="saved between tasks"):
        strategy.train(benchmark.train_stream[0])
