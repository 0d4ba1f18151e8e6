"""Avalanche's own plugins run unmodified on the template, for relations and for tags."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.core import SupervisedPlugin
from avalanche.training.plugins import (
    AGEMPlugin,
    EarlyStoppingPlugin,
    EWCPlugin,
    LRSchedulerPlugin,
    LwFPlugin,
    MASPlugin,
    ReplayPlugin,
    RWalkPlugin,
    SynapticIntelligencePlugin,
)
from avalanche.training.storage_policy import (
    ClassBalancedBuffer,
    ExperienceBalancedBuffer,
    ReservoirSamplingBuffer,
)
from avalanche.training.utils import ParamData
from torch.nn import functional as F
from torch.optim.lr_scheduler import StepLR

from mkgc_cl.models import build_optimizer
from mkgc_cl.strategies import (
    AttentionDistillationPlugin,
    GradientModulationPlugin,
    MultimodalStrategy,
    PrototypeReplayPlugin,
    continual_evaluator,
)
from mkgc_cl.strategies.avalanche_parts import PLUGINS as ROWS

PLUGINS: dict[str, Callable[[], Any]] = {
    "replay-experience": lambda: ReplayPlugin(6, storage_policy=ExperienceBalancedBuffer(6)),
    "replay-reservoir": lambda: ReplayPlugin(6, storage_policy=ReservoirSamplingBuffer(6)),
    "replay-class": lambda: ReplayPlugin(6, storage_policy=ClassBalancedBuffer(6)),
    "ewc": lambda: EWCPlugin(5.0, mode="online", decay_factor=0.5),
    "ewc-separate": lambda: EWCPlugin(5.0, mode="separate"),
    "a-gem": lambda: AGEMPlugin(6, 4),
    "mas": lambda: MASPlugin(5.0, 0.5),
    "rwalk": lambda: RWalkPlugin(5.0, 0.9, 1),
    "lwf": lambda: LwFPlugin(5.0, 2.0),
}


class Batches(SupervisedPlugin):
    def __init__(self) -> None:
        super().__init__()
        self.uids: list[tuple[str, tuple[str, ...]]] = []

    def before_forward(self, strategy: Any, **kwargs: Any) -> None:
        self.uids.append((strategy.experience.task_name, strategy.batch.uids))


class LossBefore(SupervisedPlugin):
    """The loss as it is before the plugins after this one add to it."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        self.losses.append(float(strategy.loss.detach()))


def test_every_plugin_that_is_said_to_work_is_tried() -> None:
    tried = {type(make()).__name__ for make in PLUGINS.values()}
    tried |= {"EarlyStoppingPlugin", "LRSchedulerPlugin"}  # below
    assert tried == {part.name for part in ROWS if part.works and not part.gpu_only}


@pytest.fixture(scope="module")
def plain(kit: Any) -> Callable[[str], dict[str, torch.Tensor]]:
    """Final weights of plain fine-tuning on two tasks, trained once for each kind."""

    @cache
    def weights(kind: str) -> dict[str, torch.Tensor]:
        benchmark = kit.benchmark(kind, 2)
        return kit.train(kit.strategy(benchmark.labels), benchmark)  # type: ignore[no-any-return]

    return weights


@pytest.mark.slow
@pytest.mark.parametrize("name", PLUGINS)
def test_runs_acts_and_repeats(kit: Any, plain: Any, kind: str, name: str) -> None:
    if (name, kind) == ("lwf", "ner"):
        pytest.skip("refused")
    benchmark = kit.benchmark(kind, 2)
    runs = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        random.seed(noise)
        runs.append(kit.train(kit.strategy(benchmark.labels, PLUGINS[name]()), benchmark))
    assert all(bool(torch.isfinite(value).all()) for value in runs[0].values())
    assert kit.same(*runs)  # what they draw, they draw from the strategy's stream
    assert not kit.same(runs[0], plain(kind))


@pytest.mark.slow
def test_global_generators_are_left_alone(kit: Any) -> None:
    """A-GEM draws from Python's."""
    benchmark = kit.benchmark("re", 2)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    kit.train(kit.strategy(benchmark.labels, AGEMPlugin(6, 4)), benchmark)
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.get_rng_state().tolist() == states[2]


