"""What every plugin owes: both tasks, any company, no trace at weight 0, a state to go on from."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterable
from itertools import combinations
from typing import Any

import pytest
import torch

from mkgc_cl.strategies import (
    AttentionDistillationPlugin,
    CumulativePlugin,
    EMARPlugin,
    EWCPlugin,
    GaussianReadoutPlugin,
    GradientModulationPlugin,
    PrototypeReplayPlugin,
    RPCREPlugin,
    TokenDistillationPlugin,
    continual_evaluator,
)

Make = Callable[[], Any]

ACTIVE: dict[str, Make] = {
    "modulation": lambda: GradientModulationPlugin(alpha=0.5),
    "modulation-noise": lambda: GradientModulationPlugin(alpha=0.5, noise=True),
    "modulation-of-replay": lambda: GradientModulationPlugin(alpha=0.5, modulate_replay=True),
    "distillation": lambda: AttentionDistillationPlugin(weight=0.5),
    "distillation-as-eq-13": lambda: AttentionDistillationPlugin(weight=0.5, center=False),
    "replay-after": lambda: PrototypeReplayPlugin(size=2),
    "replay-mixed": lambda: PrototypeReplayPlugin(size=2, schedule="mixed"),
    "replay-alternate": lambda: PrototypeReplayPlugin(size=2, schedule="alternate"),
    "replay-random": lambda: PrototypeReplayPlugin(size=2, selection="random"),
    "emr": lambda: PrototypeReplayPlugin(
        size=3, scope="task", normalize=True, schedule="round-robin"
    ),
    "emar": lambda: EMARPlugin(size=2),
    "emar-by-task": lambda: EMARPlugin(
        size=3, scope="task", cycles=1, normalize=False, mix_head_rows=False, lr_scale=0.5
    ),
    "rp-cre": lambda: RPCREPlugin(size=2, memory_epochs=2),
    "rp-cre-one-network": lambda: RPCREPlugin(
        size=2, memory_epochs=1, reset_network=False, lr_scale=0.5
    ),
    "ewc": lambda: EWCPlugin(weight=5.0, samples=3),
    "ewc-separate": lambda: EWCPlugin(weight=5.0, mode="separate", samples=None),
    "ewc-last": lambda: EWCPlugin(weight=5.0, mode="last"),
    "gaussian": GaussianReadoutPlugin,
    "gaussian-after-one-task": lambda: GaussianReadoutPlugin(trained_tasks=1, background="soft"),
    "cumulative": CumulativePlugin,
    "cumulative-onwards": lambda: CumulativePlugin(from_scratch=False),
    "tokens": lambda: TokenDistillationPlugin(weight=0.5),
    "tokens-renormalized": lambda: TokenDistillationPlugin(
        weight=0.5, temperature=2.0, restrict="renormalize"
    ),
}

IDLE: dict[str, Make] = {
    "modulation": lambda: GradientModulationPlugin(alpha=0.0),
    "modulation-noise": lambda: GradientModulationPlugin(alpha=0.0, noise=True),
    "distillation": lambda: AttentionDistillationPlugin(weight=0.0),
    "replay-after": lambda: PrototypeReplayPlugin(size=0),
    "replay-mixed": lambda: PrototypeReplayPlugin(size=0, schedule="mixed"),
    "replay-alternate": lambda: PrototypeReplayPlugin(size=0, schedule="alternate"),
    "emr": lambda: PrototypeReplayPlugin(size=0, schedule="round-robin"),
    "emar": lambda: EMARPlugin(size=0),
    "rp-cre": lambda: RPCREPlugin(size=0),
    "ewc": lambda: EWCPlugin(weight=0.0),
    "tokens": lambda: TokenDistillationPlugin(weight=0.0),
}

WORD_BY_WORD = {"tokens", "tokens-renormalized"}
"""Plugins of tagging streams alone, for models whose tagger is a softmax."""

LONG = {"cumulative", "emar", "rp"}
"""First words of plugins whose shortest run is too long for the fast tier."""

SMALL = {"per_class": 3, "na": 2}  # samples of a class and without any: two steps per task

ALL = ("modulation", "distillation", "replay-after")


def runs(names: Iterable[Any], *, both: bool = True) -> list[Any]:
    """Each plugin, or tuple of plugins, with each task it is made for.

    In the fast tier the first of its kind alone, with one task; the others of its kind meet the
    second task in the exhaustive one, as all do unless it is for ``both``: there the contract of
    the systems (``test_systems.py``) tries every kind of plugin on both tasks.
    """
    found, families = [], set()
    for name in names:
        group = (name,) if isinstance(name, str) else name
        kinds = ("ner",) if WORD_BY_WORD & {*group} else ("re", "ner")
        if any(one.startswith("rp-cre") for one in group):  # a method for relations
            kinds = ("re",)
        family = tuple(one.partition("-")[0] for one in group)
        variant = family in families
        for kind in kinds:
            marks = [pytest.mark.slow] if family in families or LONG & {*family} else []
            if (variant or not both) and kind != kinds[0]:
                marks = [pytest.mark.exhaustive]
            found.append(pytest.param(kind, name, id=f"{kind}-{'+'.join(group)}", marks=marks))
            families.add(family)
    return found


def network(kit: Any, labels: Any, *names: str, **options: Any) -> Any:
    """A model that all of these plugins can train."""
    tagger = "softmax" if WORD_BY_WORD & {*names} else "crf"
    return kit.model(labels, tagger=tagger, **options)


@pytest.fixture(scope="module")
def plain(kit: Any) -> Callable[..., dict[str, torch.Tensor]]:
    """Final weights of plain fine-tuning, trained once for each task and model."""
    found: dict[tuple[str, bool], dict[str, torch.Tensor]] = {}

    def weights(kind: str, name: str) -> dict[str, torch.Tensor]:
        which = (kind, name in WORD_BY_WORD)
        if which not in found:
            benchmark = kit.benchmark(kind, **SMALL)
            model = network(kit, benchmark.labels, name)
            found[which] = kit.train(kit.strategy(benchmark.labels, model=model), benchmark)
        return found[which]

    return weights


@pytest.mark.parametrize(("kind", "name"), runs(IDLE))
def test_weight_zero_is_no_plugin_to_the_bit(kit: Any, kind: str, plain: Any, name: str) -> None:
    benchmark = kit.benchmark(kind, **SMALL)
    model = network(kit, benchmark.labels, name)
    with_plugin = kit.train(kit.strategy(benchmark.labels, IDLE[name](), model=model), benchmark)
    assert kit.same(with_plugin, plain(kind, name))


@pytest.mark.parametrize(("kind", "name"), runs(ACTIVE, both=False))
def test_acts_repeats_draws_nothing_global_and_does_not_mind_evaluation(
    kit: Any, kind: str, plain: Any, name: str
) -> None:
    benchmark = kit.benchmark(kind, **SMALL)
    ends = []
    for watched in (False, True):
        torch.manual_seed(int(watched))
        before = torch.get_rng_state()
        strategy = kit.strategy(
            benchmark.labels,
            ACTIVE[name](),
            model=network(kit, benchmark.labels, name),
            evaluator=continual_evaluator(),
            eval_every=1 if watched else -1,
        )
        for experience in benchmark.train_stream:
            strategy.train(experience, eval_streams=[benchmark.test_stream] if watched else None)
        ends.append(kit.weights(strategy))
        assert torch.equal(before, torch.get_rng_state())
        assert {group["lr"] for group in strategy.optimizer.param_groups} == {0.01}
        assert all(bool(torch.isfinite(value).all()) for value in ends[-1].values())
    assert kit.same(*ends)
    trained = {name: w for name, w in ends[0].items() if not name.startswith("readout.")}
    assert not kit.same(trained, plain(kind, name))


def through_a_file(state: Any) -> Any:
    """What is left of a state after saving and loading without pickled code."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def restore(plugin: Any, state: Any, benchmark: Any) -> None:
    given = PrototypeReplayPlugin | EWCPlugin | CumulativePlugin | EMARPlugin | RPCREPlugin
    if isinstance(plugin, given):
        samples = [s for experience in benchmark.train_stream for s in experience.samples]
        plugin.load_state_dict(state, samples=samples)
    else:
        plugin.load_state_dict(state)


