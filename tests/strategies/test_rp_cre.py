"""RP-CRE: what its memory phase trains on, through what, and what it leaves."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin

from mkgc_cl.data.samples import Task
from mkgc_cl.errors import ConfigError
from mkgc_cl.models import MemoryAttentionReadout, build_optimizer
from mkgc_cl.scenarios import make_benchmark
from mkgc_cl.strategies import MultimodalStrategy, RPCREPlugin


class Watch(SupervisedPlugin):
    """Loss and weights of every step, and the network as every phase finds it."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[dict[str, Any]] = []

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        weights = {k: v.clone() for k, v in strategy.network.state_dict().items()}
        readout = strategy.network.readout
        self.steps.append(
            {
                "phase": strategy.phase,
                "uids": strategy.batch.uids,
                "replayed": strategy.batch["replayed"].tolist(),
                "loss": float(strategy.loss.detach()),
                "state": weights,
                "momenta": readout.key.weight in strategy.optimizer.state,
            }
        )

    def phase(self, name: str) -> list[dict[str, Any]]:
        return [step for step in self.steps if step["phase"] == name]


def with_network(kit: Any, labels: Any, **options: Any) -> Any:
    model = kit.text_model(labels, dropout=0.0, **options)
    model.readout = MemoryAttentionReadout(model.head, heads=2, key_width=4, seed=3)
    return model


def start(kit: Any, *plugins: Any, tasks: int = 2, readout_lr: float = 0.02) -> Any:
    benchmark = kit.benchmark("re", tasks, per_class=4, na=3)
    model = with_network(kit, benchmark.labels)
    watch = Watch()
    strategy = MultimodalStrategy(
        model=model,
        optimizer=build_optimizer(model, lr=0.01, readout_lr=readout_lr),
        plugins=[watch, *plugins],
        train_mb_size=4,
    )
    return benchmark, strategy, watch


def changed(first: Any, last: Any, part: str) -> bool:
    return any(not torch.equal(first[k], last[k]) for k in first if k.startswith(part))


NETWORK = ("readout.query.", "readout.key.", "readout.merge.", "readout.refined_norm.")


@pytest.mark.slow
def test_the_memory_phase_trains_everything_on_memory_alone(kit: Any) -> None:
    plugin = RPCREPlugin(size=2, memory_epochs=3, batch_size=3)
    benchmark, strategy, watch = start(kit, plugin)
    for experience in benchmark.train_stream:
        watch.steps.clear()
        before = {s.identity for s in plugin.store.exemplars()}
        strategy.train(experience)
        task, memory = watch.phase("task"), watch.phase("memory")
        assert watch.steps == [*task, *memory]
        assert not any(any(step["replayed"]) for step in task)
        assert all(all(step["replayed"]) for step in memory)
        samples = [uid for step in memory for uid in step["uids"]]
        each = set(samples)
        assert sorted(samples) == sorted(3 * list(each))
        assert len(each) == 2 * int(strategy.network.seen.sum())
        assert each <= before | {s.identity for s in experience.samples}
        first, last = memory[0]["state"], memory[-1]["state"]
        assert all(changed(first, last, part) for part in (*NETWORK, "text.", "head."))
        assert not changed(first, last, "readout.prototypes")  # frozen
        assert not changed(task[0]["state"], task[-1]["state"], "readout.")
        # taken anew afterwards, with the encoder as it has become
        assert changed(last, strategy.network.state_dict(), "readout.prototypes")


@pytest.mark.slow
def test_the_loss_is_of_the_readout_over_what_was_seen(kit: Any) -> None:
    plugin = RPCREPlugin(size=2, memory_epochs=2, batch_size=3)
    benchmark, strategy, watch = start(kit, plugin)
    strategy.train(benchmark.train_stream[0])
    samples = {s.uid: s for s in benchmark.train_stream[0].samples}
    seen = [0, 1, 2]
    for step in watch.phase("memory"):
        model = with_network(kit, benchmark.labels, seed=8)
        model.load_state_dict(step["state"])
        batch, targets = model.eval().processor.collate([samples[uid] for uid in step["uids"]])
        with torch.no_grad():
            output = model(batch)
            chosen = model.readout.prototypes[seen]
            refined = model.readout.attend(output.features, chosen)
            scores = model.head(refined)[:, seen].log_softmax(dim=1)
        wanted = -scores[range(len(targets)), targets].mean()
        assert step["loss"] == pytest.approx(float(wanted), rel=1e-4)


@pytest.mark.slow
def test_prototypes_are_means_of_the_exemplars_kept_at_last(kit: Any) -> None:
    plugin = RPCREPlugin(size=2, memory_epochs=1)
    benchmark, strategy, _ = start(kit, plugin)
    kit.train(strategy, benchmark)
    network = strategy.network.eval()
    assert network.readout.known.all()
    with torch.no_grad():
        for slot, names in plugin.store.memory.slots.items():
            kept = [s for s in plugin.store.exemplars() if s.identity in names]
            assert len(kept) == 2
            assert {s.relation for s in kept} == {slot}
            mean = network(network.processor.collate(kept)[0]).features.mean(dim=0)
            found = network.readout.prototypes[benchmark.labels.outputs.index(slot)]
            torch.testing.assert_close(found, mean, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "expected"), [("grow", 4), ("merge", 2), ("keep-first", 2)])