@pytest.mark.parametrize("name", ["replay-experience", "replay-reservoir", "replay-class"])
def test_replayed_samples_are_of_earlier_tasks(kit: Any, kind: str, name: str) -> None:
    benchmark = kit.benchmark(kind, 2)
    batches = Batches()
    kit.train(kit.strategy(benchmark.labels, PLUGINS[name](), batches), benchmark)
    first, second = ({s.uid for s in e.samples} for e in benchmark.train_stream)
    task = benchmark.train_stream[1].task_name
    later = [uids for name_, uids in batches.uids if name_ == task]
    assert later
    for uids in later:
        assert set(uids) & first
        assert set(uids) & second
        assert set(uids) <= first | second


@pytest.mark.slow
def test_lwf_distills_the_old_relations(kit: Any) -> None:
    """Its first term on task 2, where model and teacher are one, and after a step by hand."""
    benchmark = kit.benchmark("re", 2)
    before, plugin, recorder = LossBefore(), LwFPlugin(1.0, 2.0), kit.Recorder()
    strategy = kit.strategy(benchmark.labels, before, plugin, recorder, dropout=0.0)
    strategy.train(benchmark.train_stream[0])
    teacher = strategy.snapshot()
    steps = len(recorder.steps)
    strategy.train(benchmark.train_stream[1])
    assert plugin.lwf.prev_classes_by_task == {0: {0, 1, 2, 3, 4}}
    terms = [
        step.loss - plain
        for step, plain in zip(recorder.steps[steps:], before.losses[steps:], strict=True)
    ]
    assert terms[0] == pytest.approx(0, abs=1e-5)
    assert terms[1] > 1e-4

    student = kit.strategy(benchmark.labels, dropout=0.0).network
    student.load_state_dict(strategy.network.state_dict())
    batch, _ = student.processor.collate(benchmark.train_stream[1].samples)
    with torch.no_grad():
        now, then = student.eval()(batch), teacher(batch)
    old = [0, 1, 2]
    plugin.lwf.prev_model, plugin.lwf.prev_classes_by_task = teacher, {0: set(old)}
    with torch.no_grad():
        term = plugin.lwf(batch, now, student)
    by_hand = F.kl_div(
        (now.logits[:, old] / 2).log_softmax(1),
        (then.logits[:, old] / 2).softmax(1),
        reduction="batchmean",
    )
    assert float(term) == pytest.approx(float(by_hand), rel=1e-5)


def test_mas_weighs_by_the_gradient_of_the_squared_scores(kit: Any, kind: str) -> None:
    """Of real words: padding has no part in it."""
    benchmark = kit.benchmark(kind, 1)
    plugin = MASPlugin(1.0, 0.5)
    strategy = kit.strategy(benchmark.labels, plugin, dropout=0.0, batch=100)
    strategy.train(benchmark.train_stream[0])

    model = strategy.network.train()
    batch, targets = model.processor.collate(benchmark.train_stream[0].samples)
    rows = model(batch).logits.reshape(-1, len(benchmark.labels.outputs))
    rows = rows[targets.flatten() != -100]
    model.zero_grad()
    rows.pow(2).sum(dim=1).mean().backward()
    for name, parameter in model.named_parameters():
        wanted = 0 * parameter if parameter.grad is None else parameter.grad.abs()
        got = plugin.importance[name].data
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ewc", "mas", "rwalk"])
def test_a_penalty_holds_weights(kit: Any, name: str) -> None:
    """It keeps the weights after the second task nearer to those after the first."""
    heavy = {
        "ewc": lambda: EWCPlugin(10.0, mode="online", decay_factor=0.5),
        "mas": lambda: MASPlugin(10.0, 0.5),
        "rwalk": lambda: RWalkPlugin(10.0, 0.9, 1),
    }[name]
    benchmark = kit.benchmark("re", 2)
    moved = []
    for plugins in ([], [heavy()]):
        strategy = kit.strategy(benchmark.labels, *plugins, kind="sgd", dropout=0.0, epochs=2)
        strategy.train(benchmark.train_stream[0])
        start = kit.weights(strategy)
        strategy.train(benchmark.train_stream[1])
        end = kit.weights(strategy)
        moved.append(sum(float((end[n] - start[n]).pow(2).sum()) for n in end if n != "seen"))
    free, held = moved
    assert held < free


