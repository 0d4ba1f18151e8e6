"""EMR's part of the replay plugin: tasks in turn, features of length 1, features of spans."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mkgc_cl.errors import ConfigError
from mkgc_cl.memory import selection
from mkgc_cl.strategies import PrototypeReplayPlugin


def emr(**options: Any) -> PrototypeReplayPlugin:
    given = {"size": 3, "scope": "task", "normalize": True, "schedule": "round-robin", **options}
    return PrototypeReplayPlugin(**given)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "scope"), [("re", "task"), ("ner", "class")])
def test_before_every_batch_a_step_on_the_memory_of_the_next_task(
    kit: Any, kind: str, scope: Any
) -> None:
    benchmark = kit.benchmark(kind, 3, per_class=5, na=2)
    recorder, plugin = kit.Recorder(), emr(scope=scope)
    strategy = kit.strategy(benchmark.labels, recorder, plugin, epochs=3, batch=5)
    plain = kit.Recorder()
    other = kit.strategy(benchmark.labels, plain, epochs=3, batch=5)
    for number, experience in enumerate(benchmark.train_stream):
        before = benchmark.train_stream[:number]
        recorder.steps.clear()
        plain.steps.clear()
        kept = {sample.identity: sample.uid for sample in plugin.exemplars()}
        turns = [sorted(kept[s.identity] for s in e.samples if s.identity in kept) for e in before]
        strategy.train(experience)
        other.train(experience)
        # the current samples come in the batches in which they come without a memory
        current = [step.uids for step in plain.steps]
        assert len(current) == 3 * -(-len(experience.samples) // 5)
        wanted = []
        for turn, batch in enumerate(current):
            if number:  # the turn goes on over epochs
                wanted.append((turns[turn % len(turns)], True))
            wanted.append((sorted(batch), False))
        assert [(sorted(s.uids), all(s.replayed)) for s in recorder.steps] == wanted
        assert {step.phase for step in recorder.steps} == {"task"}
    assert all(len(names) <= 3 for names in plugin.memory.slots.values())


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("scope", ["task", "class"])
def test_exemplars_are_chosen_by_the_words_of_spans(
    kit: Any, monkeypatch: pytest.MonkeyPatch, normalize: bool, scope: Any
) -> None:
    benchmark = kit.benchmark("ner", 1, per_class=5, na=3)
    seen: list[Tensor] = []
    original = selection.kmeans_centers

    def spy(features: Tensor, clusters: int, *, source: torch.Generator) -> Tensor:
        seen.append(features)
        return original(features, clusters, source=source)

    monkeypatch.setattr(selection, "kmeans_centers", spy)
    plugin = PrototypeReplayPlugin(size=2, features="spans", normalize=normalize, scope=scope)
    strategy = kit.strategy(benchmark.labels, plugin)
    samples = benchmark.train_stream[0].samples
    strategy.train(benchmark.train_stream[0])
    network = strategy.network.eval()
    rows = []
    with torch.no_grad():
        for sample in samples:
            words = network(network.processor.collate([sample])[0]).word_features[0]
            tagged = [i for i, tag in enumerate(sample.tags) if tag != "O"]
            row = words[tagged or list(range(len(sample.tags)))].mean(dim=0)
            rows.append(row / row.norm() if normalize else row)
    groups = [rows] if scope == "task" else [rows[:5], rows[5:]]
    for found, wanted in zip(seen, groups, strict=True):
        torch.testing.assert_close(found, torch.stack(wanted), rtol=1e-4, atol=1e-5)


def test_relations_have_no_spans(kit: Any) -> None:
    benchmark = kit.benchmark("re")
    strategy = kit.strategy(benchmark.labels, PrototypeReplayPlugin(features="spans"))
    with pytest.raises(ConfigError, match="relations have no tagged spans"):
        strategy.train(benchmark.train_stream[0])


@pytest.mark.parametrize("options", [{"batch_size": 4}, {"epochs": 2}, {"lr_scale": 0.5}])
def test_what_tasks_in_turn_do_not_read_is_refused(options: Any) -> None:
    with pytest.raises(ConfigError, match="leave"):
        emr(**options)


def test_features_there_are_not() -> None:
    with pytest.raises(ConfigError, match="features='words'; choose one of"):
        emr(features="words")


@pytest.mark.slow
def test_the_task_of_a_sample_outlives_a_choice_among_all_and_a_state(kit: Any) -> None:
    """Of N/A, whose slot is filled anew by every task, each sample stays its own task's."""
    benchmark = kit.benchmark("re", 3, per_class=5, na=4)
    plugin = emr(scope="class")
    kit.train(kit.strategy(benchmark.labels, plugin), benchmark)
    arrived = [{s.identity for s in experience.samples} for experience in benchmark.train_stream]
    again = emr(scope="class")
    everything = [s for experience in benchmark.train_stream for s in experience.samples]
    again.load_state_dict(plugin.state_dict(), samples=everything)
    for store in (plugin.store, again.store, plugin.store.copy()):
        groups = [{s.identity for s in group} for group in store.by_task()]
        assert all(group and group <= task for group, task in zip(groups, arrived, strict=True))
        assert sum(map(len, groups)) == len(plugin.exemplars())
