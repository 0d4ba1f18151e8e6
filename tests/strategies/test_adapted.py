"""Avalanche's own strategy classes train our models on our experiences."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.logging import CSVLogger
from avalanche.training import supervised
from avalanche.training.plugins import EvaluationPlugin, GEMPlugin, ReplayPlugin
from torch.nn import CrossEntropyLoss
from torch.nn import functional as F

from mkgc_cl.errors import ConfigError
from mkgc_cl.models import DualStreamModel, build_optimizer
from mkgc_cl.strategies import adapt_strategy, continual_evaluator, run_stream
from mkgc_cl.strategies.avalanche_parts import STRATEGIES
from mkgc_cl.strategies.evaluation import evaluation_plugin

SETTINGS: dict[str, dict[str, Any]] = {
    "Naive": {},
    "Cumulative": {},
    "JointTraining": {},
    "FromScratchTraining": {},
    "Replay": {"mem_size": 6},
    "GDumb": {"mem_size": 6},
    "AGEM": {"patterns_per_exp": 6, "sample_size": 4},
    "EWC": {"ewc_lambda": 50.0},
    "MAS": {"lambda_reg": 50.0},
    "LwF": {"alpha": 5.0, "temperature": 2.0},
}


def adapted(kit: Any, labels: Any, name: str, **options: Any) -> Any:
    model = kit.text_model(labels, dropout=0.0)
    settings = {
        "optimizer": torch.optim.AdamW(model.parameters(), lr=0.01),
        "criterion": CrossEntropyLoss(),
        "train_mb_size": 4,
        "train_epochs": 2,
        "eval_mb_size": 4,
        "evaluator": evaluation_plugin(accuracy_metrics(stream=True)),
        **SETTINGS[name],
        **options,
    }
    torch.manual_seed(0)
    return adapt_strategy(getattr(supervised, name))(model=model, **settings)


def train(strategy: Any, benchmark: Any) -> dict[str, torch.Tensor]:
    if isinstance(strategy, supervised.JointTraining):
        strategy.train(benchmark.train_stream)
    else:
        for experience in benchmark.train_stream:
            strategy.train(experience)
    return {name: value.clone() for name, value in strategy.model.state_dict().items()}


def test_every_strategy_that_is_said_to_work_is_tried() -> None:
    assert set(SETTINGS) == {part.name for part in STRATEGIES if part.works and not part.gpu_only}


def test_naive_is_plain_training_by_cross_entropy(kit: Any, kind: str) -> None:
    """One batch a task: Avalanche's step is the step one would write by hand."""
    benchmark = kit.benchmark(kind, 2)
    trained = kit.text_model(benchmark.labels, dropout=0.0)
    strategy = adapt_strategy(supervised.Naive)(
        model=trained,
        optimizer=torch.optim.SGD(trained.parameters(), lr=0.1),
        criterion=CrossEntropyLoss(),
        train_mb_size=100,
        evaluator=evaluation_plugin(),
    )
    train(strategy, benchmark)

    model = kit.text_model(benchmark.labels, dropout=0.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for experience in benchmark.train_stream:
        model.observe(experience.classes)
        batch, targets = model.processor.collate(experience.samples)
        logits = model.train()(batch).logits.flatten(0, -2)
        loss = F.cross_entropy(logits, targets.flatten(), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(trained.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_naive_knows_no_class_of_a_later_task(kit: Any, kind: str) -> None:
    benchmark = kit.benchmark(kind, 2)
    strategy = adapted(kit, benchmark.labels, "Naive")
    strategy.train(benchmark.train_stream[0])
    strategy.eval(benchmark.test_stream)
    first = benchmark.labels.output_ids(benchmark.train_stream[0].classes)
    assert strategy.model.network.seen.nonzero().flatten().tolist() == sorted(first)


@pytest.mark.slow
def test_our_measures_are_those_of_our_strategy(kit: Any, kind: str) -> None:
    benchmark = kit.benchmark(kind, 1)
    metrics = accuracy_metrics(stream=True)
    strategy = adapted(
        kit,
        benchmark.labels,
        "Naive",
        train_epochs=5,
        evaluator=continual_evaluator(metrics=metrics),
    )
    result = run_stream(strategy, benchmark)
    values = strategy.eval(benchmark.test_stream)
    ours = kit.strategy(
        benchmark.labels,
        model=strategy.model.network,
        evaluator=continual_evaluator(metrics=accuracy_metrics(stream=True)),
    ).eval(benchmark.test_stream)
    place = "eval_phase/test_stream"
    found = ours[f"F1_Exp/{place}/Exp000"]
    assert result.matrix.f1("test")[0][0] == values[f"F1_Exp/{place}/Exp000"] == found > 0
    if kind == "re":  # tags are decoded there, and the best of each row here
        accuracy = f"Top1_Acc_Stream/{place}/Task000"
        assert values[accuracy] == ours[accuracy]


def test_groups_of_parameters_stay_as_they_are(kit: Any) -> None:
    benchmark = kit.benchmark("re", 1)
    model = kit.text_model(benchmark.labels)
    optimizer = build_optimizer(model, lr=0.01, head_lr=0.1)
    groups = [[id(p) for p in group["params"]] for group in optimizer.param_groups]
    strategy = adapt_strategy(supervised.Naive)(
        model=model,
        optimizer=optimizer,
        criterion=CrossEntropyLoss(),
        evaluator=evaluation_plugin(),
    )
    strategy.train(benchmark.train_stream[0])
    assert [[id(p) for p in group["params"]] for group in optimizer.param_groups] == groups
    assert len(groups) > 1


def test_plugins_metrics_and_loggers_are_refused_here_too(kit: Any, tmp_path: Any) -> None:
    labels = kit.benchmark("re", 1).labels
    logger = CSVLogger(tmp_path)
    logger.close()
    plugins = [GEMPlugin(4, 0.5), ReplayPlugin(4)]
    with pytest.raises(ConfigError) as error:
        adapted(kit, labels, "Naive", plugins=plugins, evaluator=EvaluationPlugin(loggers=logger))
    assert [problem.split()[1] for problem in error.value.problems] == ["GEMPlugin", "CSVLogger"]


def test_a_crf_and_a_method_for_relations_are_refused(kit: Any) -> None:
    labels = kit.benchmark("ner", 1).labels
    with pytest.raises(ConfigError, match="tagger='softmax'"):
        adapt_strategy(supervised.Naive)(model=kit.text_model(labels, tagger="crf"))
    with pytest.raises(ConfigError, match="LwF does not work here for 'ner'"):
        adapted(kit, labels, "LwF")


@pytest.mark.parametrize("act", ["train", "eval"])
def test_avalanches_class_by_itself_says_what_to_do(kit: Any, act: str) -> None:
    benchmark = kit.benchmark("re", 1)
    model = kit.text_model(benchmark.labels)
    strategy = supervised.Naive(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        evaluator=evaluation_plugin(),
    )
    with pytest.raises(ConfigError, match=r"adapt_strategy\(Naive\)"):
        getattr(strategy, act)(benchmark.train_stream[0])


EFFECTS: dict[str, Callable[[Any], bool]] = {
    "Replay": lambda s: len(s.plugins[0].storage_policy.buffer) == 6,
    "GDumb": lambda s: len(s.plugins[0].storage_policy.buffer) == 6,
    "AGEM": lambda s: [len(buffer) for buffer in s.plugins[0].buffers] == [6, 6],
    "EWC": lambda s: len(s.plugins[0].importances) == 2,
    "MAS": lambda s: any(bool(v.data.any()) for v in s.plugins[0].importance.values()),
    "LwF": lambda s: s.plugins[0].lwf.prev_model is not None,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "Naive"])
def test_acts(kit: Any, kind: str, name: str) -> None:
    if (name, kind) == ("LwF", "ner"):
        pytest.skip("refused")
    benchmark = kit.benchmark(kind, 2)
    naive = train(adapted(kit, benchmark.labels, "Naive"), benchmark)
    strategy = adapted(kit, benchmark.labels, name)
    weights = train(strategy, benchmark)
    assert all(bool(torch.isfinite(value).all()) for value in weights.values())
    assert not kit.same(weights, naive)
    assert bool(weights["network.seen"].all())
    assert EFFECTS.get(name, lambda _: True)(strategy)


@pytest.mark.slow
def test_the_example_in_the_readme_runs(kit: Any) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", readme, re.S)
    (example,) = [block for block in blocks if "adapt_strategy" in block]
    made: dict[str, Any] = {
        "benchmark": kit.benchmark("re", 2),
        "DualStreamModel": DualStreamModel,
        "build_optimizer": build_optimizer,
        "continual_evaluator": continual_evaluator,
        "run_stream": run_stream,
    }
    exec(compile(example, "README.md", "exec"), made)  # noqa: S102
    assert bool(made["model"].seen.all())
