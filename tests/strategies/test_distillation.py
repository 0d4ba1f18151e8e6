"""Attention distillation: whose attention is the teacher's, what it costs, what it adds."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor

from mkgc_cl.errors import ConfigError
from mkgc_cl.models import DualStreamModel
from mkgc_cl.scenarios import make_benchmark
from mkgc_cl.strategies import (
    AttentionDistillationPlugin,
    GradientModulationPlugin,
    PrototypeReplayPlugin,
)


class Snapshots(SupervisedPlugin):
    """Keep the model each task starts with and what it says of every batch; the first plugin."""

    def __init__(self) -> None:
        super().__init__()
        self.model: DualStreamModel | None = None
        self.task = -1
        self.steps: list[dict[str, Any]] = []

    def before_training(self, strategy: Any, **kwargs: Any) -> None:
        self.model = copy.deepcopy(strategy.network).eval()
        self.task += 1

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        assert self.model is not None
        with torch.no_grad():
            before = self.model(strategy.batch)
        self.steps.append(
            {
                "task": self.task,
                "phase": strategy.phase,
                "before": before,
                "now": strategy.output,
                "replayed": strategy.batch["replayed"].tolist(),
                "loss": float(strategy.loss.detach()),
            }
        )


class Total(SupervisedPlugin):
    """Note the loss as the optimizer will see it; last of the plugins."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        self.losses.append(float(strategy.loss.detach()))


def centered(rows: list[list[float]], places: list[int]) -> list[list[float]]:
    """Each row less its mean over the real keys."""
    means = [sum(row[key] for key in places) / len(places) for row in rows]
    return [[score - mean for score in row] for row, mean in zip(rows, means, strict=True)]


def lost(before: Tensor, now: Tensor, real: list[bool], axis: str, center: bool) -> float:
    """Eq. (13) of one map (H, T, T) of one sample, entry by entry."""
    places = [place for place, is_real in enumerate(real) if is_real]
    total = 0.0
    for old_head, new_head in zip(before.tolist(), now.tolist(), strict=True):
        if center:
            old_head, new_head = centered(old_head, places), centered(new_head, places)
        for kept in places:
            entries = [(s, kept) if axis == "width" else (kept, s) for s in places]
            old = sum(old_head[row][column] for row, column in entries)
            new = sum(new_head[row][column] for row, column in entries)
            total += max(0.0, old - new) ** 2
    return math.sqrt(total)


def by_hand(step: dict[str, Any], axis: str, center: bool) -> float:
    """Eq. (14): mean over the batch's current samples and the layers, both streams added."""
    before, now = step["before"], step["now"]
    samples = [row for row, old in enumerate(step["replayed"]) if not old]
    text, vision = [], []
    for row in samples:
        real = now.text_mask[row].tolist()
        text += [
            lost(a[row], b[row], real, axis, center)
            for a, b in zip(before.text_maps, now.text_maps, strict=True)
        ]
        shown = int(now.visual_index[row])
        real = now.vision_mask[shown].tolist()
        vision += [
            lost(a[shown], b[shown], real, axis, center)
            for a, b in zip(before.vision_maps, now.vision_maps, strict=True)
        ]
    return sum(text) / len(text) + sum(vision) / len(vision)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "axis", "center", "interaction"),
    [
        ("re", "width", True, "shared-key"),
        ("ner", "width", True, "shared-key"),
        ("re", "width", False, "shared-key"),
        ("ner", "height", False, "shared-key"),
        ("re", "width", False, "self"),
        ("ner", "width", True, "self"),
    ],
)
def test_the_loss_is_the_weighted_distance_to_the_model_at_the_start_of_the_task(
    kit: Any, kind: str, axis: Any, center: bool, interaction: str
) -> None:
    """Two epochs: in the second the teacher's maps come from the cache and must be as good."""
    benchmark = kit.benchmark(kind)
    snapshots, total = Snapshots(), Total()
    plugin = AttentionDistillationPlugin(weight=0.7, axis=axis, center=center)
    replay = PrototypeReplayPlugin(size=2, schedule="mixed", batch_size=2)
    strategy = kit.strategy(
        benchmark.labels,
        snapshots,
        plugin,
        total,
        replay,
        model=kit.model(benchmark.labels, dropout=0.0, interaction=interaction),
        epochs=2,
        lr=0.03,
    )
    kit.train(strategy, benchmark)
    first = [step for step in snapshots.steps if step["task"] == 0]
    second = [step for step in snapshots.steps if step["task"] == 1]
    assert len(plugin.losses) == len(second)
    assert all(any(step["replayed"]) and not all(step["replayed"]) for step in second)
    expected = [by_hand(step, axis, center) for step in second]
    assert plugin.losses == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert max(expected) > 0.1
    # in the first task there is no teacher, so the loss passes untouched
    added = [t - step["loss"] for t, step in zip(total.losses, snapshots.steps, strict=True)]
    assert added[: len(first)] == [0.0] * len(first)
    assert added[len(first) :] == pytest.approx([0.7 * x for x in expected], rel=1e-3, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1)], ids=str)  # each comes first
