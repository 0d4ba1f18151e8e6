"""Token distillation: which words, whose opinion, what it costs, and who is refused."""

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
from mkgc_cl.models import TextModel
from mkgc_cl.scenarios import make_benchmark
from mkgc_cl.strategies import (
    EWCPlugin,
    PrototypeReplayPlugin,
    TokenDistillationPlugin,
    continual_evaluator,
    run_stream,
)

OPTIONS = [("pad", 1.0), ("pad", 2.0), ("renormalize", 1.0), ("renormalize", 0.5)]


class Steps(SupervisedPlugin):
    """Keep every step's scores beside those of the model the task began with; last of all."""

    def __init__(self) -> None:
        super().__init__()
        self.previous: TextModel | None = None
        self.kept: list[dict[str, Any]] = []

    def before_training(self, strategy: Any, **kwargs: Any) -> None:
        self.previous = copy.deepcopy(strategy.network).eval()

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        assert self.previous is not None
        with torch.no_grad():
            teacher = self.previous(strategy.batch)
        self.kept.append(
            {
                "task": strategy.experience.task_name,
                "phase": strategy.phase,
                "replayed": strategy.batch["replayed"].tolist(),
                "known": self.previous.seen.tolist(),
                "seen": strategy.network.seen.tolist(),
                "teacher": teacher.logits.double(),
                "student": strategy.output.logits.detach().double(),
                "targets": strategy.mb_y,
            }
        )

    def after_backward(self, strategy: Any, **kwargs: Any) -> None:
        self.kept[-1]["loss"] = float(strategy.loss.detach())  # with terms of every plugin


def softened(scores: Tensor, over: list[bool], temperature: float) -> dict[int, float]:
    """Probability of every output of ``over``, the others left out."""
    exponents = {
        place: math.exp(score / temperature)
        for place, score in enumerate(scores.tolist())
        if over[place]
    }
    return {place: value / sum(exponents.values()) for place, value in exponents.items()}


def step_by_hand(
    step: dict[str, Any], weight: float, temperature: float, restrict: str
) -> tuple[float, list[float]]:
    """Loss of one step, and the unweighted divergence of each current sample, word by word."""
    losses, divergences = [], []
    for row, replayed in enumerate(step["replayed"]):
        targets = [tag for tag in step["targets"][row].tolist() if tag >= 0]
        total = divergence = 0.0
        for word, tag in enumerate(targets):
            if tag != 0 or replayed:
                total -= math.log(softened(step["student"][row, word], step["seen"], 1.0)[tag])
                continue
            over = step["seen"] if restrict == "pad" else step["known"]
            p = softened(step["teacher"][row, word], step["known"], temperature)
            q = softened(step["student"][row, word], over, temperature)
            divergence += sum(p[tag] * math.log(p[tag] / q[tag]) for tag in p)
        losses.append((total + weight * divergence) / len(targets))
        if not replayed:
            divergences.append(divergence / len(targets))
    return sum(losses) / len(losses), divergences


def plain_by_hand(step: dict[str, Any]) -> float:
    everything = {**step, "replayed": [True] * len(step["replayed"])}
    return step_by_hand(everything, 1.0, 1.0, "pad")[0]


def text_strategy(kit: Any, benchmark: Any, *plugins: Any, **options: Any) -> Any:
    model = kit.text_model(benchmark.labels, dropout=0.0)
    return kit.strategy(benchmark.labels, *plugins, model=model, **options)


