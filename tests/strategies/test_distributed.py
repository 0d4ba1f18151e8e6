"""One training on several processes: who takes what, and that nothing but rounding changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.training.plugins import ReplayPlugin

from mkgc_cl import strategies
from mkgc_cl.errors import ConfigError
from mkgc_cl.objectives.modulation import contribution_ratio
from mkgc_cl.seeds import generator
from mkgc_cl.strategies import EMARPlugin, EWCPlugin, adapt_strategy
from mkgc_cl.strategies.distributed import ALONE, Ranks, current_ranks
from mkgc_cl.strategies.loaders import Loaders

SCRIPT = Path(__file__).with_name("two_processes.py")
ROUNDING = {"EMAR, EWC": 1e-5, "RP-CRE": 1e-4, "resumed by two": 0.0}
"""Largest difference of a weight: in single precision; the others in double have 1e-9."""


@pytest.mark.slow
def test_two_processes_train_what_one_trains(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, str(SCRIPT), str(file)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    found = json.loads(file.read_text(encoding="utf-8"))
    assert len(found) == 11
    for name, how in found.items():
        assert how["same matrix"], name
        assert how["weights apart"] <= ROUNDING.get(name, 1e-9), (name, how)
        assert how["traces apart"] <= 1e-8, (name, how)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_every_sample_of_a_batch_is_in_one_share(number: int, kit: Any) -> None:
    benchmark = kit.benchmark("re")
    items = [(sample, False) for sample in benchmark.train_stream[0].samples]
    processor = kit.text_model(benchmark.labels).processor
    loaders = [
        Loaders(processor, eval_size=4, buckets=True, pin=False, seed=0, ranks=ranks)
        for ranks in (ALONE, *(Ranks(rank, number, True) for rank in range(number)))
    ]
    epochs = [list(each.shuffled(items, 5, generator(0, "order"))) for each in loaders]
    sizes = [len(batch.uids) for batch, _ in epochs[0]]
    assert sorted(sizes) == [1, 5, 5]  # the last one is smaller than the number of processes
    for whole, *shares in zip(*epochs, strict=True):
        own = [batch for batch, _ in shares if batch.share]
        assert sorted(uid for batch in own for uid in batch.uids) == sorted(whole[0].uids)
        assert [batch.share for batch, _ in shares] == [
            len(whole[0].uids[rank::number]) / len(whole[0].uids) for rank in range(number)
        ]
        standing_in = [batch for batch, _ in shares if not batch.share]
        assert all(batch.uids == whole[0].uids[:1] for batch in standing_in)
        assert all(batch.to("cpu").share == batch.share for batch, _ in shares)


def test_an_evaluation_shares_whole_batches(kit: Any) -> None:
    benchmark = kit.benchmark("re")
    samples = benchmark.train_stream[0].samples
    processor = kit.text_model(benchmark.labels).processor

    def batches(ranks: Ranks, *, shared: bool) -> list[tuple[str, ...]]:
        made = Loaders(processor, eval_size=4, buckets=True, pin=False, seed=0, ranks=ranks)
        return [batch.uids for batch, _ in made.once(samples, shared=shared)]

    whole = batches(ALONE, shared=True)
    assert batches(Ranks(1, 2, True), shared=False) == whole
    shares = [batches(Ranks(rank, 2, True), shared=True) for rank in range(2)]
    assert shares == [whole[::2], whole[1::2]]


def test_the_ratio_is_of_sums_over_processes() -> None:
    logits, targets = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]), torch.tensor([0, 1, 1])
    whole = contribution_ratio(logits, logits.flip(1), targets)
    parts: list[list[float]] = []
    for rows in (slice(0, 1), slice(1, 3), slice(3, 3)):  # the last process has no sample of it
        contribution_ratio(
            logits[rows],
            logits[rows].flip(1),
            targets[rows],
            None,
            lambda sums: parts.append(sums) or sums,  # type: ignore[func-returns-value]
        )
    added = contribution_ratio(
        logits[:0],
        logits[:0],
        targets[:0],
        None,
        lambda sums: [sum(p) for p in zip(*parts, strict=True)],
    )
    assert added == pytest.approx(whole, rel=1e-6)


def test_fisher_information_of_shares_adds_up(kit: Any) -> None:
    class Share(Ranks):
        def average(self, tensors: Any, share: float) -> None:
            weights.append(share)
            for tensor in tensors:
                tensor.mul_(share)

    weights: list[float] = []
    benchmark = kit.benchmark("re")
    model = kit.text_model(benchmark.labels)
    model.observe(benchmark.labels.classes)
    plugin = EWCPlugin(samples=None)
    strategy = kit.strategy(benchmark.labels, plugin, model=model)
    plugin._previous = tuple(benchmark.train_stream[0].samples[:3])
    parameters = list(model.parameters())
    whole = plugin._fisher(strategy, parameters)
    shares = []
    for rank in range(4):  # the last one has no sample
        strategy.ranks = Share(rank, 4, True)
        shares.append(plugin._fisher(strategy, parameters))
    assert sum(weights) == pytest.approx(1)
    assert weights[-1] == 0
    for total, *parts in zip(whole, *shares, strict=True):
        torch.testing.assert_close(sum(parts), total)


def test_every_plugin_of_the_package_works_in_shared_training() -> None:
    plugins = [name for name in strategies.__all__ if name.endswith("Plugin")]
    assert len(plugins) == 15
    assert all(getattr(strategies, name).supports_distributed for name in plugins)


def test_a_group_without_a_backend_for_the_cpu_is_refused(monkeypatch: Any) -> None:
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_backend", lambda: "nccl")
    with pytest.raises(ConfigError, match="no backend for tensors on the CPU"):
        current_ranks()


def test_what_does_not_say_so_is_refused_by_name(kit: Any, monkeypatch: Any) -> None:
    class Mine(SupervisedPlugin):
        pass

    class Told(SupervisedPlugin, supports_distributed=True):
        pass

    labels = kit.benchmark("re").labels
    assert current_ranks() == ALONE
    monkeypatch.setattr("mkgc_cl.strategies.template.current_ranks", lambda: Ranks(1, 2, True))
    evaluator = strategies.continual_evaluator(metrics=[accuracy_metrics(stream=True)])
    with pytest.raises(ConfigError) as refused:
        kit.strategy(labels, EMARPlugin(), Told(), Mine(), ReplayPlugin(), evaluator=evaluator)
    named = [problem.partition(" ")[0] for problem in refused.value.problems]
    assert named == ["Mine", "ReplayPlugin", "StreamAccuracy"]


def test_strategies_of_avalanche_are_refused(kit: Any, monkeypatch: Any) -> None:
    from avalanche.training.supervised import Naive

    monkeypatch.setattr("mkgc_cl.strategies.adapted.current_ranks", lambda: Ranks(0, 2, True))
    model = kit.text_model(kit.benchmark("re").labels)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ConfigError, match="run them in one process"):
        adapt_strategy(Naive)(
            model=model, optimizer=optimizer, criterion=torch.nn.CrossEntropyLoss()
        )
