"""The template: own randomness, silent evaluation, batches, and sensible refusals."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.core import SupervisedPlugin

from mkgc_cl.data.processor import Processor
from mkgc_cl.errors import ConfigError, DataError, TrainingError
from mkgc_cl.models import DualStreamModel, build_optimizer
from mkgc_cl.models.mega import MEGAModel
from mkgc_cl.models.umgf import UMGFModel
from mkgc_cl.scenarios import demo
from mkgc_cl.scenarios.benchmark import KnowledgeExperience
from mkgc_cl.strategies import (
    AttentionDistillationPlugin,
    EWCPlugin,
    GradientModulationPlugin,
    MultimodalStrategy,
    PrototypeReplayPlugin,
    continual_evaluator,
    template,
)


def all_plugins(schedule: str = "after") -> list[Any]:
    return [
        GradientModulationPlugin(alpha=0.3),
        AttentionDistillationPlugin(weight=0.1),
        PrototypeReplayPlugin(size=2, schedule=schedule),  # type: ignore[arg-type]
    ]


def test_every_override_of_avalanche_has_a_row_and_its_test() -> None:
    rows = re.findall(
        r"^``(\w+)``(.+?)\*(test_\w+)\*", str(template.__doc__), re.MULTILINE | re.DOTALL
    )
    bases = [base for base in MultimodalStrategy.__mro__ if base.__module__.startswith("avalanche")]
    overrides = {
        name
        for name in vars(MultimodalStrategy)
        if not name.startswith(("__", "_abc", "_is_protocol"))
        and any(name in vars(base) for base in bases)
    }
    assert sorted(name for name, _, _ in rows) == sorted(overrides)
    tests = "".join(file.read_text("utf-8") for file in Path(__file__).parent.glob("test_*.py"))
    assert [test for _, _, test in rows if f"def {test}(" not in tests] == []


# ---- randomness ----------------------------------------------------------------------------


@pytest.mark.slow
def test_seed_decides_the_run_and_global_state_does_not(kit: Any, kind: str) -> None:
    benchmark = kit.benchmark(kind)

    def run(seed: int, noise: int) -> Any:
        torch.manual_seed(noise)
        return kit.train(kit.strategy(benchmark.labels, *all_plugins(), seed=seed), benchmark)

    first = run(0, 11)
    assert kit.same(first, run(0, 22))
    assert not kit.same(first, run(1, 11))


@pytest.mark.slow
def test_train_and_eval_leave_global_randomness_alone(kit: Any, kind: str) -> None:
    benchmark = kit.benchmark(kind)
    strategy = kit.strategy(
        benchmark.labels, *all_plugins("mixed"), evaluator=continual_evaluator(), eval_every=1
    )
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()
    for experience in benchmark.train_stream:
        strategy.train(experience, eval_streams=[benchmark.valid_stream])
        strategy.eval(benchmark.test_stream)
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()
    assert torch.equal(before[0], after[0])
    assert before[1] == after[1]
    assert np.array_equal(before[2][1], after[2][1])
    assert before[2][2:] == after[2][2:]


@pytest.mark.slow
def test_evaluation_never_changes_training(kit: Any, kind: str) -> None:
    """Before the run, after every epoch, on three streams, in the memory phase, and between."""
    benchmark = kit.benchmark(kind)
    silent = kit.train(kit.strategy(benchmark.labels, *all_plugins(), epochs=2), benchmark)
    watched = kit.strategy(
        benchmark.labels,
        *all_plugins(),
        epochs=2,
        evaluator=continual_evaluator(),
        eval_every=1,
    )
    watched.eval(benchmark.test_stream)
    for experience in benchmark.train_stream:
        watched.train(
            experience, eval_streams=[benchmark.valid_stream, benchmark.test_stream, experience]
        )
        watched.eval(benchmark.train_stream)
    assert kit.same(silent, kit.weights(watched))


@pytest.mark.slow
def test_a_memory_phase_does_not_shift_the_order_of_later_batches(kit: Any) -> None:
    """An ablation row without memory sees current samples in the same batches as one with it."""
    benchmark = kit.benchmark("re", 3)
    orders = []
    for size in (0, 2):
        recorder = kit.Recorder()
        kit.train(
            kit.strategy(benchmark.labels, recorder, PrototypeReplayPlugin(size=size)), benchmark
        )
        orders.append([step.uids for step in recorder.steps if step.phase == "task"])
    assert orders[0] == orders[1]


# ---- batches --------------------------------------------------------------------------------


@pytest.mark.parametrize("buckets", [True, False])
def test_every_sample_once_an_epoch(kit: Any, kind: str, buckets: bool) -> None:
    benchmark = kit.benchmark(kind)
    recorder = kit.Recorder()
    strategy = kit.strategy(benchmark.labels, recorder, epochs=3, length_buckets=buckets)
    strategy.train(benchmark.train_stream[0])
    uids = sorted(sample.uid for sample in benchmark.train_stream[0].samples)
    steps = -(-len(uids) // 4)
    assert len(recorder.steps) == 3 * steps
    epochs = [recorder.steps[start : start + steps] for start in (0, steps, 2 * steps)]
    seen = [[uid for step in epoch for uid in step.uids] for epoch in epochs]
    assert all(sorted(epoch) == uids for epoch in seen)
    assert len({tuple(epoch) for epoch in seen}) == 3


def test_each_sample_is_scored_once_an_evaluation(
    kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = kit.benchmark("ner", 3)
    strategy = kit.strategy(benchmark.labels, evaluator=continual_evaluator())
    strategy.train(benchmark.train_stream[0])
    scored: list[str] = []
    forward = DualStreamModel.forward

    def counted(self: Any, batch: Any) -> Any:
        scored.extend(batch.uids)
        return forward(self, batch)

    monkeypatch.setattr(DualStreamModel, "forward", counted)
    strategy.eval(benchmark.test_stream)
    assert sorted(scored) == sorted(sample.uid for sample in benchmark.test_stream[0].samples)
    strategy.eval(benchmark.test_stream)  # nothing is kept from one evaluation to the next
    assert len(scored) == 2 * len(benchmark.test_stream[0].samples)


def test_features_follow_the_order_of_the_samples(kit: Any, kind: str) -> None:
    benchmark = kit.benchmark(kind)
    strategy = kit.strategy(benchmark.labels)
    strategy.train(benchmark.train_stream[0])
    samples = list(benchmark.train_stream[0].samples)
    strategy.network.train()
    together = strategy.features(samples)
    assert strategy.network.training
    strategy.network.eval()
    with torch.no_grad():
        for row, sample in enumerate(samples):
            alone = strategy.network(strategy.network.processor.collate([sample])[0]).features[0]
            torch.testing.assert_close(together[row], alone, rtol=1e-4, atol=1e-5)


# ---- optimizer and parameters ------------------------------------------------------------------


def test_the_optimizer_stays_as_it_was_given(kit: Any) -> None:
    benchmark = kit.benchmark("re")
    model = kit.model(benchmark.labels)
    strategy = kit.strategy(benchmark.labels, model=model)
    head_only = torch.optim.SGD(model.head.parameters(), lr=0.1)
    strategy.optimizer = head_only
    before = kit.weights(strategy)
    after = kit.train(strategy, benchmark)
    assert strategy.optimizer is head_only
    assert [len(group["params"]) for group in head_only.param_groups] == [3]
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"head.text_weight", "head.vision_weight", "head.bias", "seen"}


@pytest.mark.slow
def test_frozen_parameters_stay_with_all_plugins(kit: Any, kind: str) -> None:
    benchmark = kit.benchmark(kind)
    model = kit.model(benchmark.labels, freeze_lower=1)
    frozen = {
        name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad
    }
    assert any(name.startswith("text.") for name in frozen)
    assert any(name.startswith("vision.") for name in frozen)
    strategy = kit.strategy(benchmark.labels, *all_plugins("mixed"), model=model)
    after = kit.train(strategy, benchmark)
    assert all(torch.equal(value, after[name]) for name, value in frozen.items())
    assert all(not dict(model.named_parameters())[name].requires_grad for name in frozen)


@pytest.mark.slow
def test_half_precision_gradients_pass_the_shield(kit: Any) -> None:
    """What bf16 does to dtypes, on the CPU: the shield's factors must not change a gradient's."""
    benchmark = kit.benchmark("re")
    strategy = kit.strategy(benchmark.labels, *all_plugins("mixed"))
    strategy._precision = "bf16"  # refused where the CPU has no such units: slow, the same code
    kit.train(strategy, benchmark)


# ---- refusals -----------------------------------------------------------------------------------


class Poison(SupervisedPlugin):
    """Make the loss of the second step NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.uids: tuple[str, ...] = ()

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        self.steps += 1
        if self.steps == 2:
            self.uids = strategy.batch.uids
            strategy.loss = strategy.loss * float("nan")