def test_the_teacher_is_what_the_memory_phase_left_whatever_the_order(
    kit: Any, order: tuple[int, ...]
) -> None:
    """Without dropout a student at the start of its task has lost nothing against its teacher."""
    benchmark = kit.benchmark("re", 3)
    snapshots, recorder = Snapshots(), kit.Recorder()
    plugin = AttentionDistillationPlugin(weight=0.1)
    plugins = [plugin, PrototypeReplayPlugin(size=2), GradientModulationPlugin()]
    strategy = kit.strategy(
        benchmark.labels,
        recorder,
        snapshots,
        *(plugins[place] for place in order),
        dropout=0.0,
        lr=0.03,
        batch=99,
        epochs=2,
    )
    kit.train(strategy, benchmark)
    phases = [(step.task, step.phase) for step in recorder.steps]
    assert phases == [
        *[("T1", "task")] * 2,
        *[("T2", "task")] * 2,
        *[("T2", "memory")] * 2,
        *[("T3", "task")] * 2,
        *[("T3", "memory")] * 2,
    ]
    assert len(plugin.losses) == 4  # two steps of each later task, none of a memory phase
    assert plugin.losses[0] == pytest.approx(0, abs=1e-3)
    assert plugin.losses[2] == pytest.approx(0, abs=1e-3)
    assert min(plugin.losses[1], plugin.losses[3]) > 0.05


class TeacherWatch:
    """Count what frozen copies of the model encode."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.uids: list[str] = []
        self.states: dict[int, dict[str, Tensor]] = {}
        forward = DualStreamModel.forward

        def watched(model: Any, batch: Any) -> Any:
            if not any(p.requires_grad for p in model.parameters()):
                assert not any(module.training for module in model.modules())
                assert not torch.is_grad_enabled()
                self.uids.extend(batch.uids)
                state = {name: value.clone() for name, value in model.state_dict().items()}
                known = self.states.setdefault(id(model), state)
                assert all(torch.equal(value, known[name]) for name, value in state.items())
            return forward(model, batch)

        monkeypatch.setattr(DualStreamModel, "forward", watched)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "epochs", "schedule"),
    [("re", 1, "after"), ("ner", 3, "after"), ("re", 2, "mixed"), ("ner", 2, "alternate")],
)
def test_one_teacher_pass_a_sample_a_task_whatever_the_epochs(
    kit: Any, kind: str, monkeypatch: pytest.MonkeyPatch, epochs: int, schedule: Any
) -> None:
    watch = TeacherWatch(monkeypatch)
    benchmark = kit.benchmark(kind)
    plugin = AttentionDistillationPlugin(weight=0.1)
    strategy = kit.strategy(
        benchmark.labels,
        plugin,
        PrototypeReplayPlugin(size=2, schedule=schedule),
        epochs=epochs,
        lr=0.03,
    )
    strategy.train(benchmark.train_stream[0])
    assert watch.uids == []
    strategy.train(benchmark.train_stream[1])
    current = sorted(sample.uid for sample in benchmark.train_stream[1].samples)
    assert sorted(watch.uids) == current
    assert plugin.teacher_samples == len(current)


@pytest.mark.slow
def test_a_sample_that_comes_back_in_a_later_task_meets_the_later_teacher(
    kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sentence may be in two tasks, tagged with other types; each task has its own teacher."""
    stream = kit.stream("ner", 3)
    again = tuple(
        replace(sample, tags=tuple(tag.replace("K1", "K2") for tag in sample.tags))
        for sample in stream.tasks[1].train
        if "B-K1" in sample.tags
    )
    tasks = (*stream.tasks[:2], replace(stream.tasks[2], train=again))
    benchmark = make_benchmark(replace(stream, tasks=tasks))
    watch = TeacherWatch(monkeypatch)
    strategy = kit.strategy(benchmark.labels, AttentionDistillationPlugin(), epochs=2)
    kit.train(strategy, benchmark)
    later = [sample.uid for task in tasks[1:] for sample in task.train]
    assert len(later) > len(set(later))
    assert sorted(watch.uids) == sorted(later)


