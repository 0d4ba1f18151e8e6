"""EMAR: its stages step by step, both losses by hand, predictions from prototypes."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor
from torch.nn import functional as F

from mkgc_cl.data.samples import Task
from mkgc_cl.errors import ConfigError, DataError
from mkgc_cl.models import PrototypeReadout
from mkgc_cl.scenarios import make_benchmark
from mkgc_cl.strategies import EMARPlugin


class Watch(SupervisedPlugin):
    """At every step keep phase, samples, loss, output and the weights it was computed with."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[dict[str, Any]] = []

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        self.steps.append(
            {
                "phase": strategy.phase,
                "uids": strategy.batch.uids,
                "replayed": strategy.batch["replayed"].tolist(),
                "loss": float(strategy.loss.detach()),
                "targets": strategy.mb_y,
                "state": {k: v.clone() for k, v in strategy.network.state_dict().items()},
            }
        )


def start(kit: Any, kind: str, plugin: Any, *, tasks: int = 2, **options: Any) -> Any:
    benchmark = kit.benchmark(kind, tasks, per_class=4, na=2)
    model = kit.text_model(benchmark.labels, dropout=0.0)
    watch = Watch()
    strategy = kit.strategy(benchmark.labels, watch, plugin, model=model, **options)
    return benchmark, strategy, watch