def assert_goes_on_as_before(kit: Any, kind: str, names: tuple[str, ...]) -> None:
    benchmark = kit.benchmark(kind, 3, **SMALL)
    one = [ACTIVE[name]() for name in names]
    model = network(kit, benchmark.labels, *names)
    strategy = kit.strategy(benchmark.labels, *one, model=model)
    for experience in benchmark.train_stream[:2]:
        strategy.train(experience)
    saved = through_a_file(
        {
            "plugins": [plugin.state_dict() for plugin in one],
            "model": strategy.network.state_dict(),
            "optimizer": strategy.optimizer.state_dict(),
        }
    )
    frozen = copy.deepcopy(saved["plugins"])
    strategy.train(benchmark.train_stream[2])
    straight = kit.weights(strategy)

    other = [ACTIVE[name]() for name in names]
    # into plugins that were used before: what they knew must go
    used = kit.strategy(
        benchmark.labels, *other, model=network(kit, benchmark.labels, *names, seed=5)
    )
    used.train(benchmark.train_stream[0])
    for plugin, state in zip(other, saved["plugins"], strict=True):
        restore(plugin, state, benchmark)
    fresh = network(kit, benchmark.labels, *names, seed=9)
    again = kit.strategy(benchmark.labels, *other, model=fresh)
    again.network.load_state_dict(saved["model"])
    again.optimizer.load_state_dict(saved["optimizer"])
    again.clock.train_exp_counter = (
        2  # order and dropout belong to the task, not to what ran before
    )
    again.train(benchmark.train_stream[2])
    assert kit.same(straight, kit.weights(again))
    for first, second in zip(one, other, strict=True):
        assert_equal(first.state_dict(), second.state_dict())
    assert_equal(saved["plugins"], frozen)  # going on does not write into the loaded state


