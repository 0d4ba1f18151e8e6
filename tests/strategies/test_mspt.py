"""The assembled method and the run over a whole stream."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mkgc_cl.data.images import FileImage
from mkgc_cl.data.samples import VisualInput
from mkgc_cl.errors import ConfigError, DataError
from mkgc_cl.scenarios import make_benchmark
from mkgc_cl.strategies import (
    AttentionDistillationPlugin,
    GradientModulationPlugin,
    MSPTOptions,
    PrototypeReplayPlugin,
    TokenDistillationPlugin,
    Training,
    mspt,
    run_stream,
)

OURS = (GradientModulationPlugin, AttentionDistillationPlugin, PrototypeReplayPlugin)


def test_toggles_are_the_rows_of_the_ablation(kit: Any) -> None:
    labels = kit.stream("re").labels
    for off in ((), ("distillation",), ("modulation",), ("memory",)):
        strategy = mspt(kit.model(labels), MSPTOptions(**dict.fromkeys(off, False)))
        found = {type(p): p for p in strategy.plugins if isinstance(p, OURS)}
        assert (AttentionDistillationPlugin in found) == ("distillation" not in off)
        assert (PrototypeReplayPlugin in found) == ("memory" not in off)
        # without modulation the ratio is still observed, for the second curve of Figure 4
        assert found[GradientModulationPlugin].alpha == (0.0 if "modulation" in off else 0.3)


def test_plugins_of_others_join_after_its_own(kit: Any) -> None:
    other = TokenDistillationPlugin()
    strategy = mspt(kit.model(kit.stream("ner").labels, tagger="softmax"), plugins=[other])
    found = [p for p in strategy.plugins if isinstance(p, (*OURS, TokenDistillationPlugin))]
    assert [type(p) for p in found] == [*OURS, TokenDistillationPlugin]
    assert found[-1] is other


def test_plugins_built_alone_have_the_defaults_of_the_method(kit: Any) -> None:
    """Every default stands in MSPTOptions alone."""
    words = (int, float, str, bool, type(None))
    for own in mspt(kit.model(kit.stream("re").labels)).plugins:
        if isinstance(own, OURS):
            alone, mine = vars(type(own)()), vars(own)
            assert {k: v for k, v in mine.items() if isinstance(v, words)} == {
                k: v for k, v in alone.items() if isinstance(v, words)
            }


def test_options_reach_their_plugins(kit: Any) -> None:
    strategy = mspt(
        kit.model(kit.stream("re").labels),
        MSPTOptions(
            alpha=0.1,
            target="paper",
            schedule="per-step",
            noise=True,
            ad_weight=2.0,
            ad_axis="height",
            ad_center=False,
            exemplars=3,
            memory_scope="task",
            selection="herding",
            na_policy="grow",
            replay_schedule="after",
            memory_epochs=7,
            memory_lr_scale=0.5,
            key_lr=3e-3,
            bias_lr=4e-3,
        ),
        Training(epochs=2, batch_size=5, lr=1e-3, head_lr=2e-3),
    )
    modulation, distillation, replay = (p for p in strategy.plugins if isinstance(p, OURS))
    assert (modulation.alpha, modulation.target) == (0.1, "paper")
    assert (modulation.schedule, modulation.noise) == ("per-step", True)
    assert (distillation.weight, distillation.axis) == (2.0, "height")
    assert not distillation.center
    default = next(
        p
        for p in mspt(kit.model(kit.stream("re").labels)).plugins
        if isinstance(p, AttentionDistillationPlugin)
    )
    assert default.center
    assert (replay.size, replay.scope, replay.selection) == (3, "task", "herding")
    assert (replay.na_policy, replay.schedule, replay.epochs) == ("grow", "after", 7)
    assert replay.lr_scale == 0.5
    assert (strategy.train_epochs, strategy.train_mb_size) == (2, 5)
    rates = {group["role"]: group["lr"] for group in strategy.optimizer.param_groups}
    assert rates == {"encoder": 1e-3, "head": 2e-3, "key": 3e-3, "bias": 4e-3}


@pytest.mark.slow
def test_all_parts_off_is_plain_fine_tuning(kit: Any, kind: str) -> None:
    benchmark = kit.benchmark(kind)
    bare = kit.train(kit.strategy(benchmark.labels, lr=1e-3), benchmark)
    off = mspt(
        kit.model(benchmark.labels),
        MSPTOptions(distillation=False, modulation=False, memory=False),
        Training(epochs=1, batch_size=4, lr=1e-3),
    )
    assert kit.same(bare, kit.train(off, benchmark))


@pytest.mark.slow
def test_run_stream(kit: Any, kind: str) -> None:
    benchmark = kit.benchmark(kind, 3)
    seen: list[tuple[int, int, float]] = []
    strategy = mspt(kit.model(benchmark.labels), training=Training(epochs=2, batch_size=4, lr=1e-2))
    result = run_stream(strategy, benchmark, progress=lambda *step: seen.append(step))
    result.matrix.require_complete("test")
    assert [step[:2] for step in seen] == [(1, 3), (2, 3), (3, 3)]
    assert [step[2] for step in seen] == result.matrix.average_f1("test")
    assert result.seconds > 0
    traces = result.traces
    steps = sum(2 * -(-len(e.samples) // 4) for e in benchmark.train_stream)
    assert len(traces["gamma"]) == steps
    assert len(traces["coefficient_text"]) == len(traces["coefficient_vision"]) == steps
    own = 2 * -(-len(benchmark.train_stream[0].samples) // 4)
    assert traces["boundaries"] == [0.0, float(own), 2.0 * own]
    assert len(traces["distillation_loss"]) == steps - own


@pytest.mark.slow
def test_run_stream_on_the_validation_samples(kit: Any) -> None:
    benchmark = kit.benchmark("re", 2)
    strategy = mspt(kit.model(benchmark.labels), training=Training(epochs=1, batch_size=4, lr=1e-2))
    result = run_stream(strategy, benchmark, split="valid")
    assert result.matrix.streams == ("valid",)
    result.matrix.require_complete("valid")


def test_run_stream_looks_at_every_sample_before_it_trains(kit: Any, tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    path.write_bytes(b"\xff\xd8\xff")
    stream = kit.stream("re", 3)
    *before, last = stream.tasks
    odd = replace(last.test[-1], visual=VisualInput(FileImage(path)))
    long = replace(last.train[-1], tokens=(*last.train[-1].tokens, *("x",) * 40))
    last = replace(last, train=(*last.train[:-1], long), test=(*last.test[:-1], odd))
    benchmark = make_benchmark(replace(stream, tasks=(*before, last)))
    strategy = mspt(kit.model(benchmark.labels), training=Training(epochs=1, batch_size=4, lr=1e-2))
    weights = kit.weights(strategy)
    with pytest.raises(DataError, match="2 mistakes") as caught:
        run_stream(strategy, benchmark)
    assert [(p.sample, p.path) for p in caught.value.problems] == [(long.uid, None), (None, path)]
    assert kit.same(weights, kit.weights(strategy))


def test_run_stream_wants_an_evaluator_that_measures(kit: Any) -> None:
    benchmark = kit.benchmark("re", 1)
    with pytest.raises(ConfigError, match="continual_evaluator"):
        run_stream(kit.strategy(benchmark.labels), benchmark)
