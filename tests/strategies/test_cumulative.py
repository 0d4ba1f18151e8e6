"""Joint training: the union of all samples so far, and a fresh start for every task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from mkgc_cl.data.samples import Task
from mkgc_cl.errors import DataError
from mkgc_cl.scenarios import make_benchmark
from mkgc_cl.strategies import CumulativePlugin, PrototypeReplayPlugin

TASKS = 3


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "from_scratch"), [("re", True), ("ner", False)])
def test_every_epoch_of_a_task_sees_the_union_once(kit: Any, kind: str, from_scratch: bool) -> None:
    benchmark = kit.benchmark(kind, TASKS)
    recorder = kit.Recorder()
    plugin = CumulativePlugin(from_scratch=from_scratch)
    kit.train(kit.strategy(benchmark.labels, recorder, plugin, epochs=2), benchmark)
    union: list[str] = []
    for experience in benchmark.train_stream:
        union += [sample.uid for sample in experience.samples]
        steps = [step for step in recorder.steps if step.task == experience.task_name]
        assert not any(any(step.replayed) for step in steps)
        half = len(steps) // 2
        for epoch in (steps[:half], steps[half:]):
            assert sorted(uid for step in epoch for uid in step.uids) == sorted(union)


@pytest.mark.slow
def test_the_latest_labels_of_a_sample_take_the_place_of_its_former(kit: Any) -> None:
    stream = kit.stream("ner", 2)
    again = stream.tasks[0].train[0]
    words = len(again.tokens)
    again = replace(again, tags=(f"B-{stream.tasks[1].classes[0]}", *["O"] * (words - 1)))
    second = replace(stream.tasks[1], train=(*stream.tasks[1].train, again))
    benchmark = make_benchmark(replace(stream, tasks=(stream.tasks[0], second)))
    for latest, versions in ((True, 1), (False, 2)):
        recorder = kit.Recorder()
        plugin = CumulativePlugin(latest=latest)
        kit.train(kit.strategy(benchmark.labels, recorder, plugin), benchmark)
        seen = [uid for step in recorder.steps if step.task == second.name for uid in step.uids]
        assert seen.count(again.uid) == versions
        restored = CumulativePlugin(latest=latest)
        samples = [sample for task in (stream.tasks[0], second) for sample in task.train]
        restored.load_state_dict(plugin.state_dict(), samples=samples)
        assert restored.state_dict()["seen"] == plugin.state_dict()["seen"]


def on_the_union(stream: Any, tasks: int) -> Any:
    """A benchmark of one task that holds the samples of the first ``tasks`` and every class."""
    samples = [sample for task in stream.tasks[:tasks] for sample in task.train]
    everything = Task("all", stream.labels.classes, tuple(samples), (), ())
    return make_benchmark(replace(stream, tasks=(everything,)))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "optimizer"), [("re", "adamw"), ("ner", "sgd")])
def test_from_scratch_is_a_fresh_strategy_on_the_union_to_the_bit(
    kit: Any, kind: str, optimizer: str
) -> None:
    """Dropout and order are those of the task's number, so the fresh run is given that number."""
    stream = kit.stream(kind, TASKS)
    benchmark, union = make_benchmark(stream), on_the_union(stream, TASKS)
    options = {"kind": optimizer, "epochs": 2}
    joint = kit.train(kit.strategy(stream.labels, CumulativePlugin(), **options), benchmark)
    fresh = kit.strategy(stream.labels, **options)
    fresh.clock.train_exp_counter = TASKS - 1
    assert kit.same(joint, kit.train(fresh, union))
    other = kit.train(kit.strategy(stream.labels, **options), union)  # order and dropout of task 1
    assert not kit.same(joint, other)