def test_a_scheduler_steps_by_epochs_and_starts_again_with_a_task(kit: Any) -> None:
    benchmark = kit.benchmark("re", 2)
    model = kit.model(benchmark.labels)
    optimizer = build_optimizer(model, lr=0.01)
    recorder = kit.Recorder()
    strategy = MultimodalStrategy(
        model=model,
        optimizer=optimizer,
        plugins=[recorder, LRSchedulerPlugin(StepLR(optimizer, 1, gamma=0.5))],
        train_mb_size=100,
        train_epochs=2,
    )
    kit.train(strategy, benchmark)
    rates = [step.rates[0] for step in recorder.steps]
    assert rates == [0.01, 0.005, 0.01, 0.005]


@pytest.mark.filterwarnings("ignore:Metric A_Stream used by the EarlyStopping:UserWarning")
@pytest.mark.parametrize("patience", [1, 9])
def test_early_stopping_reads_our_measures(kit: Any, patience: int) -> None:
    """Nothing is learned at such a rate, so patience decides."""
    benchmark = kit.benchmark("re", 1)
    recorder = kit.Recorder()
    strategy = kit.strategy(
        benchmark.labels,
        recorder,
        EarlyStoppingPlugin(patience, "valid_stream", "A_Stream"),
        lr=1e-30,
        batch=100,
        epochs=4,
        evaluator=continual_evaluator(),
        eval_every=1,
    )
    strategy.train(benchmark.train_stream[0], eval_streams=[benchmark.valid_stream])
    assert (len(recorder.steps) < 4) == (patience == 1)


def test_synaptic_intelligence_takes_the_weights_for_their_copy_on_a_cpu() -> None:
    """Avalanche 0.6.0 takes ``param.detach().cpu().flatten()`` for a copy; on a CPU it is no copy.

    The weights before and after a step are then one tensor, every trajectory is 0, and so is the
    penalty, with any model and any template: it is refused there. Once Avalanche copies, this test
    says so.
    """
    layer = torch.nn.Linear(2, 1)
    held = {name: ParamData(name, p.flatten().shape) for name, p in layer.named_parameters()}
    SynapticIntelligencePlugin.extract_weights(layer, held, set())
    assert held["weight"].data.data_ptr() == layer.weight.data_ptr()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning")
def test_synaptic_intelligence_acts_where_weights_are_copied(
    kit: Any, plain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they are from a GPU to the CPU."""
    extract = SynapticIntelligencePlugin.extract_weights

    def copied(model: Any, target: Any, excluded: Any) -> None:
        extract(model, target, excluded)
        for held in target.values():
            held.data = held.data.clone()

    monkeypatch.setattr(SynapticIntelligencePlugin, "extract_weights", staticmethod(copied))
    benchmark = kit.benchmark("re", 2)
    plugin = SynapticIntelligencePlugin(5.0)
    strategy = kit.strategy(benchmark.labels)
    strategy.plugins.insert(0, plugin)  # past the refusal
    weights = kit.train(strategy, benchmark)
    assert any(bool(t.data.any()) for t in plugin.syn_data["trajectory"].values())
    assert not kit.same(weights, plain("re"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning")
def test_synaptic_intelligence_acts_on_a_gpu(kit: Any, kind: str) -> None:
    benchmark = kit.benchmark(kind, 2)
    plugin = SynapticIntelligencePlugin(5.0)
    weights = kit.train(kit.strategy(benchmark.labels, plugin, device="cuda"), benchmark)
    assert any(bool(t.data.any()) for t in plugin.syn_data["trajectory"].values())
    assert not kit.same(
        weights, kit.train(kit.strategy(benchmark.labels, device="cuda"), benchmark)
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["replay-class", "ewc"])
def test_in_company_of_our_plugins(kit: Any, kind: str, name: str) -> None:
    benchmark = kit.benchmark(kind, 2)
    strategy = kit.strategy(
        benchmark.labels,
        PLUGINS[name](),
        GradientModulationPlugin(),
        AttentionDistillationPlugin(),
        PrototypeReplayPlugin(size=2),
        lr=0.003,
    )
    weights = kit.train(strategy, benchmark)
    assert all(bool(torch.isfinite(value).all()) for value in weights.values())
