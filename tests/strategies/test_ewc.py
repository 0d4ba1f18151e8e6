"""Elastic weight consolidation: which Fisher, which anchor, how many copies."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mkgc_cl.errors import ConfigError, DataError
from mkgc_cl.strategies import EWCPlugin, PrototypeReplayPlugin


def by_hand(model: Any, samples: Any) -> dict[str, torch.Tensor]:
    """Mean square of each post's own gradient, in evaluation mode."""
    model.eval()
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for sample in samples:
        model.zero_grad()
        batch, target = model.processor.collate([sample])
        model.loss(model(batch), target).backward()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                total[name] += parameter.grad.square() / len(samples)
    model.zero_grad()
    model.train()
    return total


def train(
    kit: Any, kind: str, tasks: int, *plugins: Any, optimizer: str = "adamw", epochs: int = 1
) -> tuple[Any, list[Any]]:
    """Train task by task; give the strategy and a copy of the model before every task."""
    benchmark = kit.benchmark(kind, tasks)
    strategy = kit.strategy(
        benchmark.labels, *plugins, dropout=0.0, lr=0.01, kind=optimizer, epochs=epochs
    )
    starts = []
    for experience in benchmark.train_stream:
        starts.append({n: p.detach().clone() for n, p in strategy.network.named_parameters()})
        strategy.train(experience)
    return strategy, starts


@pytest.mark.parametrize("mode", ["online", "last"])
def test_fisher_and_anchor_of_the_task_before(kit: Any, kind: str, mode: Any) -> None:
    """The Fisher of the first task at the weights it left, which are the anchor."""
    benchmark = kit.benchmark(kind, 2)
    plugin = EWCPlugin(weight=1.0, mode=mode, samples=None)
    strategy = kit.strategy(benchmark.labels, plugin, dropout=0.0, lr=0.01)
    first, second = benchmark.train_stream
    strategy.train(first)
    names = [name for name, _ in strategy.network.named_parameters()]
    anchor = {name: p.detach().clone() for name, p in strategy.network.named_parameters()}
    expected = by_hand(strategy.network, first.samples)
    strategy.train(second)
    ((anchors, importances),) = plugin._terms
    for name, found, importance in zip(names, anchors, importances, strict=True):
        assert torch.equal(found, anchor[name]), name
        torch.testing.assert_close(importance, expected[name], rtol=1e-3, atol=1e-7)
    assert plugin.penalties[0] == 0.0  # nothing has moved yet
    assert max(plugin.penalties) > 0


def test_the_modes_keep_what_they_say(kit: Any) -> None:
    kept = {}
    for mode in ("online", "separate", "last"):
        plugin = EWCPlugin(weight=0.0001, mode=mode, samples=None)  # type: ignore[arg-type]
        train(kit, "re", 3, plugin)
        kept[mode] = plugin._terms
    assert [len(kept[mode]) for mode in ("online", "separate", "last")] == [1, 2, 1]
    for place, importance in enumerate(kept["last"][0][1]):
        one, two = (term[1][place] for term in kept["separate"])
        # the tiny penalty moves the runs apart in the last digits
        torch.testing.assert_close(two, importance, rtol=1e-2, atol=1e-5)
        torch.testing.assert_close(kept["online"][0][1][place], one + two, rtol=1e-2, atol=1e-5)


def test_decay_weighs_the_tasks_before(kit: Any) -> None:
    half = EWCPlugin(weight=1e-4, decay=0.5, samples=None)
    separate = EWCPlugin(weight=1e-4, mode="separate", samples=None)
    for plugin in (half, separate):
        train(kit, "re", 3, plugin)
    for place, importance in enumerate(half._terms[0][1]):
        one, two = (term[1][place] for term in separate._terms)
        torch.testing.assert_close(importance, 0.5 * one + two, rtol=1e-2, atol=1e-5)


def test_a_strong_penalty_holds_the_weights_that_mattered(kit: Any, kind: str) -> None:
    """The fifty weights with the largest Fisher move less than in a run that is free."""
    moved = {}
    for weight in (1e-9, 10.0):
        plugin = EWCPlugin(weight=weight, samples=None)
        strategy, starts = train(kit, kind, 2, plugin, optimizer="sgd", epochs=8)
        ((_, importances),) = plugin._terms
        fisher = torch.cat([f.flatten() for f in importances])
        ends = dict(strategy.network.named_parameters())
        steps = torch.cat([(ends[n].detach() - p).flatten() for n, p in starts[1].items()])
        top = fisher.topk(50).indices
        moved[weight] = float(steps[top].norm())
    assert moved[10.0] < 0.7 * moved[1e-9]


def test_memory_phases_come_before_the_anchor_and_bear_the_penalty(kit: Any) -> None:
    recorder = kit.Recorder()
    plugin = EWCPlugin(weight=0.01)
    train(kit, "re", 3, recorder, plugin, PrototypeReplayPlugin(size=2))
    tasks = [step.task for step in recorder.steps]
    assert len(plugin.penalties) == len(tasks) - tasks.count("T1")
    boundary = tasks.index("T3") - tasks.count("T1")
    assert plugin.penalties[boundary] == 0.0  # anchored at what the memory phase of T2 left


def test_the_number_of_posts_is_a_bound(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mkgc_cl.strategies import ewc

    seen: list[int] = []
    estimate = ewc.diagonal_fisher

    def counted(losses: Any, parameters: Any) -> Any:
        found = list(losses)
        seen.append(len(found))
        return estimate(iter(found), parameters)

    monkeypatch.setattr(ewc, "diagonal_fisher", counted)
    train(kit, "re", 2, EWCPlugin(samples=3))
    train(kit, "re", 2, EWCPlugin(samples=None))
    assert seen == [3, len(kit.benchmark("re", 2).train_stream[0].samples)]


def test_loading_without_the_posts_names_what_is_missing(kit: Any) -> None:
    plugin = EWCPlugin()
    train(kit, "re", 1, plugin)
    with pytest.raises(DataError, match="posts of the task before are not in the given samples"):
        EWCPlugin().load_state_dict(plugin.state_dict(), samples=())


def test_all_wrong_options_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        EWCPlugin(weight=float("nan"), mode="offline", decay=0.0, samples=0)  # type: ignore[arg-type]
    assert len(caught.value.problems) == 4
    with pytest.raises(ConfigError, match="mode='last' has no decay, leave it out"):
        EWCPlugin(mode="last", decay=0.5)
