"""Elastic weight consolidation: which Fisher, which anchor, how many copies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import WeakSet

import pytest
import torch
from avalanche.core import SupervisedPlugin
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mkgc_cl.errors import ConfigError, DataError, TrainingError
from mkgc_cl.strategies import EWCPlugin, PrototypeReplayPlugin


def by_hand(model: Any, samples: Any) -> dict[str, torch.Tensor]:
    """Mean square of each sample's own gradient, in evaluation mode."""
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_modes_keep_what_they_say(kit: Any) -> None:
    kept = {}
    for mode, decay in (("online", 1.0), ("separate", 1.0), ("last", 1.0), ("online", 0.5)):
        plugin = EWCPlugin(weight=1e-4, mode=mode, decay=decay, samples=None)  # type: ignore[arg-type]
        train(kit, "re", 3, plugin)
        kept[mode, decay] = plugin._terms
    assert [len(terms) for terms in kept.values()] == [1, 2, 1, 1]
    # the tiny penalty moves the runs apart in the last digits
    near = {"rtol": 1e-2, "atol": 1e-5}
    for place, importance in enumerate(kept["last", 1.0][0][1]):
        one, two = (term[1][place] for term in kept["separate", 1.0])
        torch.testing.assert_close(two, importance, **near)
        torch.testing.assert_close(kept["online", 1.0][0][1][place], one + two, **near)
        torch.testing.assert_close(kept["online", 0.5][0][1][place], 0.5 * one + two, **near)