@pytest.mark.slow
@pytest.mark.parametrize(("restrict", "temperature"), OPTIONS)
@pytest.mark.parametrize("schedule", ["after", "mixed", "alternate"])
def test_every_steps_loss_is_the_sum_over_words(
    kit: Any, restrict: Any, temperature: float, schedule: Any
) -> None:
    """Entities' words and replayed samples have cross-entropy, current O words the KL."""
    benchmark = kit.benchmark("ner", 3, per_class=4, na=2)
    plugin = TokenDistillationPlugin(weight=0.7, temperature=temperature, restrict=restrict)
    steps = Steps()
    replay = PrototypeReplayPlugin(size=2, schedule=schedule)
    kit.train(text_strategy(kit, benchmark, plugin, replay, steps), benchmark)
    traced = []
    for step in steps.kept:
        if step["task"] == "K0" or step["phase"] == "memory":
            assert step["loss"] == pytest.approx(plain_by_hand(step), rel=1e-4)
            continue
        loss, divergences = step_by_hand(step, 0.7, temperature, restrict)
        assert step["loss"] == pytest.approx(loss, rel=1e-4)
        if divergences:
            traced.append(sum(divergences) / len(divergences))
    assert plugin.losses == pytest.approx(traced, rel=1e-3, abs=1e-6)
    assert any(step["phase"] == "memory" for step in steps.kept) == (schedule == "after")
    assert min(plugin.losses) >= -1e-6
    assert max(plugin.losses) > 1e-3


def test_with_weight_one_a_word_counts_as_in_plain_training(kit: Any) -> None:
    """A teacher that is sure of O makes the divergence the cross-entropy of O."""
    benchmark = kit.benchmark("ner", 2)
    plugin, steps = TokenDistillationPlugin(), Steps()
    strategy = text_strategy(kit, benchmark, plugin, steps)
    strategy.train(benchmark.train_stream[0])
    with torch.no_grad():
        strategy.network.head.bias[0] += 50
    strategy.train(benchmark.train_stream[1])
    later = [step for step in steps.kept if step["task"] == "K1"]
    for step in later:
        assert step["loss"] == pytest.approx(plain_by_hand(step), rel=1e-4)


@pytest.mark.slow
def test_other_plugins_terms_stay_in_any_order(kit: Any) -> None:
    benchmark = kit.benchmark("ner", 2)
    found = []
    for place in (0, 1):
        steps, plugins = Steps(), [EWCPlugin(weight=50.0), TokenDistillationPlugin()]
        plugins.insert(0, plugins.pop(place))
        kit.train(text_strategy(kit, benchmark, *plugins, steps), benchmark)
        found.append([step["loss"] for step in steps.kept])
        ewc = next(plugin for plugin in plugins if isinstance(plugin, EWCPlugin))
        later = [step for step in steps.kept if step["task"] == "K1"]
        for step, penalty in zip(later, ewc.penalties, strict=True):
            alone = step_by_hand(step, 1.0, 1.0, "pad")[0]
            assert step["loss"] == pytest.approx(alone + 50.0 * penalty, rel=1e-3)
    assert found[0] == pytest.approx(found[1], rel=1e-3)


@pytest.mark.slow
def test_old_types_in_words_called_o_are_kept(kit: Any) -> None:
    """The second task hides the first type: plain training unlearns it, the teacher not."""
    stream = kit.stream("ner", 2)
    hidden = tuple(
        kit.tagging_sample(sample.uid, number, ["K0", "K1"], ["K1"])
        for number, sample in enumerate(stream.tasks[1].train)
    )
    tasks = (stream.tasks[0], replace(stream.tasks[1], train=hidden))
    benchmark = make_benchmark(replace(stream, tasks=tasks))
    first = {}
    for weight in (0.0, 1.0):
        strategy = text_strategy(
            kit,
            benchmark,
            TokenDistillationPlugin(weight=weight),
            epochs=15,
            evaluator=continual_evaluator(),
        )
        matrix = run_stream(strategy, benchmark).matrix
        first[weight] = matrix.average_f1("test")
    assert first[0.0][0] == first[1.0][0] > 0.9
    assert first[0.0][1] < 0.5  # pooled over both types: none of the first is left
    assert first[1.0][1] > 0.9