def assert_equal(first: Any, second: Any) -> None:
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_equal(first[key], second[key])
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for one, two in zip(first, second, strict=True):
            assert_equal(one, two)
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    else:
        assert first == second


SAVED: list[tuple[str, tuple[str, ...]]] = [
    ("re", ("modulation-noise", "distillation", "replay-mixed")),
    ("ner", ("modulation-noise", "distillation", "replay-mixed")),
    ("re", ("modulation", "distillation-as-eq-13", "replay-alternate", "ewc")),
    ("re", ("modulation-of-replay", "replay-after", "ewc-separate")),
    ("re", ("replay-random", "cumulative")),
    ("re", ("emr", "cumulative-onwards")),
    ("re", ("emar",)),
    ("re", ("emar-by-task", "ewc-last")),
    ("re", ("rp-cre",)),
    ("re", ("rp-cre-one-network",)),
    ("re", ("gaussian",)),
    ("re", ("gaussian-after-one-task",)),
    ("ner", ("tokens", "replay-after")),
    ("ner", ("tokens-renormalized", "emr")),
]
"""Several at once, each of which would show in the weights if its state were not whole."""


def test_the_state_of_every_plugin_is_saved_in_one_of_the_runs() -> None:
    assert {name for _, names in SAVED for name in names} == ACTIVE.keys()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "names"), SAVED, ids=[f"{kind}-{'+'.join(names)}" for kind, names in SAVED]
)
def test_a_saved_state_goes_on_as_if_never_stopped(
    kit: Any, kind: str, names: tuple[str, ...]
) -> None:
    assert_goes_on_as_before(kit, kind, names)


SUBSETS = [
    *combinations(ALL, 2),
    ALL,
    ("modulation-of-replay", "replay-after"),
    ("ewc", "replay-after"),
    ("cumulative", "replay-mixed", "ewc"),
    ("tokens", "replay-mixed"),
    ("tokens", "modulation", "distillation"),
    ("ewc", "emar"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "subset"), runs(SUBSETS, both=False))
def test_any_subset_in_any_order_is_the_same_run(
    kit: Any, kind: str, subset: tuple[str, ...]
) -> None:
    benchmark = kit.benchmark(kind, **SMALL)
    ends = []
    for first in range(len(subset)):  # so that of each two either comes first
        order = (*subset[first:], *subset[:first])
        strategy = kit.strategy(
            benchmark.labels,
            *(ACTIVE[name]() for name in order),
            model=network(kit, benchmark.labels, *subset),
            batch=6,
            lr=0.003,
        )
        ends.append(kit.train(strategy, benchmark))
    assert all(kit.same(ends[0], end) for end in ends[1:])
