"""Avalanche's own plugins run unmodified on the template, for relations and for tags."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin
from avalanche.training.plugins import EWCPlugin, ReplayPlugin, SynapticIntelligencePlugin
from avalanche.training.storage_policy import (
    ClassBalancedBuffer,
    ExperienceBalancedBuffer,
    ReservoirSamplingBuffer,
)
from avalanche.training.utils import ParamData

from mkgc_cl.strategies import (
    AttentionDistillationPlugin,
    GradientModulationPlugin,
    PrototypeReplayPlugin,
)

# SI squares tensors through numpy.
pytestmark = pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning")

PLUGINS: dict[str, Callable[[], Any]] = {
    "replay-experience": lambda: ReplayPlugin(6, storage_policy=ExperienceBalancedBuffer(6)),
    "replay-reservoir": lambda: ReplayPlugin(6, storage_policy=ReservoirSamplingBuffer(6)),
    "replay-class": lambda: ReplayPlugin(6, storage_policy=ClassBalancedBuffer(6)),
    "ewc": lambda: EWCPlugin(5.0, mode="online", decay_factor=0.5),
    "ewc-separate": lambda: EWCPlugin(5.0, mode="separate"),
}


class Batches(SupervisedPlugin):
    def __init__(self) -> None:
        super().__init__()
        self.uids: list[tuple[str, tuple[str, ...]]] = []

    def before_forward(self, strategy: Any, **kwargs: Any) -> None:
        self.uids.append((strategy.experience.task_name, strategy.batch.uids))


@pytest.mark.slow
@pytest.mark.parametrize("name", PLUGINS)
def test_runs_acts_and_repeats(kit: Any, kind: str, name: str) -> None:
    benchmark = kit.benchmark(kind, 3)
    plain = kit.train(kit.strategy(benchmark.labels), benchmark)
    runs = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        runs.append(kit.train(kit.strategy(benchmark.labels, PLUGINS[name]()), benchmark))
    assert all(bool(torch.isfinite(value).all()) for value in runs[0].values())
    assert kit.same(*runs)  # what they draw, they draw from the strategy's stream
    assert not kit.same(runs[0], plain)


@pytest.mark.parametrize("name", ["replay-experience", "replay-reservoir", "replay-class"])
def test_replayed_posts_are_of_earlier_tasks(kit: Any, kind: str, name: str) -> None:
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


def test_synaptic_intelligence_runs_and_is_inert_on_a_cpu_by_its_own_fault(
    kit: Any, kind: str
) -> None:
    """Avalanche 0.6.0 takes ``param.detach().cpu().flatten()`` for a copy; on a CPU it is no copy.

    The weights before and after a step are then one tensor, every trajectory is 0, and so is the
    penalty, with any model and any template. Once Avalanche copies, this test says so.
    """
    layer = torch.nn.Linear(2, 1)
    held = {name: ParamData(name, p.flatten().shape) for name, p in layer.named_parameters()}
    SynapticIntelligencePlugin.extract_weights(layer, held, set())
    assert held["weight"].data.data_ptr() == layer.weight.data_ptr()

    benchmark = kit.benchmark(kind, 2)
    plugin = SynapticIntelligencePlugin(5.0)
    weights = kit.train(kit.strategy(benchmark.labels, plugin), benchmark)
    assert not any(bool(t.data.any()) for t in plugin.syn_data["trajectory"].values())
    assert kit.same(weights, kit.train(kit.strategy(benchmark.labels), benchmark))


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