def test_a_loss_that_is_not_finite_names_the_samples(kit: Any) -> None:
    benchmark = kit.benchmark("re")
    poison = Poison()
    strategy = kit.strategy(benchmark.labels, poison)
    with pytest.raises(TrainingError, match=r"nan in task 'T1'.*lower the learning") as caught:
        strategy.train(benchmark.train_stream[0])
    assert poison.uids
    assert all(uid in str(caught.value) for uid in poison.uids)


def cpu_without_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True}, raising=False)


def test_all_wrong_settings_are_reported_at_once(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu_without_bfloat16(monkeypatch)
    with pytest.raises(ConfigError) as caught:
        kit.strategy(kit.stream("re").labels, batch=0, epochs=-1, precision="bf16")
    assert len(caught.value.problems) == 3


def test_bfloat16_on_a_cpu_needs_its_units(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    kit.strategy(kit.stream("re").labels, precision="bf16")
    cpu_without_bfloat16(monkeypatch)
    with pytest.raises(ConfigError, match=r"device cpu has no bfloat16 units; use 'fp32'"):
        kit.strategy(kit.stream("re").labels, precision="bf16")


@pytest.mark.parametrize(
    "plugin", [GradientModulationPlugin(), AttentionDistillationPlugin()], ids=["gm", "ad"]
)
def test_plugins_of_two_streams_refuse_a_model_of_one(kit: Any, kind: str, plugin: Any) -> None:
    benchmark = kit.benchmark(kind)
    strategy = kit.strategy(benchmark.labels, plugin, model=kit.text_model(benchmark.labels))
    advice = "TextModel has no text and vision stream .*; use a DualStreamModel, or leave"
    with pytest.raises(ConfigError, match=advice):
        kit.train(strategy, benchmark)


class PoisonedMemory(SupervisedPlugin):
    """Stop the first step of a memory phase."""

    armed = True

    def before_forward(self, strategy: Any, **kwargs: Any) -> None:
        if self.armed and strategy.phase == "memory":
            raise KeyboardInterrupt


@pytest.mark.slow
def test_an_interrupted_memory_phase_leaves_the_phase_behind(kit: Any) -> None:
    benchmark = kit.benchmark("re")
    replay = PrototypeReplayPlugin(size=2, lr_scale=0.1)
    strategy = kit.strategy(benchmark.labels, replay, PoisonedMemory())
    before = [group["lr"] for group in strategy.optimizer.param_groups]
    with pytest.raises(KeyboardInterrupt):
        kit.train(strategy, benchmark)
    assert strategy.phase == "task"
    assert [group["lr"] for group in strategy.optimizer.param_groups] == before


@pytest.mark.slow
@pytest.mark.parametrize("order", [1, -1])
def test_a_task_cut_off_in_its_memory_phase_has_not_ended(kit: Any, order: int) -> None:
    """To no plugin, in any order: each of them says what it said when the task began."""
    benchmark = kit.benchmark("re")
    replay = PrototypeReplayPlugin(size=2)
    teacher = AttentionDistillationPlugin()
    ewc = EWCPlugin(samples=2)
    modulation = GradientModulationPlugin()
    cut = PoisonedMemory()
    plugins = [replay, teacher, ewc, modulation][::order]
    strategy = kit.strategy(benchmark.labels, *plugins, cut)
    strategy.train(benchmark.train_stream[0])
    before = replay.state_dict()
    with pytest.raises(KeyboardInterrupt):
        strategy.train(benchmark.train_stream[1])
    after = replay.state_dict()
    assert after["exemplars"] == before["exemplars"]
    assert all(torch.equal(after[name], before[name]) for name in ("selection", "replay"))
    assert teacher.state_dict()["tasks"] == 1
    assert ewc.state_dict()["previous"] == []
    assert modulation._finished() == modulation.mean_coefficients()[:1]
    cut.armed = False
    strategy.train(benchmark.train_stream[1])
    assert replay.exemplars() != []
    assert set(replay.memory.slots) == {"none", "r0", "r1", "r2", "r3"}
    assert teacher.state_dict()["tasks"] == 2
    assert ewc.state_dict()["previous"] == [s.identity for s in benchmark.train_stream[1].samples]
    assert len(modulation._finished()) == 2


def test_series_of_plugins_are_published_by_name(kit: Any) -> None:
    class Own(SupervisedPlugin):
        def traces(self) -> dict[str, list[float]]:
            return {"mine": [1.0, 2.0], "ewc_penalty": [3.0]}

    benchmark = kit.benchmark("re")
    ewc, silent = EWCPlugin(samples=2), SupervisedPlugin()
    strategy = kit.strategy(benchmark.labels, ewc, silent, Own(), Own())
    ewc.penalties = [0.5]
    assert strategy.traces() == {
        "ewc_penalty": [0.5], "mine": [1.0, 2.0], "ewc_penalty/2": [3.0],
        "mine/2": [1.0, 2.0], "ewc_penalty/3": [3.0],
    }  # fmt: skip


def test_features_that_are_not_finite_leave_training_as_it_was(kit: Any) -> None:
    benchmark = kit.benchmark("re")
    strategy = kit.strategy(benchmark.labels)
    strategy.train(benchmark.train_stream[0])
    with torch.no_grad():
        next(strategy.network.text.parameters()).fill_(float("nan"))
    samples = benchmark.train_stream[0].samples[:2]
    with pytest.raises(TrainingError, match=rf"the features are nan on samples .*{samples[0].uid}"):
        strategy.features(samples)
    assert strategy.network.training


def test_a_model_of_crops_does_not_train_without_any() -> None:
    """The synthetic stream has whole images only; blank crops would be no model of crops."""
    benchmark = demo("re", train_per_task=12, test_size=30)
    model = UMGFModel.build(benchmark.labels, images="crops", layers=1, width=16, max_text_length=7)
    strategy = MultimodalStrategy(model=model, optimizer=build_optimizer(model, lr=1e-3))
    with pytest.raises(DataError) as caught:
        strategy.train(benchmark.train_stream[:2], [benchmark.test_stream])
    problems = [problem.message for problem in caught.value.problems]
    # of both tasks, and of all that is to be scored; every other mistake is told as well
    assert sum("looks at crops" in message for message in problems) == 3
    assert sum("tokens" in message for message in problems) > 3
    assert strategy.clock.train_iterations == 0


class Aligned(Processor):
    """A parser and a scene graph stood in for: every token is as near to every object."""

    def collate(self, samples: Any, **given: Any) -> Any:
        batch, targets = super().collate(samples, **given)
        batch["alignment"] = torch.ones(len(samples), batch.size(1), 1)
        return batch, targets


def test_mega_learns_from_alignments_that_a_processor_of_ones_own_brings() -> None:
    benchmark = demo("re", train_per_task=12, test_size=30)
    model = MEGAModel.build(benchmark.labels, images="image", alignments="both")
    usual = model.processor
    model.processor = Aligned(
        benchmark.labels,
        tokenizer=usual.tokenizer,
        max_text_length=usual.max_text_length,
        views=usual.views,
    )
    strategy = MultimodalStrategy(model=model, optimizer=build_optimizer(model, lr=1e-3))
    before = {name: value.clone() for name, value in model.fusion.state_dict().items()}
    strategy.train(benchmark.train_stream[0])
    after = model.fusion.state_dict()
    assert not any(torch.equal(value, after[name]) for name, value in before.items())


def test_experiences_may_come_one_by_one() -> None:
    """A generator is read once; what is looked at first is trained on all the same."""
    benchmark = demo("re", train_per_task=12, test_size=30)
    model = DualStreamModel.build(benchmark.labels, seed=0)
    strategy = MultimodalStrategy(model=model, optimizer=build_optimizer(model, lr=1e-3))
    strategy.train(experience for experience in benchmark.train_stream[:2])
    assert strategy.clock.train_exp_counter == 2
    assert strategy.clock.train_iterations > 0


def test_a_model_of_crops_is_not_scored_without_any() -> None:
    benchmark = demo("re", train_per_task=12, test_size=30)
    model = UMGFModel.build(benchmark.labels, images="crops", layers=1, width=16)
    strategy = MultimodalStrategy(model=model, optimizer=build_optimizer(model, lr=1e-3))
    with pytest.raises(DataError, match="looks at crops"):
        strategy.eval(benchmark.test_stream)


# ---- labels that no task has brought yet ------------------------------------------------------


class Inject(SupervisedPlugin):
    """Bring samples into the training of the first task in one of the ways there are."""

    def __init__(self, way: str, samples: tuple[Any, ...]) -> None:
        super().__init__()
        self.way, self.samples = way, samples

    def after_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        if self.way == "set_training_samples":
            strategy.set_training_samples([*strategy.experience.samples, *self.samples])

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        source = torch.Generator()
        if self.way == "replay_beside":
            strategy.replay_beside(self.samples, batch_size=2, schedule="mixed", source=source)
        elif self.way == "replay_in_turn":
            strategy.replay_in_turn([self.samples])
        elif self.way in ("memory_phase", "current"):
            given = {"samples": (), "current": self.samples}
            if self.way == "memory_phase":
                given = {"samples": self.samples}
            strategy.memory_phase(**given, epochs=1, batch_size=2, source=source)


WAYS = ["set_training_samples", "replay_beside", "replay_in_turn", "memory_phase", "current"]


@pytest.mark.parametrize("way", WAYS)
def test_samples_of_a_later_task_cannot_be_brought_into_training(
    kit: Any, kind: Any, way: str
) -> None:
    """The model masks their labels: their loss was 10,000, and moved the later class."""
    benchmark = kit.benchmark(kind)
    later = benchmark.train_stream[1].samples[:2]
    strategy = kit.strategy(benchmark.labels, Inject(way, later))
    before = kit.weights(strategy)
    with pytest.raises(DataError, match="no task so far has brought its class") as caught:
        strategy.train(benchmark.train_stream[0])
    assert [problem.sample for problem in caught.value.problems] == [s.uid for s in later]
    before["seen"] = strategy.network.seen
    assert kit.same(before, kit.weights(strategy))


def test_an_experience_of_labels_to_come_is_refused(kit: Any, kind: Any) -> None:
    """Made by hand, so that no benchmark has looked at it."""
    benchmark = kit.benchmark(kind)
    first, second = benchmark.stream.tasks
    mixed = KnowledgeExperience(
        first, (*first.train, second.train[0]), labels=benchmark.labels, index=0
    )
    strategy = kit.strategy(benchmark.labels)
    with pytest.raises(DataError, match="no task so far has brought its class") as caught:
        strategy.train(mixed)
    assert caught.value.sample == second.train[0].uid
    strategy.train(benchmark.train_stream)
    strategy.train(mixed)


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "meta", "", 3.5])
def test_a_device_that_does_not_work(kit: Any, device: Any) -> None:
    benchmark = kit.benchmark("re")
    with pytest.raises(ConfigError, match="'device' must be one that works here"):
        kit.strategy(benchmark.labels, device=device)


def test_all_experiences_given_are_looked_at_before_the_first_trains(kit: Any) -> None:
    """Those to evaluate on, too."""
    benchmark = kit.benchmark("re")
    second = benchmark.stream.tasks[1]
    long = replace(second.train[0], tokens=(*second.train[0].tokens, *("x",) * 40))
    odd = KnowledgeExperience(second, (long,), labels=benchmark.labels, index=1)
    for given in ({"experiences": [*benchmark.train_stream, odd]}, {"eval_streams": [[odd]]}):
        strategy = kit.strategy(benchmark.labels)
        before = kit.weights(strategy)
        with pytest.raises(DataError, match="the model takes 32") as caught:
            strategy.train(**{"experiences": benchmark.train_stream, **given})
        assert caught.value.sample == long.uid
        assert kit.same(before, kit.weights(strategy))