@pytest.mark.slow
def test_one_teacher_pass_a_sample_a_task_whatever_the_epochs(
    kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught: list[str] = []
    forward = TextModel.forward

    def watched(model: Any, batch: Any) -> Any:
        if not any(p.requires_grad for p in model.parameters()):
            assert not any(module.training for module in model.modules())
            assert not torch.is_grad_enabled()
            taught.extend(batch.uids)
        return forward(model, batch)

    monkeypatch.setattr(TextModel, "forward", watched)
    benchmark = kit.benchmark("ner", 3)
    plugin = TokenDistillationPlugin()
    replay = PrototypeReplayPlugin(size=2, schedule="mixed")
    kit.train(text_strategy(kit, benchmark, replay, plugin, epochs=3), benchmark)
    later = [sample.uid for task in benchmark.train_stream[1:] for sample in task.samples]
    assert sorted(taught) == sorted(later)
    assert plugin.teacher_samples == len(later)
    assert plugin.teacher.model is None
    assert plugin.teacher._known == {}


def test_the_teacher_has_no_opinion_on_tags_of_the_new_task(kit: Any) -> None:
    """Their rows are there, drawn at random: a teacher that knew them would teach noise."""
    benchmark = kit.benchmark("ner", 2)
    seen = []

    class Look(SupervisedPlugin):
        def before_backward(self, strategy: Any, **kwargs: Any) -> None:
            if plugin.teacher.model is not None:
                seen.append((plugin.teacher.model.seen.tolist(), strategy.network.seen.tolist()))

    plugin = TokenDistillationPlugin()
    kit.train(text_strategy(kit, benchmark, Look(), plugin), benchmark)
    assert seen
    assert all(pair == ([True] * 3 + [False] * 2, [True] * 5) for pair in seen)


def test_a_task_that_is_begun_again_keeps_its_teacher(kit: Any) -> None:
    """By now the model has the new tags unmasked; its teacher still knows none of them."""
    benchmark = kit.benchmark("ner", 2)
    plugin = TokenDistillationPlugin()
    teachers = []

    class Look(SupervisedPlugin):
        def before_backward(self, strategy: Any, **kwargs: Any) -> None:
            teachers.append(plugin.teacher.model)

    cut = kit.CutOff(task=1, step=1)
    strategy = text_strategy(kit, benchmark, Look(), plugin, cut)
    strategy.train(benchmark.train_stream[0])
    with pytest.raises(KeyboardInterrupt):
        strategy.train(benchmark.train_stream[1])
    strategy.train(benchmark.train_stream[1])
    assert teachers[:3] == [None] * 3
    assert len({id(teacher) for teacher in teachers[3:]}) == 1
    assert teachers[-1].seen.tolist() == [True] * 3 + [False] * 2


def test_the_trace_is_recorded(kit: Any) -> None:
    benchmark = kit.benchmark("ner", 2)
    plugin = TokenDistillationPlugin()
    strategy = text_strategy(kit, benchmark, plugin, evaluator=continual_evaluator())
    traces = run_stream(strategy, benchmark).traces
    assert traces == {"token_distillation_loss": plugin.losses}
    assert len(plugin.losses) == 3


def test_relations_and_a_crf_are_refused_at_once(kit: Any) -> None:
    relations, tags = kit.benchmark("re"), kit.benchmark("ner")
    strategy = kit.strategy(
        relations.labels, TokenDistillationPlugin(), model=kit.text_model(relations.labels)
    )
    with pytest.raises(ConfigError, match="this stream has relations; take a tagging stream"):
        strategy.train(relations.train_stream[0])
    for model in (kit.text_model(tags.labels, tagger="crf"), kit.model(tags.labels)):
        strategy = kit.strategy(tags.labels, TokenDistillationPlugin(), model=model)
        with pytest.raises(ConfigError, match="build the model with tagger='softmax'"):
            strategy.train(tags.train_stream[0])


def test_all_wrong_options_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        TokenDistillationPlugin(weight=-1.0, temperature=0.0, restrict="slice")  # type: ignore[arg-type]
    assert caught.value.problems == (
        "weight=-1.0; give 0 or more",
        "temperature=0.0; give a number above 0",
        "restrict='slice'; choose one of ['pad', 'renormalize']",
    )
    for value in (float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="2 mistake"):
            TokenDistillationPlugin(weight=value, temperature=value)