class Held(TorchDispatchMode):
    """Bytes of the tensors made within, at the worst moment; those from before count nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.live: WeakSet[Any] = WeakSet()
        self.before: WeakSet[Any] = WeakSet()
        self.peak = 0

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for known in self._storages((args, kwargs)):
            if known not in self.live:
                self.before.add(known)
        made = op(*args, **(kwargs or {}))
        for new in self._storages(made):
            if new not in self.before:
                self.live.add(new)
        self.peak = max(self.peak, sum(storage.nbytes() for storage in self.live))
        return made

    @staticmethod
    def _storages(values: Any) -> list[Any]:
        return [t.untyped_storage() for t in tree_leaves(values) if isinstance(t, torch.Tensor)]


def drawn_losses(strategy: Any, samples: Any) -> Iterator[torch.Tensor]:
    """Of the n-th sample n |theta|^2 / 2 with the gradient n theta; no activations to count."""
    for n in range(1, len(samples) + 1):
        yield torch.stack(
            [n * p.flatten().dot(p.detach().flatten()) for p in strategy.network.parameters()]
        ).sum()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["online", "last"])
def test_two_copies_and_one_gradient_are_the_most_it_holds(
    kit: Any, monkeypatch: pytest.MonkeyPatch, mode: Any
) -> None:
    plugin = EWCPlugin(weight=1e-4, mode=mode, samples=3)
    strategy, _ = train(kit, "re", 2, plugin)
    copy = sum(p.nbytes for p in strategy.network.parameters())
    monkeypatch.setattr("mkgc_cl.strategies.ewc._losses", drawn_losses)
    ((anchors, importances),) = plugin._terms
    assert sum(t.nbytes for t in (*anchors, *importances)) == 2 * copy
    before = [importance.clone() for importance in importances]
    with Held() as held:
        plugin._consolidate(strategy)
    assert 0.9 * copy < held.peak < 1.1 * copy  # one sample's gradient, and numbers of one element
    # in place: the tensors are the same, and their numbers the closed form
    assert plugin._terms[0] == (anchors, importances)
    kept = 1.0 if mode == "online" else 0.0
    for parameter, anchor, now, old in zip(
        strategy.network.parameters(), anchors, importances, before, strict=True
    ):
        assert torch.equal(anchor, parameter)
        torch.testing.assert_close(now, kept * old + 14 / 3 * parameter.detach() ** 2)
    # a step's penalty takes two tensors of the largest parameter, and no copy of the model
    for parameter in strategy.network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    strategy.loss = torch.zeros(())
    largest = max(parameter.nbytes for parameter in strategy.network.parameters())
    with Held() as held:
        plugin.after_backward(strategy)
    assert held.peak < 2 * largest + 0.01 * copy < 0.9 * copy
    # the first consolidation has nothing to overwrite: it makes the two, and never three
    plugin._terms = []
    del anchors, importances, before
    with Held() as held:
        plugin._consolidate(strategy)
    assert held.peak < 2.1 * copy


@pytest.mark.slow
def test_a_consolidation_that_is_stopped_is_done_again_or_refused(
    kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mkgc_cl.strategies import ewc

    def stopped(strategy: Any, samples: Any) -> Iterator[torch.Tensor]:
        yield from list(drawn_losses(strategy, samples))[:2]
        raise KeyboardInterrupt

    plugin = EWCPlugin(weight=1e-4, samples=3)
    strategy, _ = train(kit, "re", 2, plugin)
    whole = plugin.state_dict()
    monkeypatch.setattr(ewc, "_losses", stopped)
    with pytest.raises(KeyboardInterrupt):
        plugin._consolidate(strategy)
    for use in (plugin.state_dict, lambda: plugin.after_backward(strategy)):
        with pytest.raises(TrainingError, match="train on the next task again"):
            use()
    monkeypatch.setattr(ewc, "_losses", drawn_losses)
    plugin._consolidate(strategy)
    done = plugin.state_dict()["terms"][0]
    for old, now, p in zip(
        whole["terms"][0]["importances"],
        done["importances"],
        strategy.network.parameters(),
        strict=True,
    ):
        torch.testing.assert_close(now, old + 14 / 3 * p.detach() ** 2)
    # stopped between two tensors, the one moment where the old Fisher is lost
    monkeypatch.setattr(ewc.torch, "add", stop)
    with pytest.raises(KeyboardInterrupt):
        plugin._consolidate(strategy)
    monkeypatch.undo()
    for use in (plugin.state_dict, lambda: plugin._consolidate(strategy)):
        with pytest.raises(TrainingError, match="begin the run anew, or load a state from before"):
            use()
    plugin.load_state_dict(whole, samples=plugin._previous)
    assert len(plugin.state_dict()["terms"]) == 1


class CutOffLate(SupervisedPlugin):
    """Interrupt a run once, when the epochs of its second task are over."""

    armed = True

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        if self.armed and strategy.clock.train_exp_counter == 1:
            self.armed = False
            raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("late", [False, True])
def test_a_task_that_was_cut_off_is_not_consolidated(kit: Any, late: bool) -> None:
    """Begun again, it is held by the task before alone, once."""
    benchmark = kit.benchmark("re", 3)
    plugin = EWCPlugin(mode="separate", samples=None)
    plugins = (plugin, CutOffLate()) if late else (kit.CutOff(task=1, step=1), plugin)
    strategy = kit.strategy(benchmark.labels, *plugins)
    strategy.train(benchmark.train_stream[0])
    left = [p.detach().clone() for p in strategy.network.parameters()]
    with pytest.raises(KeyboardInterrupt):
        strategy.train(benchmark.train_stream[1])
    strategy.train(benchmark.train_stream[1])
    ((anchors, _),) = plugin._terms
    assert all(torch.equal(*pair) for pair in zip(anchors, left, strict=True))
    strategy.train(benchmark.train_stream[2])
    assert len(plugin._terms) == 2


def stop(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_a_strong_penalty_holds_the_weights_that_mattered(kit: Any) -> None:
    """The fifty weights with the largest Fisher move less than in a run that is free."""
    moved = {}
    for weight in (1e-9, 10.0):
        plugin = EWCPlugin(weight=weight, samples=None)
        strategy, starts = train(kit, "re", 2, plugin, optimizer="sgd", epochs=4)
        ((_, importances),) = plugin._terms
        fisher = torch.cat([f.flatten() for f in importances])
        ends = dict(strategy.network.named_parameters())
        steps = torch.cat([(ends[n].detach() - p).flatten() for n, p in starts[1].items()])
        top = fisher.topk(50).indices
        moved[weight] = float(steps[top].norm())
    assert moved[10.0] < 0.7 * moved[1e-9]


@pytest.mark.slow
def test_memory_phases_come_before_the_anchor_and_bear_the_penalty(kit: Any) -> None:
    recorder = kit.Recorder()
    plugin = EWCPlugin(weight=0.01)
    train(kit, "re", 3, recorder, plugin, PrototypeReplayPlugin(size=2))
    tasks = [step.task for step in recorder.steps]
    assert len(plugin.penalties) == len(tasks) - tasks.count("T1")
    boundary = tasks.index("T3") - tasks.count("T1")
    assert plugin.penalties[boundary] == 0.0  # anchored at what the memory phase of T2 left


@pytest.mark.slow
def test_the_number_of_samples_is_a_bound(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mkgc_cl.strategies import ewc

    seen: list[int] = []
    estimate = ewc.diagonal_fisher

    def counted(losses: Any, *rest: Any, **options: Any) -> Any:
        found = list(losses)
        seen.append(len(found))
        return estimate(iter(found), *rest, **options)

    monkeypatch.setattr(ewc, "diagonal_fisher", counted)
    train(kit, "re", 2, EWCPlugin(samples=3))
    train(kit, "re", 2, EWCPlugin(samples=None))
    assert seen == [3, len(kit.benchmark("re", 2).train_stream[0].samples)]


def test_loading_without_the_samples_names_what_is_missing(kit: Any) -> None:
    plugin = EWCPlugin()
    train(kit, "re", 1, plugin)
    with pytest.raises(DataError, match="samples of the task before are not in the given samples"):
        EWCPlugin().load_state_dict(plugin.state_dict(), samples=())


def test_all_wrong_options_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        EWCPlugin(weight=float("nan"), mode="offline", decay=0.0, samples=0)  # type: ignore[arg-type]
    assert len(caught.value.problems) == 4
    with pytest.raises(ConfigError, match="mode='last' has no decay, leave it out"):
        EWCPlugin(mode="last", decay=0.5)
