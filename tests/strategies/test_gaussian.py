"""Learning in closed form: one look at every sample, no step, and what words called O teach."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor

from mkgc_cl.errors import ConfigError
from mkgc_cl.models import GaussianOptions, GaussianReadout, TextModel
from mkgc_cl.strategies import GaussianReadoutPlugin

NEAR = {"rtol": 1e-9, "atol": 1e-9}


def given(kit: Any, labels: Any, **options: Any) -> TextModel:
    """A text model whose readout reads two layers."""
    model: TextModel = kit.text_model(labels, layers=(2, 3))
    model.readout = GaussianReadout(
        labels.outputs,
        width=model.readout_width,
        options=GaussianOptions(**{"shrinkage": 0.3, **options}),
    )
    return model


def rows_of(model: TextModel, samples: Any) -> tuple[Tensor, Tensor]:
    """Features and labels of samples, words where there are any, sample by sample."""
    features, labels = [], []
    for sample in samples:
        batch, targets = model.processor.collate([sample])
        with torch.no_grad():
            found = model.eval()(batch).layer_features
        assert found is not None
        features.append(found.flatten(0, -2))
        labels.append(targets.flatten())
    return torch.cat(features), torch.cat(labels)


def alike(one: Any, other: Any, *, within: float = 1e-4) -> bool:
    """Statistics of features that were encoded in other company, in single precision."""
    return all(
        torch.allclose(getattr(one, name), getattr(other, name), rtol=within, atol=within)
        for name in ("counts", "means", "scatter")
    )


class Watched(SupervisedPlugin):
    """Counts what the loop does."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        self.heard.append("epoch")

    def before_forward(self, strategy: Any, **kwargs: Any) -> None:
        self.heard.append("step")


def test_a_frozen_encoder_reads_every_sample_once_and_takes_no_step(kit: Any, kind: str) -> None:
    benchmark = kit.benchmark(kind, 2)
    model, watched = given(kit, benchmark.labels), Watched()
    plain = {name: p.detach().clone() for name, p in model.named_parameters()}
    strategy = kit.strategy(
        benchmark.labels, GaussianReadoutPlugin(), watched, model=model, epochs=3
    )
    encoded: list[str] = []
    forward = model.forward
    model.forward = lambda batch: (encoded.extend(batch.uids), forward(batch))[1]  # type: ignore[method-assign]
    kit.train(strategy, benchmark)
    assert sorted(encoded) == sorted(
        sample.uid for experience in benchmark.train_stream for sample in experience.samples
    )
    assert watched.heard == []
    assert not strategy.optimizer.state
    assert all(torch.equal(p, plain[name]) for name, p in model.named_parameters())


@pytest.mark.parametrize(
    "options", [{}, {"features": "relu", "random_features": 8}, {"covariance": "class"}]
)
def test_it_learns_what_all_samples_say_at_once(
    kit: Any, kind: str, options: dict[str, Any]
) -> None:
    """Random features stand on the first task whole, however it was cut into batches."""
    benchmark = kit.benchmark(kind, 3)
    model = given(kit, benchmark.labels, **options)
    plugin = GaussianReadoutPlugin(background="all")
    kit.train(kit.strategy(benchmark.labels, plugin, model=model), benchmark)
    other = given(kit, benchmark.labels, **options).readout
    assert isinstance(other, GaussianReadout)
    tasks = [rows_of(model, experience.samples) for experience in benchmark.train_stream]
    if other.lift is not None:
        other.standardize(tasks[0][0])
    other.add(*map(torch.cat, zip(*tasks, strict=True)))  # type: ignore[arg-type]
    assert alike(GaussianReadout.of(model).statistics, other.statistics)


def test_the_order_of_tasks_changes_nothing(kit: Any, kind: str) -> None:
    benchmark = kit.benchmark(kind, 3)
    ends = []
    for order in ((0, 1, 2), (2, 0, 1)):
        model = given(kit, benchmark.labels)
        strategy = kit.strategy(
            benchmark.labels, GaussianReadoutPlugin(background="all"), model=model
        )
        for index in order:
            strategy.train(benchmark.train_stream[index])
        ends.append(GaussianReadout.of(model))
    features, _ = rows_of(model, benchmark.test_stream[0].samples)
    one, other = (readout.log_posterior(features) for readout in ends)
    assert torch.allclose(one, other, **NEAR)


