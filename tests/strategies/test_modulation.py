"""Gradient modulation against eq. (4)-(9) worked by hand, for SGD and AdamW."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin
from torch.optim import SGD
from torch.optim.lr_scheduler import ExponentialLR

from mkgc_cl.errors import ConfigError
from mkgc_cl.models.groups import classify
from mkgc_cl.strategies import GradientModulationPlugin, PrototypeReplayPlugin

LR = 0.05


def modality(name: str) -> str:
    return classify(name)[0]


def slowed(alpha: float, ratio: float) -> float:
    """Eq. (7), written anew."""
    return 1 - math.tanh(alpha * ratio) if ratio > 1 else 1.0


@pytest.fixture
def ratios(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let a test dictate the contribution ratio of every step."""

    def dictate(values: Sequence[float]) -> None:
        script: Iterator[float] = iter(values)
        monkeypatch.setattr(
            "mkgc_cl.strategies.modulation.contribution_ratio", lambda *args: next(script)
        )

    return dictate


def test_before_the_first_task_no_coefficient_was_applied() -> None:
    assert GradientModulationPlugin().mean_coefficients() == []


class Logits(SupervisedPlugin):
    """Keep both streams' logits and the labels of every step."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Any, Any, Any]] = []

    def after_forward(self, strategy: Any, **kwargs: Any) -> None:
        output = strategy.output
        self.seen.append(
            (output.text_logits.detach(), output.vision_logits.detach(), strategy.mb_y)
        )


def confidence(logits: Any, targets: Any) -> float:
    """Eq. (5) position by position: probability of the true label, padding left out."""
    flat, labels = logits.reshape(-1, logits.shape[-1]), targets.reshape(-1).tolist()
    total = 0.0
    for row, label in zip(flat.tolist(), labels, strict=True):
        if label != -100:
            total += math.exp(row[label]) / sum(math.exp(value) for value in row)
    return total


def test_ratio_and_coefficients_of_every_step(kit: Any, kind: str) -> None:
    benchmark = kit.benchmark(kind)
    plugin, logits = GradientModulationPlugin(alpha=0.7), Logits()
    strategy = kit.strategy(benchmark.labels, plugin, logits, epochs=2, lr=LR)
    strategy.train(benchmark.train_stream[0])
    assert len(plugin.ratios) == len(logits.seen) > 4
    by_hand = [confidence(t, y) / confidence(v, y) for t, v, y in logits.seen]
    assert plugin.ratios == pytest.approx(by_hand, rel=1e-4)
    assert plugin.applied == [
        pytest.approx((slowed(0.7, ratio), slowed(0.7, 1 / ratio)), rel=1e-4) for ratio in by_hand
    ]
    assert min(by_hand) != max(by_hand)


@pytest.mark.parametrize(
    ("ratio", "target", "text", "vision"),
    [
        (2.0, "dominant", 1 - math.tanh(0.6), 1.0),
        (0.5, "dominant", 1.0, 1 - math.tanh(0.6)),
        (1.0, "dominant", 1.0, 1.0),
        (2.0, "paper", 1.0, 1 - math.tanh(0.6)),
        (0.5, "paper", 1.0, 1.0),
    ],
)
def test_sgd_step_by_hand(
    kit: Any, kind: str, ratios: Any, ratio: float, target: Any, text: float, vision: float
) -> None:
    """theta - eta * g * gradient for the slowed modality (eq. 9), to the bit SGD elsewhere."""
    ratios([ratio] * 9)
    benchmark = kit.benchmark(kind)
    recorder = kit.Recorder(tensors=True)
    plugin = GradientModulationPlugin(alpha=0.3, target=target)
    strategy = kit.strategy(benchmark.labels, recorder, plugin, kind="sgd", lr=LR, weight_decay=0.0)
    strategy.train(benchmark.train_stream[0])
    factors = {"text": text, "vision": vision, "shared": 1.0}
    moved = dict.fromkeys(factors, 0)
    for step in recorder.steps:
        for name, gradient in step.gradients.items():
            factor = factors[modality(name)]
            if factor == 1.0:
                plain = step.before[name].clone().add_(gradient, alpha=-LR)
                assert torch.equal(step.after[name], plain), name
            by_hand = step.before[name] - LR * factor * gradient
            torch.testing.assert_close(step.after[name], by_hand, rtol=1e-5, atol=1e-7)
            moved[modality(name)] += int(bool((gradient.abs() > 1e-4).any()))
    assert min(moved.values()) > 5  # every modality had gradients worth comparing


@pytest.mark.parametrize(("ratio", "slow"), [(2.0, "text"), (0.5, "vision")])
def test_adamw_step_is_the_coefficient_times_the_unmodulated_step(
    kit: Any, kind: str, ratios: Any, ratio: float, slow: str
) -> None:
    ratios([ratio] * 9)
    benchmark = kit.benchmark(kind)
    steps, moments = [], []
    for alpha in (0.3, 0.0):
        recorder = kit.Recorder(tensors=True)
        strategy = kit.strategy(
            benchmark.labels, recorder, GradientModulationPlugin(alpha=alpha), lr=LR, batch=99
        )
        strategy.train(benchmark.train_stream[0])
        assert len(recorder.steps) == 1
        steps.append(recorder.steps[0])
        moments.append(strategy.optimizer.state)
    ours, twin = steps
    factor = 1 - math.tanh(0.3 * 2.0)
    for name, before in twin.before.items():
        if modality(name) == slow:
            expected = before + factor * (twin.after[name] - before)
            torch.testing.assert_close(ours.after[name], expected, rtol=1e-4, atol=1e-6)
            changed = not torch.equal(twin.after[name], before)
            assert torch.equal(ours.after[name], twin.after[name]) != changed, name
        else:
            assert torch.equal(ours.after[name], twin.after[name]), name
    for first, second in zip(moments[0].values(), moments[1].values(), strict=True):
        # the coefficient acts on the step and leaves no trace in the moments
        assert torch.equal(first["exp_avg"], second["exp_avg"])
        assert torch.equal(first["exp_avg_sq"], second["exp_avg_sq"])


SCRIPT = (
    [1.5, 2.0, 0.8],  # task 1: text leads twice
    [3.0, 0.5, 0.4],
    [1.1, 1.2, 1.3],
)


def g(ratio: float) -> tuple[float, float]:
    return slowed(0.3, ratio), slowed(0.3, 1 / ratio)


def mean(steps: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return sum(s[0] for s in steps) / len(steps), sum(s[1] for s in steps) / len(steps)


@pytest.mark.slow
def test_later_tasks_use_the_mean_over_the_means_of_the_tasks_before(kit: Any, ratios: Any) -> None:
    """Remark 1: G of a task is the mean of its own g_n, whatever was applied in it (eq. 8)."""
    ratios([value for task in SCRIPT for value in task])
    benchmark = kit.benchmark("re", 3)  # 11 samples per task: three steps of 4
    plugin = GradientModulationPlugin(alpha=0.3)
    recorder = kit.Recorder()
    strategy = kit.strategy(benchmark.labels, recorder, plugin)
    kit.train(strategy, benchmark)
    own = [[g(ratio) for ratio in task] for task in SCRIPT]
    first, second = mean(own[0]), mean(own[1])
    expected = [*own[0], *[first] * 3, *[mean([first, second])] * 3]
    assert plugin.applied == [pytest.approx(pair) for pair in expected]
    assert plugin.ratios == [value for task in SCRIPT for value in task]
    assert plugin.boundaries == [0, 3, 6]
    assert first[0] < 1
    assert first[1] < 1  # an average may slow both


@pytest.mark.slow
def test_the_task_after_a_change_of_lead_is_slower_in_both_modalities(
    kit: Any, ratios: Any
) -> None:
    """gamma 2, 1/2, 1: means (0.463 + 1 + 1) / 3 = 0.821 for either, in every step of task 2."""
    ratios([2.0, 0.5, 1.0, 9.0, 0.1, 1.0])
    benchmark = kit.benchmark("re")
    strategy = kit.strategy(benchmark.labels, GradientModulationPlugin(alpha=0.3), lr=LR)
    during = kit.step_rates(strategy.optimizer)
    kit.train(strategy, benchmark)
    for rates in during[3:]:
        for (modality, _), rate in rates.items():
            expected = 1.0 if modality == "shared" else (3 - math.tanh(0.6)) / 3
            assert rate == pytest.approx(LR * expected)


def test_constant_coefficients_follow_no_batch(kit: Any, ratios: Any) -> None:
    script = [1.5, 0.01, 99.0, 3.0, 0.5, 0.4]
    ratios(script)
    benchmark = kit.benchmark("re")
    given = [(0.9, 0.6), (0.3, 1.0)]
    plugin = GradientModulationPlugin(alpha=0.0, constant_coefficients=given)
    strategy = kit.strategy(benchmark.labels, plugin, lr=LR)
    during = kit.step_rates(strategy.optimizer)
    kit.train(strategy, benchmark)
    assert plugin.ratios == script  # observed all the same
    assert plugin.applied == [given[0]] * 3 + [given[1]] * 3
    for number, rates in enumerate(during):
        text, vision = given[number // 3]
        factors = {"text": text, "vision": vision, "shared": 1.0}
        assert rates == {kind: pytest.approx(LR * factors[kind[0]]) for kind in rates}


def test_constant_coefficients_that_are_wrong(kit: Any) -> None:
    wrong = [(0.5,), (0.5, 1.1), (1.0, 1.0), (float("nan"), 0.5)]
    with pytest.raises(ConfigError) as caught:
        GradientModulationPlugin(alpha=-1, constant_coefficients=wrong)
    assert [problem.split(";")[0] for problem in caught.value.problems] == [
        "alpha=-1",
        "constant_coefficients of task 1 are [0.5]",
        "constant_coefficients of task 2 are [0.5, 1.1]",
        "constant_coefficients of task 4 are [nan, 0.5]",
    ]
    benchmark = kit.benchmark("re")
    plugin = GradientModulationPlugin(constant_coefficients=[(0.5, 0.5)])
    with pytest.raises(ConfigError, match="pairs for 1 tasks and this is task 2"):
        kit.train(kit.strategy(benchmark.labels, plugin), benchmark)


@pytest.mark.slow
def test_per_step_schedule(kit: Any, ratios: Any) -> None:
    ratios([value for task in SCRIPT for value in task])
    benchmark = kit.benchmark("re", 3)
    plugin = GradientModulationPlugin(alpha=0.3, schedule="per-step")
    kit.train(kit.strategy(benchmark.labels, plugin), benchmark)
    assert plugin.applied == [pytest.approx(g(ratio)) for task in SCRIPT for ratio in task]


# ---- learning rates -------------------------------------------------------------------------


class Warmup(SupervisedPlugin):
    """Change the learning rates between steps, as a scheduler does."""

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        for number, group in enumerate(strategy.optimizer.param_groups):
            group["lr"] = 0.001 * (1 + number) * (1 + strategy.clock.train_iterations)


def test_the_rate_is_scaled_in_the_step_alone(kit: Any, ratios: Any) -> None:
    ratios([2.0] * 9)
    benchmark = kit.benchmark("re")
    plugin = GradientModulationPlugin(alpha=0.3)
    strategy = kit.strategy(benchmark.labels, Warmup(), plugin)
    during = kit.step_rates(strategy.optimizer)
    kit.train(strategy, benchmark)
    kinds = [(group["modality"], group["role"]) for group in strategy.optimizer.param_groups]
    assert {"text", "vision", "shared"} == {modality for modality, _ in kinds}
    for number, rates in enumerate(during):
        set_by_warmup = [0.001 * (1 + place) * (1 + number) for place in range(len(kinds))]
        factors = [1 - math.tanh(0.6) if modality == "text" else 1.0 for modality, _ in kinds]
        scaled = [rate * factor for rate, factor in zip(set_by_warmup, factors, strict=True)]
        assert [rates[kind] for kind in kinds] == pytest.approx(scaled)
    assert [group["lr"] for group in strategy.optimizer.param_groups] == set_by_warmup


class Break(SupervisedPlugin):
    """Raise once, in one hook of the second step."""

    def __init__(self, hook: str, error: BaseException) -> None:
        super().__init__()
        self.armed = True

        def fail(strategy: Any, **kwargs: Any) -> None:
            if self.armed and strategy.clock.train_iterations == 1:
                self.armed = False
                raise error

        setattr(self, hook, fail)


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()])
@pytest.mark.parametrize("place", ["before_update", "step", "after_update"])
def test_whatever_raises_the_rates_are_what_they_were(
    kit: Any, ratios: Any, place: str, error: BaseException
) -> None:
    """And the steps that follow are scaled once, not twice and not by what never came."""
    ratios([2.0] * 99)
    benchmark, plugin = kit.benchmark("re"), GradientModulationPlugin(alpha=0.3)
    plugins = {
        "before_update": [plugin, Break(place, error)],
        "step": [plugin],
        "after_update": [Break(place, error), plugin],
    }[place]
    strategy = kit.strategy(benchmark.labels, *plugins, lr=LR)
    if place == "step":
        script = iter([None, error])

        def fail(*_: Any) -> None:
            if (raised := next(script, None)) is not None:
                raise raised

        strategy.optimizer.register_step_pre_hook(fail)
    with pytest.raises(type(error)):
        strategy.train(benchmark.train_stream[0])
    assert {group["lr"] for group in strategy.optimizer.param_groups} == {LR}
    during = kit.step_rates(strategy.optimizer)
    strategy.train(benchmark.train_stream[0])
    assert len(during) == 3
    factors = {"text": 1 - math.tanh(0.6), "vision": 1.0, "shared": 1.0}
    for rates in during:
        for (modality, _), rate in rates.items():
            assert rate == pytest.approx(LR * factors[modality])
    assert {group["lr"] for group in strategy.optimizer.param_groups} == {LR}


@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_a_scheduler_that_steps_after_the_update_is_not_undone(
    kit: Any, ratios: Any, first: bool
) -> None:
    class Growing(SupervisedPlugin):
        def after_update(self, strategy: Any, **kwargs: Any) -> None:
            self.scheduler.step()

    ratios([2.0] * 9)
    benchmark, growing = kit.benchmark("re"), Growing()
    plugins = [growing, GradientModulationPlugin(alpha=0.3)]
    strategy = kit.strategy(benchmark.labels, *(plugins if first else plugins[::-1]), lr=LR)
    growing.scheduler = ExponentialLR(strategy.optimizer, 1.1)
    strategy.train(benchmark.train_stream[0])
    (grown,) = {group["lr"] for group in strategy.optimizer.param_groups}
    assert grown == pytest.approx(LR * 1.1**3)


@pytest.mark.slow
def test_a_task_that_was_cut_off_is_no_task_before(kit: Any, ratios: Any) -> None:
    """Its coefficients belong to no average: the task is begun anew, step by step (eq. 9)."""
    ratios([2.0, 2.0, 0.5, 0.8, 0.9, *[1.1] * 3])
    benchmark = kit.benchmark("re")
    plugin = GradientModulationPlugin(alpha=0.3)
    strategy = kit.strategy(benchmark.labels, plugin, kit.CutOff(task=0, step=1))
    with pytest.raises(KeyboardInterrupt):
        strategy.train(benchmark.train_stream[0])
    assert plugin.state_dict()["means"] == []
    kit.train(strategy, benchmark)
    own = [g(ratio) for ratio in (0.5, 0.8, 0.9)]
    assert plugin.applied[2:] == [pytest.approx(pair) for pair in [*own, *[mean(own)] * 3]]


def test_an_optimizer_without_modalities_is_refused(kit: Any) -> None:
    benchmark = kit.benchmark("re")
    strategy = kit.strategy(benchmark.labels, GradientModulationPlugin())
    strategy.optimizer = SGD(strategy.network.parameters(), lr=0.1)
    with pytest.raises(ConfigError, match=r"name no modality.*build_optimizer"):
        strategy.train(benchmark.train_stream[0])


# ---- noise ----------------------------------------------------------------------------------


def test_noise_has_the_deviation_of_the_gradient_on_both_streams(kit: Any, ratios: Any) -> None:
    ratios([2.0] * 9)
    benchmark = kit.benchmark("re")
    recorder = kit.Recorder(tensors=True)
    plugin = GradientModulationPlugin(alpha=0.3, noise=True)
    strategy = kit.strategy(benchmark.labels, recorder, plugin, kind="sgd", lr=LR, weight_decay=0.0)
    strategy.train(benchmark.train_stream[0])
    factors = {"text": 1 - math.tanh(0.6), "vision": 1.0, "shared": 1.0}
    checked = dict.fromkeys(factors, 0)
    for step in recorder.steps:
        for name, gradient in step.gradients.items():
            kind = modality(name)
            noise = (step.before[name] - step.after[name]) / LR - factors[kind] * gradient
            if kind == "shared":
                torch.testing.assert_close(noise, torch.zeros_like(noise), atol=1e-4, rtol=0)
                checked[kind] += 1
            elif gradient.numel() >= 256 and float(gradient.std()) > 1e-3:
                # n >= 256 draws: the sample deviation is within 5 / sqrt(2n) < 0.23 of the true one
                assert float(noise.std() / gradient.std()) == pytest.approx(1, abs=0.23), name
                assert abs(float(noise.mean() / gradient.std())) < 5 / 16, name
                checked[kind] += 1
    assert min(checked.values()) > 3


@pytest.mark.slow
def test_noise_draws_from_its_own_seed_only(kit: Any) -> None:
    benchmark = kit.benchmark("ner")

    def run(seed: int, *, noise: bool, state: int) -> Any:
        torch.manual_seed(state)
        before = torch.get_rng_state()
        plugin = GradientModulationPlugin(alpha=0.3, noise=noise, seed=seed)
        recorder = kit.Recorder()
        weights = kit.train(kit.strategy(benchmark.labels, recorder, plugin), benchmark)
        assert torch.equal(before, torch.get_rng_state())
        return weights, [step.uids for step in recorder.steps]

    first, order = run(0, noise=True, state=1)
    again, _ = run(0, noise=True, state=2)
    other, other_order = run(1, noise=True, state=1)
    none, plain_order = run(0, noise=False, state=1)
    assert kit.same(first, again)
    assert not kit.same(first, other)
    assert not kit.same(first, none)
    assert order == other_order == plain_order


# ---- memory phase ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("asked", [False, True])
def test_the_memory_phase_is_modulated_only_if_asked(kit: Any, ratios: Any, asked: bool) -> None:
    ratios([2.0] * 99)
    benchmark = kit.benchmark("re")
    recorder = kit.Recorder(tensors=True)
    plugin = GradientModulationPlugin(alpha=0.3, modulate_replay=asked)
    strategy = kit.strategy(
        benchmark.labels,
        recorder,
        plugin,
        PrototypeReplayPlugin(size=2),
        kind="sgd",
        lr=LR,
        weight_decay=0.0,
    )
    kit.train(strategy, benchmark)
    memory = [step for step in recorder.steps if step.phase == "memory"]
    assert len(memory) >= 2
    assert len(plugin.ratios) == len(recorder.steps) - (0 if asked else len(memory))
    factor = 1 - math.tanh(0.6) if asked else 1.0
    for step in memory:
        for name, gradient in step.gradients.items():
            scale = factor if modality(name) == "text" else 1.0
            by_hand = step.before[name] - LR * scale * gradient
            torch.testing.assert_close(step.after[name], by_hand, rtol=1e-5, atol=1e-7)
