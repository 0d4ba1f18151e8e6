"""The memory: which samples are kept, under which policy, and when they are trained on."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor

from mkgc_cl.data.samples import Task
from mkgc_cl.errors import ConfigError, DataError
from mkgc_cl.memory import selection
from mkgc_cl.scenarios import make_benchmark
from mkgc_cl.strategies import PrototypeReplayPlugin

# ---- which samples ---------------------------------------------------------------------------


def nearest(features: Tensor, centers: Tensor) -> list[int]:
    """Brute force: for each center in turn the nearest free row, of equally near ones the first."""
    taken: list[int] = []
    for center in centers.tolist():
        distances = {
            index: math.dist(row, center)
            for index, row in enumerate(features.tolist())
            if index not in taken
        }
        bound = min(distances.values()) + 1e-4
        taken.append(next(index for index in distances if distances[index] < bound))
    return sorted(taken)


def assert_kmeans(features: Tensor, centers: Tensor) -> None:
    """Lloyd's fixed point: every center is the mean of the rows that are nearest to it."""
    owner = torch.cdist(features.double(), centers.double()).argmin(dim=1)
    for index, center in enumerate(centers):
        own = features[owner == index]
        assert len(own)
        torch.testing.assert_close(own.double().mean(dim=0), center, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_six_exemplars_a_class_are_nearest_to_the_kmeans_centers(
    kit: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = kit.benchmark(kind, 1, per_class=14, na=9)
    found: list[tuple[Tensor, Tensor]] = []
    original = selection.kmeans_centers

    def spy(features: Tensor, clusters: int, *, source: torch.Generator) -> Tensor:
        centers = original(features, clusters, source=source)
        found.append((features, centers))
        return centers

    monkeypatch.setattr(selection, "kmeans_centers", spy)
    plugin = PrototypeReplayPlugin(size=6)
    strategy = kit.strategy(benchmark.labels, plugin)
    strategy.train(benchmark.train_stream[0])
    by_class: dict[str, list[Any]] = {}
    for sample in benchmark.train_stream[0].samples:
        if kind == "re":
            name = sample.relation
        else:
            name = next((tag[2:] for tag in sample.tags if tag != "O"), "O")
        by_class.setdefault(name, []).append(sample)
    assert set(plugin.memory.slots) == set(by_class)
    strategy.network.eval()
    for (features, centers), slot in zip(found, plugin.memory.slots, strict=True):
        candidates = by_class[slot]
        with torch.no_grad():  # each sample on its own: no batch can mix up rows
            alone = torch.stack(
                [
                    strategy.network(strategy.network.processor.collate([s])[0]).features[0]
                    for s in candidates
                ]
            )
        torch.testing.assert_close(features, alone, rtol=1e-4, atol=1e-5)
        assert len(centers) == 6
        assert_kmeans(features, centers)
        chosen = [candidates[row].identity for row in nearest(features, centers)]
        assert list(plugin.memory.slots[slot]) == chosen


@pytest.mark.slow
def test_replayed_samples_keep_identity_and_labels(kit: Any, kind: str) -> None:
    benchmark = kit.benchmark(kind, 2)
    recorder, plugin = kit.Recorder(), PrototypeReplayPlugin(size=2, schedule="mixed")
    strategy = kit.strategy(benchmark.labels, recorder, plugin)
    kit.train(strategy, benchmark)
    source = {s.uid: s for e in benchmark.train_stream for s in e.samples}
    assert all(sample is source[sample.uid] for sample in plugin.exemplars())
    processor = strategy.network.processor
    replayed = 0
    for step in recorder.steps:
        for row, uid in enumerate(step.uids):
            wanted = list(processor.target(source[uid]))
            got = step.targets[row].reshape(-1).tolist()
            assert got[: len(wanted)] == wanted
            assert set(got[len(wanted) :]) <= {-100}
            replayed += int(step.replayed[row])
    assert replayed > 5


# ---- how many -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("scope", "selected"), [("class", "random"), ("task", "herding")])
def test_budgets(kit: Any, kind: str, scope: Any, selected: Any) -> None:
    benchmark = kit.benchmark(kind, 3, per_class=5, na=4)
    plugin = PrototypeReplayPlugin(size=3, scope=scope, selection=selected)
    strategy = kit.strategy(benchmark.labels, plugin)
    for number, experience in enumerate(benchmark.train_stream, start=1):
        strategy.train(experience)
        sizes = {slot: len(kept) for slot, kept in plugin.memory.slots.items()}
        if scope == "task":
            expected = {e.task_name: 3 for e in benchmark.train_stream[:number]}
        else:
            seen = [name for e in benchmark.train_stream[:number] for name in e.classes]
            expected = dict.fromkeys([*seen, "none" if kind == "re" else "O"], 3)
        assert sizes == expected
        assert len(plugin.exemplars()) == 3 * len(expected)


def first_and_last(features: Tensor, size: int, **options: Any) -> list[int]:
    """A selection one can follow by hand: the first and the last candidate."""
    assert size == 2
    return [0, len(features) - 1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "after"),
    [
        # rows of each task's own N/A samples (a b c | d e f | g h i)
        ("merge", ["ac", "af", "ai"]),
        ("refresh", ["ac", "df", "gi"]),
        ("keep-first", ["ac", "ac", "ac"]),
        ("grow", ["ac", "acdf", "acdfgi"]),
        ("exclude", [None, None, None]),
    ],
)
def test_what_becomes_of_na(
    kit: Any, kind: str, monkeypatch: pytest.MonkeyPatch, policy: Any, after: list[str | None]
) -> None:
    monkeypatch.setattr("mkgc_cl.strategies.replay.select_exemplars", first_and_last)
    benchmark = kit.benchmark(kind, 3)
    slot = "none" if kind == "re" else "O"
    negative = [
        sample.identity
        for experience in benchmark.train_stream
        for sample in experience.samples
        if (
            getattr(sample, "relation", None) == "none" if kind == "re" else "B-" not in str(sample)
        )
    ]
    letters = dict(zip(negative, "abcdefghi", strict=True))
    plugin = PrototypeReplayPlugin(size=2, na_policy=policy)
    strategy = kit.strategy(benchmark.labels, plugin)
    for experience, expected in zip(benchmark.train_stream, after, strict=True):
        strategy.train(experience)
        kept = plugin.memory.slots.get(slot)
        assert (None if kept is None else "".join(letters[name] for name in kept)) == expected
        positive = {name for e in benchmark.train_stream for name in e.classes}
        assert all(len(plugin.memory.slots.get(name, "..")) == 2 for name in positive)


@pytest.mark.slow
def test_small_classes_and_tasks_of_nothing(kit: Any) -> None:
    """A class of one sample keeps it; a task of N/A alone fills no class; nothing stops."""
    stream = kit.stream("re", 2)
    first, second = stream.tasks
    lonely = replace(first, train=tuple(s for s in first.train if s.relation != "r0")[:-1])
    one = kit.relation_sample("re/train/lonely", 3, "r0")
    negative = tuple(kit.relation_sample(f"re/train/na{n}", n, "none") for n in range(3))
    tasks = (
        replace(lonely, train=(one, *lonely.train)),
        Task("only-na", (), negative, (), ()),
        second,
    )
    benchmark = make_benchmark(replace(stream, tasks=tasks))
    plugin = PrototypeReplayPlugin(size=6, na_policy="exclude")
    strategy = kit.strategy(benchmark.labels, plugin)
    kit.train(strategy, benchmark)
    assert plugin.memory.slots["r0"] == ("re/train/lonely",)
    assert set(plugin.memory.slots) == {"r0", "r1", "r2", "r3"}


@pytest.mark.slow
def test_an_empty_memory_replays_nothing(kit: Any) -> None:
    stream = kit.stream("re", 1)
    negative = tuple(kit.relation_sample(f"re/train/na{n}", n, "none") for n in range(3))
    task = Task("only-na", (), negative, (), ())
    benchmark = make_benchmark(replace(stream, tasks=(task, *stream.tasks)))
    for schedule in ("after", "mixed", "alternate"):
        recorder = kit.Recorder()
        plugin = PrototypeReplayPlugin(size=2, na_policy="exclude", schedule=schedule)  # type: ignore[arg-type]
        strategy = kit.strategy(benchmark.labels, recorder, plugin)
        strategy.train(benchmark.train_stream[0])
        assert plugin.exemplars() == []
        strategy.train(benchmark.train_stream[1])
        assert not any(step.memory for step in recorder.steps)


# ---- when -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "epochs", "passes"), [("re", None, 2), ("ner", 3, 3)])
def test_schedule_after(kit: Any, kind: str, epochs: int | None, passes: int) -> None:
    """The whole memory, epoch by epoch, after every task but the first."""
    benchmark = kit.benchmark(kind, 3)
    recorder = kit.Recorder()
    plugin = PrototypeReplayPlugin(size=2, epochs=epochs, batch_size=3)
    strategy = kit.strategy(benchmark.labels, recorder, plugin, epochs=2)
    for number, experience in enumerate(benchmark.train_stream):
        recorder.steps.clear()
        strategy.train(experience)
        phases = [step.phase for step in recorder.steps]
        own = 2 * -(-len(experience.samples) // 4)
        assert phases[:own] == ["task"] * own
        assert not any(step.memory for step in recorder.steps[:own])
        memory = recorder.steps[own:]
        if number == 0:
            assert memory == []
            continue
        stored = sorted(sample.uid for sample in plugin.exemplars())
        each = -(-len(stored) // 3)
        assert [step.phase for step in memory] == ["memory"] * each * passes
        assert not any(step.current for step in memory)
        for start in range(0, len(memory), each):
            epoch = [uid for step in memory[start : start + each] for uid in step.memory]
            assert sorted(epoch) == stored


@pytest.mark.slow
def test_the_memory_phase_has_its_own_learning_rate_and_gives_it_back(kit: Any) -> None:
    benchmark = kit.benchmark("re", 2)
    recorder = kit.Recorder()
    strategy = kit.strategy(
        benchmark.labels, recorder, PrototypeReplayPlugin(size=2, lr_scale=0.1), lr=0.02
    )
    kit.train(strategy, benchmark)
    rates = {phase: {r for s in recorder.steps if s.phase == phase for r in s.rates}
             for phase in ("task", "memory")}  # fmt: skip
    assert rates["task"] == {0.02}
    assert rates["memory"] == {0.02 * 0.1}
    assert {group["lr"] for group in strategy.optimizer.param_groups} == {0.02}


class Halving(SupervisedPlugin):
    """A scheduler: half the rate after every step."""

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        for group in strategy.optimizer.param_groups:
            group["lr"] /= 2


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_a_scheduler_goes_on_through_a_memory_phase(kit: Any, scale: float) -> None:
    """Step n runs at 2^-n of the rate, scaled or not, and so does the first of the next task."""
    benchmark = kit.benchmark("re", 3)
    recorder = kit.Recorder()
    replay = PrototypeReplayPlugin(size=2, lr_scale=scale, epochs=1)
    strategy = kit.strategy(benchmark.labels, recorder, replay, Halving(), lr=1.0)
    kit.train(strategy, benchmark)
    assert [step.phase for step in recorder.steps].count("memory") > 3
    for number, step in enumerate(recorder.steps):
        factor = scale if step.phase == "memory" else 1.0
        assert set(step.rates) == {2.0**-number * factor}


class StopAtTheEnd(SupervisedPlugin):
    """Ask to stop in the last epoch of a task, when only a later loop can hear it."""

    def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        if strategy.phase == "task":
            strategy.stop_training()


@pytest.mark.slow
def test_a_task_that_was_stopped_rehearses_all_the_same(kit: Any) -> None:
    benchmark = kit.benchmark("re")
    recorder = kit.Recorder()
    plugin = PrototypeReplayPlugin(size=2, epochs=1)
    strategy = kit.strategy(benchmark.labels, recorder, plugin, StopAtTheEnd(), epochs=1)
    for number, experience in enumerate(benchmark.train_stream):
        recorder.steps.clear()
        strategy.train(experience)
        phases = {step.phase for step in recorder.steps}
        assert phases == ({"task", "memory"} if number else {"task"})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schedule", "batch_size", "expected"),
    [("mixed", 3, 3), ("mixed", 99, 6), ("alternate", 3, 3), ("alternate", None, 4)],
)
def test_schedules_beside_and_between(
    kit: Any, schedule: Any, batch_size: int | None, expected: int
) -> None:
    benchmark = kit.benchmark("re")
    recorder = kit.Recorder()
    plugin = PrototypeReplayPlugin(size=2, schedule=schedule, batch_size=batch_size)
    strategy = kit.strategy(benchmark.labels, recorder, plugin, epochs=2)
    strategy.train(benchmark.train_stream[0])
    assert not any(step.memory for step in recorder.steps)
    stored = {sample.uid for sample in plugin.exemplars()}
    assert len(stored) == 6
    recorder.steps.clear()
    strategy.train(benchmark.train_stream[1])
    assert {step.phase for step in recorder.steps} == {"task"}
    with_memory = recorder.steps if schedule == "mixed" else recorder.steps[1::2]
    for step in with_memory:
        assert len(step.memory) == len(set(step.memory)) == expected
        assert set(step.memory) <= stored
    if schedule == "alternate":
        assert not any(step.current for step in recorder.steps[1::2])
        assert not any(step.memory for step in recorder.steps[::2])
    current = Counter(uid for step in recorder.steps for uid in step.current)
    assert current == dict.fromkeys((s.uid for s in benchmark.train_stream[1].samples), 2)
    if expected < 6:
        assert len({step.memory for step in with_memory}) > 1


# ---- state and options ---------------------------------------------------------------------------


@pytest.mark.slow
def test_loading_without_the_samples_names_what_is_missing(kit: Any) -> None:
    benchmark = kit.benchmark("re")
    plugin = PrototypeReplayPlugin(size=2)
    kit.train(kit.strategy(benchmark.labels, plugin), benchmark)
    state = plugin.state_dict()
    first = benchmark.train_stream[0].samples
    missing = [
        name for name in plugin.memory.identities() if name not in {s.identity for s in first}
    ]
    with pytest.raises(DataError, match=rf"{len(missing)} stored exemplars.*{missing[0]}"):
        PrototypeReplayPlugin().load_state_dict(state, samples=first)


@pytest.mark.slow
def test_the_state_holds_identities_and_no_samples(kit: Any, kind: str) -> None:
    benchmark = kit.benchmark(kind)
    plugin = PrototypeReplayPlugin(size=2)
    kit.train(kit.strategy(benchmark.labels, plugin), benchmark)
    kept = plugin.state_dict()["exemplars"]
    assert all(isinstance(name, str) for names in kept["slots"].values() for name in names)
    assert all(isinstance(name, str) for pair in kept["tasks"].items() for name in pair)


def test_all_wrong_options_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        PrototypeReplayPlugin(
            size=-1,
            scope="word",  # type: ignore[arg-type]
            selection="best",  # type: ignore[arg-type]
            na_policy="drop",  # type: ignore[arg-type]
            schedule="before",  # type: ignore[arg-type]
            epochs=-1,
            batch_size=0,
            lr_scale=0.0,
        )
    assert len(caught.value.problems) == 8


@pytest.mark.parametrize("options", [{"epochs": 3}, {"lr_scale": 0.1}])
def test_what_only_a_memory_phase_has_is_refused_elsewhere(options: Any) -> None:
    for schedule in ("mixed", "alternate"):
        with pytest.raises(ConfigError, match="has no memory phase, leave both out"):
            PrototypeReplayPlugin(schedule=schedule, **options)  # type: ignore[arg-type]