@pytest.mark.parametrize("background", ["read-as-O", "soft"])
def test_words_called_o_that_read_as_entities(kit: Any, background: Any) -> None:
    """By the readout of the first task, which has read the first task's words whole."""
    benchmark = kit.benchmark("ner", 2)
    model = given(kit, benchmark.labels)
    plugin = GaussianReadoutPlugin(background=background)
    strategy = kit.strategy(benchmark.labels, plugin, model=model)
    first, second = benchmark.train_stream
    strategy.train(first)
    readout = GaussianReadout.of(model)
    features, labels = rows_of(model, first.samples)
    assert readout.counts.tolist() == torch.bincount(labels, minlength=5).tolist()

    features, labels = rows_of(model, second.samples)
    before, posterior = readout.counts.clone(), readout.log_posterior(features).exp()
    told = labels == 0
    expected = posterior[told, 0]
    if background == "read-as-O":
        expected = (posterior[told].argmax(dim=1) == 0).double()
        assert 0 < expected.sum() < len(expected)
    strategy.train(second)
    gained = readout.counts - before
    assert torch.allclose(gained[0], expected.sum(), rtol=1e-4)
    assert gained[1:].tolist() == torch.bincount(labels, minlength=5)[1:].tolist()


def test_only_the_first_tasks_train(kit: Any, kind: str) -> None:
    benchmark = kit.benchmark(kind, 3)
    model, recorder = given(kit, benchmark.labels), kit.Recorder()
    plugin = GaussianReadoutPlugin(trained_tasks=1)
    strategy = kit.strategy(benchmark.labels, plugin, recorder, model=model, epochs=2)
    experiences = list(benchmark.train_stream)
    strategy.train(experiences[0])
    tuned = {name: p.detach().clone() for name, p in model.named_parameters()}
    assert recorder.steps
    for experience in experiences[1:]:
        strategy.train(experience)
    assert {step.task for step in recorder.steps} == {experiences[0].task_name}
    assert all(torch.equal(p, tuned[name]) for name, p in model.named_parameters())


def test_a_task_without_epochs_leaves_the_next_its_own(kit: Any) -> None:
    class First(SupervisedPlugin):
        def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
            if strategy.clock.train_exp_counter == 0:
                strategy.train_no_epoch()

    benchmark = kit.benchmark("re", 2)
    recorder = kit.Recorder()
    kit.train(kit.strategy(benchmark.labels, First(), recorder), benchmark)
    assert {step.task for step in recorder.steps} == {benchmark.train_stream[1].task_name}


def test_a_task_that_did_not_begin_takes_no_epoch_from_the_next(kit: Any) -> None:
    class Once(SupervisedPlugin):
        def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
            if strategy.clock.train_exp_counter == 0 and not again:
                strategy.train_no_epoch()
                raise KeyboardInterrupt

    again: list[bool] = []
    benchmark = kit.benchmark("re", 1)
    recorder = kit.Recorder()
    strategy = kit.strategy(benchmark.labels, Once(), recorder)
    with pytest.raises(KeyboardInterrupt):
        strategy.train(benchmark.train_stream[0])
    again.append(True)
    strategy.train(benchmark.train_stream[0])
    assert recorder.steps


def test_what_does_not_fit_is_said(kit: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        GaussianReadoutPlugin(trained_tasks=-1, background="some")  # type: ignore[arg-type]
    assert len(caught.value.problems) == 2
    benchmark = kit.benchmark("re", 1)
    model = kit.text_model(benchmark.labels)
    strategy = kit.strategy(benchmark.labels, model=model)
    strategy.plugins.append(GaussianReadoutPlugin())
    with pytest.raises(ConfigError, match="the method predicts from a GaussianReadout"):
        strategy.train(benchmark.train_stream[0])