@pytest.mark.slow
def test_onwards_starts_where_the_task_before_ended(kit: Any, kind: str) -> None:
    benchmark = kit.benchmark(kind, 2)
    recorder = kit.Recorder(tensors=True)
    plugin = CumulativePlugin(from_scratch=False)
    strategy = kit.strategy(benchmark.labels, recorder, plugin)
    kit.train(strategy, benchmark)
    tasks = [step.task for step in recorder.steps]
    boundary = tasks.index(benchmark.train_stream[1].task_name)
    assert kit.same(recorder.steps[boundary - 1].after, recorder.steps[boundary].before)
    steps = {float(state["step"]) for state in strategy.optimizer.state.values()}
    assert steps == {float(len(recorder.steps))}
    assert plugin.state_dict()["initial"] == {}


def test_from_scratch_keeps_what_was_seen_and_what_is_frozen(kit: Any, kind: str) -> None:
    benchmark = kit.benchmark(kind, 2)
    model = kit.model(benchmark.labels, freeze_lower=1)
    begun = {name: p.detach().clone() for name, p in model.named_parameters()}
    recorder = kit.Recorder(tensors=True)
    strategy = kit.strategy(benchmark.labels, recorder, CumulativePlugin(), model=model)
    kit.train(strategy, benchmark)
    assert bool(model.seen.all())
    for step in recorder.steps:
        for name, parameter in model.named_parameters():
            assert parameter.requires_grad or torch.equal(step.before[name], begun[name])
    starts = [
        step
        for index, step in enumerate(recorder.steps)
        if index == 0 or step.task != recorder.steps[index - 1].task
    ]
    assert len(starts) == 2
    assert all(kit.same(step.before, begun) for step in starts)
    assert not kit.same(recorder.steps[-1].after, begun)


def test_the_first_task_is_plain_training(kit: Any, kind: str) -> None:
    benchmark = kit.benchmark(kind, 2)
    ends = []
    for plugins in ([], [CumulativePlugin()]):
        strategy = kit.strategy(benchmark.labels, *plugins)
        strategy.train(benchmark.train_stream[0])
        ends.append(kit.weights(strategy))
    assert kit.same(*ends)


@pytest.mark.slow
def test_a_sample_of_two_tasks_stays_as_either_gives_it(kit: Any) -> None:
    stream = kit.stream("ner", 2)
    again = kit.tagging_sample("ner/train/0", 0, ["K0"], ["K0"])
    tags = tuple(tag.replace("K0", "K1") for tag in again.tags)
    later = (*stream.tasks[1].train, replace(again, tags=tags))
    tasks = (stream.tasks[0], replace(stream.tasks[1], train=later))
    benchmark = make_benchmark(replace(stream, tasks=tasks))
    recorder = kit.Recorder()
    kit.train(kit.strategy(benchmark.labels, recorder, CumulativePlugin()), benchmark)
    found = set()
    for step in recorder.steps:
        for row, uid in enumerate(step.uids):
            if step.task == "K1" and uid == "ner/train/0":
                found.add(tuple(tag for tag in step.targets[row].tolist() if tag >= 0))
    assert found == {(0, 1, 2), (0, 3, 4)}


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False])
def test_exemplars_come_beside_the_union(kit: Any, first: bool) -> None:
    benchmark = kit.benchmark("re", 2)
    recorder = kit.Recorder()
    plugins: Sequence[Any] = [CumulativePlugin(), PrototypeReplayPlugin(size=1, schedule="mixed")]
    order = plugins if first else plugins[::-1]
    kit.train(kit.strategy(benchmark.labels, recorder, *order), benchmark)
    steps = [step for step in recorder.steps if step.task == "T2"]
    union = sorted(s.uid for experience in benchmark.train_stream for s in experience.samples)
    assert sorted(uid for step in steps for uid in step.current) == union
    assert all(step.memory for step in steps)


def test_loading_without_the_samples_names_what_is_missing(kit: Any) -> None:
    benchmark = kit.benchmark("re", 1)
    plugin = CumulativePlugin()
    kit.train(kit.strategy(benchmark.labels, plugin), benchmark)
    with pytest.raises(DataError, match=r"samples of the tasks so far .*load with the stream"):
        CumulativePlugin().load_state_dict(plugin.state_dict(), samples=())