def stages(steps: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Runs of one phase."""
    found: list[tuple[str, list[dict[str, Any]]]] = []
    for step in steps:
        if not found or found[-1][0] != step["phase"]:
            found.append((step["phase"], []))
        found[-1][1].append(step)
    return found


def uids(stage: list[dict[str, Any]], *, replayed: bool | None = None) -> list[str]:
    return sorted(
        uid
        for step in stage
        for uid, old in zip(step["uids"], step["replayed"], strict=True)
        if replayed is None or old == replayed
    )


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "scope"), [("re", "class"), ("ner", "task")])
def test_which_samples_in_which_stage(kit: Any, kind: str, scope: Any) -> None:
    plugin = EMARPlugin(size=2, scope=scope, batch_size=3)
    benchmark, strategy, watch = start(kit, kind, plugin, epochs=2)
    kept: list[Any] = []
    for number, experience in enumerate(benchmark.train_stream):
        watch.steps.clear()
        before = plugin.store.exemplars()
        strategy.train(experience)
        current = sorted(s.uid for s in experience.samples)
        kept = plugin.store.exemplars()
        old = sorted(s.uid for s in kept if s in before)
        scored = sorted(s.uid for s in kept if kind == "re" or set(s.tags) != {"O"})
        # with one entity type there is nothing to tell apart
        cycle = (
            ["activation"] if kind == "ner" and number == 0 else ["activation", "reconsolidation"]
        )
        found = stages(watch.steps)
        if cycle == ["activation"]:  # two in a row
            assert [name for name, _ in found] == ["task", "activation"]
            assert uids(found[1][1]) == sorted(2 * current)
        else:
            assert [name for name, _ in found] == ["task", *cycle, *cycle]
            for name, stage in found[1:]:
                wanted = sorted(old + current) if name == "activation" else scored
                assert uids(stage) == wanted
                assert uids(stage, replayed=True) == (old if name == "activation" else scored)
        assert uids(found[0][1]) == sorted(2 * current)
        assert max(len(s["uids"]) for _, stage in found[1:] for s in stage) == 3
    slots = {"task": 2, "class": 5 if kind == "re" else 3}[scope]
    assert len(plugin.store.memory.slots) == slots
    assert len(kept) == 2 * slots


def in_state(kit: Any, benchmark: Any, state: Any) -> Any:
    """A model with these weights, apart from the run."""
    model = kit.text_model(benchmark.labels, dropout=0.0, seed=7)
    kit.give_readout(model, EMARPlugin())
    model.load_state_dict(state)
    return model.eval()


def units(model: Any, samples: Any) -> tuple[Tensor, Tensor]:
    """Features and classes of samples or spans, one sample at a time."""
    rows, classes = [], []
    for sample in samples:
        batch, target = model.processor.collate([sample])
        found = model(batch)
        if model.labels.kind == "re":
            rows.append(found.features[0])
            classes.append(int(target[0]))
            continue
        for word, tag in enumerate(sample.tags):
            if tag.startswith("B-"):  # every span of these samples has two words
                rows.append(found.word_features[0, word : word + 2].mean(dim=0))
                classes.append(model.labels.classes.index(tag[2:]))
    return torch.stack(rows), torch.tensor(classes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options"),
    [("re", {}), ("ner", {}), ("re", {"normalize": True})],
    ids=["re-as published", "ner-as published", "re-of length 1"],
)
def test_both_losses_by_hand_and_prototypes_frozen_within_the_epoch(
    kit: Any, kind: str, options: Any
) -> None:
    plugin = EMARPlugin(size=2, batch_size=3, **options)
    # at higher rates the features of all relations become one, and every loss ln 5
    benchmark, strategy, watch = start(kit, kind, plugin, lr=1e-4)
    for experience in benchmark.train_stream:
        watch.steps.clear()
        strategy.train(experience)
    by_identity = {s.identity: s for e in benchmark.train_stream for s in e.samples}
    by_uid = {s.uid: s for s in by_identity.values()}
    found = stages(watch.steps)
    reconsolidations = 0
    for position, (name, stage) in enumerate(found):
        if name == "activation":
            # taken before the activation, with the weights of its first step
            model = in_state(kit, benchmark, stage[0]["state"])
            members, owner = units(model, plugin.store.exemplars())
            classes = sorted(set(owner.tolist()))
            if options:
                members = members / members.norm(dim=1, keepdim=True)
            prototypes = torch.stack([members[owner == c].mean(dim=0) for c in classes]).detach()
            for step in stage:
                model = in_state(kit, benchmark, step["state"])
                samples = [by_uid[uid] for uid in step["uids"]]
                batch, targets = model.processor.collate(samples)
                wanted = float(model.loss(model(batch), targets).detach())
                assert step["loss"] == pytest.approx(wanted, rel=1e-4)
            assert found[position + 1][0] == "reconsolidation"
            continue
        if name != "reconsolidation":
            continue
        for step in stage:
            model = in_state(kit, benchmark, step["state"])
            own, labels = units(model, [by_uid[uid] for uid in step["uids"]])
            wanted = 0.0
            for h, label in zip(own, labels.tolist(), strict=True):
                scores = [float((h @ p).detach()) for p in prototypes]
                log_sum = float(torch.tensor(scores).double().logsumexp(dim=0))
                wanted += (log_sum - scores[classes.index(label)]) / len(own)
            assert step["loss"] == pytest.approx(wanted, rel=1e-3, abs=1e-5)
            reconsolidations += 1
        # the encoder moved meanwhile, so prototypes taken anew would be others
        first, last = stage[0]["state"], stage[-1]["state"]
        assert any(not torch.equal(first[k], last[k]) for k in first if k.startswith("text."))
    assert reconsolidations >= 4


@pytest.mark.slow
@pytest.mark.parametrize("mix", [True, False])
def test_relations_are_predicted_from_prototypes(kit: Any, mix: bool) -> None:
    plugin = EMARPlugin(size=2, mix_head_rows=mix)
    benchmark, strategy, _ = start(kit, "re", plugin)
    strategy.train(benchmark.train_stream[0])
    network = strategy.network.eval()
    samples = [s for e in benchmark.test_stream for s in e.samples]
    batch, _ = network.processor.collate(samples)
    with torch.no_grad():
        members, owner = units(network, plugin.store.exemplars())
        scores = network.read_out(network(batch))
        features = network(batch).features
        for c in range(5):
            if not network.seen[c]:
                assert set(scores[:, c].tolist()) == {-1e4}
                continue
            own = list(F.normalize(members[owner == c], dim=1))
            own += [F.normalize(network.head.weight[c], dim=0)] * mix
            mean = torch.stack(own).mean(dim=0)
            torch.testing.assert_close(
                scores[:, c], features @ (mean / mean.norm()), rtol=1e-4, atol=1e-4
            )
    assert not torch.equal(scores, network(batch).logits)
    strategy.eval(benchmark.test_stream[:1])


@pytest.mark.slow
def test_tags_are_predicted_by_the_head(kit: Any) -> None:
    benchmark, strategy, _ = start(kit, "ner", EMARPlugin(size=2))
    kit.train(strategy, benchmark)
    assert strategy.network.readout is None
    strategy.eval(benchmark.test_stream)


@pytest.mark.slow
def test_a_saved_model_predicts_as_it_did(kit: Any) -> None:
    benchmark, strategy, _ = start(kit, "re", EMARPlugin(size=2))
    kit.train(strategy, benchmark)
    file = io.BytesIO()
    torch.save(strategy.network.state_dict(), file)
    file.seek(0)
    again = in_state(kit, benchmark, torch.load(file, weights_only=True))
    network = strategy.network.eval()
    batch, _ = network.processor.collate([s for e in benchmark.test_stream for s in e.samples])
    assert torch.equal(network.read_out(network(batch)), again.read_out(again(batch)))


@pytest.mark.slow
def test_an_evaluation_within_a_stage_uses_the_models_loss(kit: Any) -> None:
    """Avalanche computes a loss in evaluations too, of outputs without features."""
    from mkgc_cl.strategies import continual_evaluator

    benchmark = kit.benchmark("re")
    strategy = kit.strategy(
        benchmark.labels,
        EMARPlugin(size=2),
        model=kit.text_model(benchmark.labels),
        evaluator=continual_evaluator(),
        eval_every=1,
    )
    for experience in benchmark.train_stream:
        strategy.train(experience, eval_streams=[benchmark.test_stream])


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["merge", "exclude"])
def test_small_classes_and_a_task_of_na_alone(kit: Any, policy: Any) -> None:
    """A class of one sample, and a memory that N/A alone fills or leaves empty."""
    stream = kit.stream("re", 2)
    first, second = stream.tasks
    na = tuple(kit.relation_sample(f"re/train/na{n}", n, "none") for n in range(3))
    one = kit.relation_sample("re/train/lonely", 3, "r0")
    lonely = replace(first, train=(one, *(s for s in first.train if s.relation != "r0")))
    tasks = (Task("only-na", (), na, (), ()), lonely, second)
    benchmark = make_benchmark(replace(stream, tasks=tasks))
    plugin = EMARPlugin(size=3, na_policy=policy)
    strategy = kit.strategy(
        benchmark.labels, plugin, model=kit.text_model(benchmark.labels, dropout=0.0)
    )
    strategy.train(benchmark.train_stream[0])
    assert len(plugin.store.exemplars()) == (3 if policy == "merge" else 0)
    # N/A can be predicted although nothing of it is kept
    assert strategy.network.readout.known.tolist() == [True, False, False, False, False]
    for experience in benchmark.train_stream[1:]:
        strategy.train(experience)
    assert plugin.store.memory.slots["r0"] == ("re/train/lonely",)
    assert strategy.network.readout.known.all()


@pytest.mark.slow
def test_samples_without_an_entity_alone(kit: Any) -> None:
    stream = kit.stream("ner", 2)
    empty = tuple(kit.tagging_sample(f"ner/train/o{n}", n, ["K0"], []) for n in range(3))
    benchmark = make_benchmark(
        replace(stream, tasks=(Task("only-o", (), empty, (), ()), *stream.tasks))
    )
    plugin = EMARPlugin(size=2)
    kit.train(
        kit.strategy(benchmark.labels, plugin, model=kit.text_model(benchmark.labels)), benchmark
    )
    assert set(plugin.store.memory.slots) == {"O", "K0", "K1"}


def test_a_model_of_relations_needs_the_readout(kit: Any) -> None:
    benchmark = kit.benchmark("re")
    strategy = kit.strategy(benchmark.labels)
    strategy.plugins.insert(0, EMARPlugin(size=2))
    with pytest.raises(ConfigError, match=r"readout is NoneType.*PrototypeReadout"):
        strategy.train(benchmark.train_stream[0])
    strategy.network.readout = PrototypeReadout(outputs=3, width=2)
    with pytest.raises(ConfigError, match=r"holds \(3, 2\) prototypes.*outputs=5, width=32"):
        strategy.train(benchmark.train_stream[0])


def test_all_wrong_options_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        EMARPlugin(
            size=-1,
            scope="word",  # type: ignore[arg-type]
            cycles=-1,
            na_policy="drop",  # type: ignore[arg-type]
            batch_size=0,
            lr_scale=0.0,
        )
    assert len(caught.value.problems) == 6


@pytest.mark.slow
def test_loading_without_the_samples_names_what_is_missing(kit: Any) -> None:
    benchmark, strategy, _ = start(kit, "re", plugin := EMARPlugin(size=2))
    kit.train(strategy, benchmark)
    with pytest.raises(DataError, match="stored exemplars are not in the given samples"):
        EMARPlugin().load_state_dict(plugin.state_dict(), samples=[])