def test_choosing_again_starts_from_the_memory_before_the_task(
    kit: Any, policy: Any, expected: int
) -> None:
    """Else N/A would grow twice a task."""
    plugin = RPCREPlugin(size=2, memory_epochs=1, na_policy=policy)
    benchmark, strategy, _ = start(kit, plugin)
    kit.train(strategy, benchmark)
    assert len(plugin.store.memory.slots["none"]) == expected


@pytest.mark.slow
@pytest.mark.parametrize("reset", [True, False])
def test_a_new_network_for_every_phase_or_one_that_learns_on(kit: Any, reset: bool) -> None:
    plugin = RPCREPlugin(size=2, memory_epochs=1, reset_network=reset)
    benchmark, strategy, watch = start(kit, plugin)
    kit.train(strategy, benchmark)
    second = [i for i, step in enumerate(watch.steps) if step["phase"] == "memory"]
    begin = next(i for i in second if watch.steps[i - 1]["phase"] == "task" and i > second[0])
    old, new = watch.steps[begin - 1], watch.steps[begin]
    assert changed(old["state"], new["state"], "readout.key.") == reset
    assert old["momenta"]
    assert new["momenta"] != reset


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_the_network_keeps_its_rate_where_the_others_are_scaled(kit: Any, scale: float) -> None:
    benchmark, strategy, watch = start(kit, RPCREPlugin(size=2, memory_epochs=1, lr_scale=scale))
    rates = kit.step_rates(strategy.optimizer)
    kit.train(strategy, benchmark)
    for step, found in zip(watch.steps, rates, strict=True):
        own = 0.01 * (scale if step["phase"] == "memory" else 1)
        assert {role: rate for (_, role), rate in found.items()} == {
            "encoder": own,
            "head": own,
            "readout": 0.02,
        }
    kinds = [(g["modality"], g["role"]) for g in strategy.optimizer.param_groups]
    assert kinds.count(("shared", "readout")) == 1


@pytest.mark.slow
def test_predictions_go_through_the_network_and_a_saved_model_makes_them(kit: Any) -> None:
    benchmark, strategy, _ = start(kit, RPCREPlugin(size=2, memory_epochs=1))
    strategy.train(benchmark.train_stream[0])
    file = io.BytesIO()
    torch.save(strategy.network.state_dict(), file)
    file.seek(0)
    again = with_network(kit, benchmark.labels, seed=5)
    again.load_state_dict(torch.load(file, weights_only=True))
    network = strategy.network.eval()
    batch, _ = network.processor.collate([s for e in benchmark.test_stream for s in e.samples])
    with torch.no_grad():
        output = network(batch)
        scores = network.read_out(output)
        assert torch.equal(scores, network.readout(output))
        assert not torch.allclose(scores, output.logits)
        assert torch.equal(scores, again.eval().read_out(again(batch)))
    assert set(scores[:, 3:].flatten().tolist()) == {-1e4}
    strategy.eval(benchmark.test_stream[:1])


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["merge", "exclude"])
def test_small_classes_and_a_task_of_na_alone(kit: Any, policy: Any) -> None:
    stream = kit.stream("re", 2)
    first, second = stream.tasks
    na = tuple(kit.relation_sample(f"re/train/na{n}", n, "none") for n in range(3))
    one = kit.relation_sample("re/train/lonely", 3, "r0")
    lonely = replace(first, train=(one, *(s for s in first.train if s.relation != "r0")))
    tasks = (Task("only-na", (), na, (), ()), lonely, second)
    benchmark = make_benchmark(replace(stream, tasks=tasks))
    plugin = RPCREPlugin(size=3, memory_epochs=1, na_policy=policy)
    strategy = kit.strategy(benchmark.labels, plugin, model=with_network(kit, benchmark.labels))
    strategy.train(benchmark.train_stream[0])
    strategy.eval(benchmark.test_stream[1:2])
    assert len(plugin.store.exemplars()) == (3 if policy == "merge" else 0)
    for experience in benchmark.train_stream[1:]:
        strategy.train(experience)
    assert plugin.store.memory.slots["r0"] == ("re/train/lonely",)
    assert strategy.network.readout.known.tolist() == [policy == "merge", *[True] * 4]


@pytest.mark.slow
def test_size_zero_leaves_a_readout_that_is_there_as_it_was(kit: Any) -> None:
    benchmark, strategy, _ = start(kit, RPCREPlugin(size=0))
    _, plain, _ = start(kit)
    assert kit.same(kit.train(strategy, benchmark), kit.train(plain, benchmark))


def test_tags_are_refused(kit: Any) -> None:
    benchmark = kit.benchmark("ner")
    strategy = kit.strategy(benchmark.labels, RPCREPlugin(size=2))
    with pytest.raises(ConfigError, match="method for relations"):
        strategy.train(benchmark.train_stream[0])


def test_a_network_that_is_missing_or_comes_too_late(kit: Any) -> None:
    benchmark = kit.benchmark("re")
    strategy = kit.strategy(benchmark.labels)
    strategy.plugins.insert(0, RPCREPlugin(size=2))
    with pytest.raises(ConfigError, match=r"readout is NoneType.*MemoryAttentionReadout"):
        strategy.train(benchmark.train_stream[0])
    strategy.network.readout = MemoryAttentionReadout(strategy.network.head)
    with pytest.raises(ConfigError, match=r"set model\.readout first, then build the optimizer"):
        strategy.train(benchmark.train_stream[0])


def test_all_wrong_options_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        RPCREPlugin(
            size=-1,
            memory_epochs=0,
            na_policy="drop",  # type: ignore[arg-type]
            batch_size=0,
            lr_scale=-1.0,
        )
    assert len(caught.value.problems) == 5