class FirstSnapshots(Snapshots):
    """Keep the model that a task was begun with at first."""

    def before_training(self, strategy: Any, **kwargs: Any) -> None:
        if strategy.clock.train_exp_counter != self.task:
            super().before_training(strategy)


@pytest.mark.slow
def test_a_task_that_is_begun_again_keeps_its_teacher(kit: Any) -> None:
    """The model has moved since; the teacher is still what the task before left."""
    benchmark = kit.benchmark("re")
    snapshots, plugin = FirstSnapshots(), AttentionDistillationPlugin(weight=0.5)
    cut = kit.CutOff(task=1, step=1)
    strategy = kit.strategy(benchmark.labels, snapshots, plugin, cut, dropout=0.0, lr=0.03)
    strategy.train(benchmark.train_stream[0])
    with pytest.raises(KeyboardInterrupt):
        strategy.train(benchmark.train_stream[1])
    plugin.losses.clear()
    snapshots.steps.clear()
    strategy.train(benchmark.train_stream[1])
    expected = [by_hand(step, "width", center=True) for step in snapshots.steps]
    assert plugin.losses == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert expected[0] > 0.1  # two steps away from it


@pytest.mark.slow
def test_weight_zero_has_no_teacher(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = TeacherWatch(monkeypatch)
    benchmark = kit.benchmark("re")
    plugin = AttentionDistillationPlugin(weight=0.0)
    kit.train(kit.strategy(benchmark.labels, plugin), benchmark)
    assert watch.uids == []
    assert plugin.losses == []


@pytest.mark.slow
def test_distillation_changes_text_vision_and_shared_key(kit: Any) -> None:
    benchmark = kit.benchmark("re")
    weights = [
        kit.train(
            kit.strategy(
                benchmark.labels, AttentionDistillationPlugin(weight=weight), kind="sgd", lr=0.02
            ),
            benchmark,
        )
        for weight in (0.0, 1.0)
    ]
    moved = {name for name in weights[0] if not torch.equal(weights[0][name], weights[1][name])}
    for part in ("text.layers.2.attention.self.query", "vision.vit.blocks.2", "shared_keys.1"):
        assert any(name.startswith(part) for name in moved), part


@pytest.mark.slow
def test_released_normalization_has_no_gradient(kit: Any) -> None:
    """The released code's row normalization: a loss that is there and a step that is not."""
    benchmark = kit.benchmark("re")
    plugin = AttentionDistillationPlugin(weight=1.0, normalize_rows=True)
    options = {"kind": "sgd", "lr": 0.02, "weight_decay": 0.0, "dropout": 0.0}
    normalized = kit.train(kit.strategy(benchmark.labels, plugin, **options), benchmark)
    without = kit.train(kit.strategy(benchmark.labels, **options), benchmark)
    assert max(plugin.losses) > 1
    for name, value in without.items():
        torch.testing.assert_close(normalized[name], value, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_state_is_a_copy(kit: Any) -> None:
    benchmark = kit.benchmark("re", 3)
    plugin = AttentionDistillationPlugin()
    strategy = kit.strategy(benchmark.labels, plugin)
    for experience in benchmark.train_stream[:2]:
        strategy.train(experience)
    state = plugin.state_dict()
    known = copy.deepcopy(state)
    strategy.train(benchmark.train_stream[2])
    assert state == known


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"weight": -1.0}, "weight=-1.0; give 0 or more"),
        ({"axis": "depth"}, "choose one of"),
        ({"axis": "height"}, "take axis='width', or center=False"),
        ({"weight": float("nan")}, "weight=nan; give 0 or more"),
    ],
)
def test_wrong_options(options: Any, advice: str) -> None:
    with pytest.raises(ConfigError, match=advice):
        AttentionDistillationPlugin(**options)
