"""What is put on top of a recipe: replay under the stream's prior, completed labels, weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin

from mkgc_cl.errors import ConfigError
from mkgc_cl.models import GaussianOptions, GaussianReadout
from mkgc_cl.models.branch import GaussianBranch
from mkgc_cl.models.gaussian.drift import drifted_means
from mkgc_cl.models.gaussian.solve import deviations
from mkgc_cl.models.prior import PriorCorrection
from mkgc_cl.objectives.prior import prior_shift
from mkgc_cl.strategies import (
    CompletedLabelsPlugin,
    GaussianReadoutPlugin,
    MovedStatisticsPlugin,
    OwnClassesPlugin,
    PriorCorrectionPlugin,
    PrototypeReplayPlugin,
    SlowEncoderPlugin,
    WeightInterpolationPlugin,
)
from mkgc_cl.strategies.catalogue import build_system
from mkgc_cl.strategies.contract import yield_checks
from mkgc_cl.strategies.prior import label_counts
from mkgc_cl.strategies.recipe import Encoders, Training

FROZEN = "Frozen + Gaussian"
NEAR = {"rtol": 1e-5, "atol": 1e-5}


class Weights(SupervisedPlugin):
    """Copies the model's parameters before and after every task."""

    def __init__(self) -> None:
        super().__init__()
        self.began: list[dict[str, torch.Tensor]] = []
        self.ended: list[dict[str, torch.Tensor]] = []

    @staticmethod
    def _copy(strategy: Any) -> dict[str, torch.Tensor]:
        return {n: p.detach().clone() for n, p in strategy.network.named_parameters()}

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.began.append(self._copy(strategy))

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.ended.append(self._copy(strategy))


@pytest.mark.slow
def test_the_correction_is_from_the_memorys_prior_to_the_streams(kit: Any) -> None:
    benchmark = kit.benchmark("re", 2)
    model = kit.text_model(benchmark.labels)
    PriorCorrectionPlugin.prepare(model)
    replay = PrototypeReplayPlugin(size=1)
    strategy = kit.strategy(benchmark.labels, replay, PriorCorrectionPlugin(tau=0.5), model=model)
    (correction,) = model.decisions
    assert isinstance(correction, PriorCorrection)
    first, second = benchmark.train_stream
    strategy.train(first)
    assert not correction.shift.any()  # nothing was rehearsed yet
    strategy.train(second)
    processor = model.processor
    stream = label_counts(processor, [*first.samples, *second.samples])
    assert stream.tolist() == [6, 4, 4, 4, 4]  # three N/A a task
    wanted = prior_shift(stream, label_counts(processor, replay.exemplars()), tau=0.5)
    assert torch.allclose(correction.shift, wanted.float())
    with pytest.raises(ConfigError, match=r"PriorCorrectionPlugin\.prepare"):
        kit.strategy(benchmark.labels, PriorCorrectionPlugin()).train(first)


def test_words_are_counted_of_tags(kit: Any) -> None:
    benchmark = kit.benchmark("ner", 1)
    samples = benchmark.train_stream[0].samples
    counts = label_counts(kit.text_model(benchmark.labels).processor, samples)
    assert counts.sum() == sum(len(sample.tokens) for sample in samples)


@pytest.mark.slow
def test_exemplars_are_rehearsed_with_what_the_model_reads_in_them(
    kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = kit.benchmark("ner", 2)
    labels = benchmark.labels
    replay = PrototypeReplayPlugin(size=2)
    rehearsed: list[Any] = []

    class Heard(SupervisedPlugin):
        def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
            if strategy.phase == "memory":
                rehearsed.append((strategy.batch.uids, strategy.mb_y.clone()))

    strategy = kit.strategy(
        labels, replay, CompletedLabelsPlugin(), Heard(), model=kit.text_model(labels)
    )
    # a model that reads the last class in every word
    last = len(labels.outputs) - 2
    monkeypatch.setattr(
        strategy.network,
        "decode",
        lambda output: [[last] * int(n) for n in output.word_mask.sum(dim=1)],
    )
    first, second = benchmark.train_stream
    strategy.train(first)
    assert rehearsed == []
    strategy.train(second)
    kept = {sample.uid: sample for sample in replay.exemplars()}
    assert rehearsed
    for uids, targets in rehearsed:
        for uid, row in zip(uids, targets.tolist(), strict=True):
            own = [labels.outputs.index(tag) for tag in kept[uid].tags]
            owns = any(tag.endswith(labels.classes[1]) for tag in kept[uid].tags)
            wanted = own if owns else [tag or last for tag in own]
            assert row[: len(own)] == wanted


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_weights_go_a_part_of_the_way(share: float, kit: Any) -> None:
    benchmark = kit.benchmark("re", 2)
    raw, mixed = Weights(), Weights()
    plugins = [raw, WeightInterpolationPlugin(share=share), mixed]
    kit.train(
        kit.strategy(benchmark.labels, *plugins, model=kit.text_model(benchmark.labels)), benchmark
    )
    assert all(torch.equal(p, raw.ended[0][n]) for n, p in mixed.ended[0].items())
    for name, parameter in mixed.ended[1].items():
        old, new = raw.began[1][name], raw.ended[1][name]
        wanted = new if name.startswith("head") else old + share * (new - old)
        assert torch.allclose(parameter, wanted, rtol=1e-6, atol=1e-7), name


def test_the_encoder_slows_down_after_the_first_task(kit: Any) -> None:
    benchmark = kit.benchmark("re", 2)
    strategy = kit.strategy(
        benchmark.labels, SlowEncoderPlugin(factor=0.01), model=kit.text_model(benchmark.labels)
    )
    rates = kit.step_rates(strategy.optimizer)
    strategy.train(benchmark.train_stream[0])
    steps = len(rates)
    strategy.train(benchmark.train_stream[1])
    encoder, head = ("text", "encoder"), ("shared", "head")
    assert {step[encoder] for step in rates[:steps]} == {0.01}
    assert [step[encoder] for step in rates[steps:]] == pytest.approx([1e-4] * (len(rates) - steps))
    assert {step[head] for step in rates} == {0.01}


def test_a_loss_among_the_tasks_own_classes_leaves_other_rows_alone(kit: Any, kind: str) -> None:
    benchmark = kit.benchmark(kind, 2)
    model = kit.text_model(benchmark.labels)
    strategy = kit.strategy(benchmark.labels, OwnClassesPlugin(), model=model, weight_decay=0.0)
    first, second = benchmark.train_stream
    strategy.train(first)
    before = model.head.weight.detach().clone()
    # no momentum of the first task may move them either
    strategy.optimizer.state.clear()
    strategy.train(second)
    own = list(benchmark.labels.output_ids(second.classes))
    others = [n for n in range(len(before)) if n not in own]
    assert torch.equal(model.head.weight[others], before[others])
    assert not torch.equal(model.head.weight[own], before[own])


@pytest.mark.slow
def test_means_move_with_the_encoder_before_the_task_is_added(kit: Any, kind: str) -> None:
    benchmark = kit.benchmark(kind, 2)
    model = kit.text_model(benchmark.labels, layers=(2, 3)).double()
    model.readout = readout = GaussianReadout(
        benchmark.labels.outputs, width=model.readout_width, options=GaussianOptions(shrinkage=0.5)
    )
    encoded: list[torch.Tensor] = []

    class Look(MovedStatisticsPlugin):
        def _encoded(self, strategy: Any) -> torch.Tensor:  # type: ignore[override]
            encoded.append(MovedStatisticsPlugin._encoded(strategy))
            return encoded[-1]

        def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
            kept.append(replace(readout.statistics, means=readout.means.clone()))
            super().after_training_exp(strategy, **kwargs)
            kept.append(replace(readout.statistics, means=readout.means.clone()))

    kept: list[Any] = []
    plugins = [Look(bandwidth=0.3), GaussianReadoutPlugin(trained_tasks=None, background="all")]
    strategy = kit.strategy(benchmark.labels, *plugins, model=model)
    strategy.train(benchmark.train_stream[0])
    assert not encoded  # there is nothing to move yet
    kept.clear()
    scale = deviations(readout.statistics)
    strategy.train(benchmark.train_stream[1])
    before, after = encoded
    assert before.dtype == after.dtype == torch.float64  # the model's: nothing is rounded
    assert not torch.allclose(before, after, **NEAR)
    known = kept[0].means.abs().sum(dim=1) > 0
    wanted = drifted_means(kept[0].means[known], before, after, scale=scale, bandwidth=0.3)
    assert torch.allclose(kept[1].means[known], wanted)
    assert not kept[1].means[~known].any()


def built(name: str, kind: Any, kit: Any, encoders: Encoders | None = None, **options: Any) -> Any:
    labels = kit.benchmark(kind, 2).labels
    return build_system(
        name, labels, encoders=encoders or Encoders(), training=Training(epochs=1), options=options
    )


def test_every_system_takes_them(kit: Any) -> None:
    strategy = built("EMR", "re", kit, branch=0.4, prior_correction=1.0, interpolation=0.5)
    assert [type(d) for d in strategy.network.decisions] == [PriorCorrection, GaussianBranch]
    kinds = {type(plugin) for plugin in strategy.plugins}
    assert {WeightInterpolationPlugin, PriorCorrectionPlugin, GaussianReadoutPlugin} <= kinds
    assert not built("Vanilla", "re", kit).network.decisions


@pytest.mark.parametrize(
    ("name", "kind", "options", "said"),
    [
        ("Vanilla", "re", {"prior_correction": 1}, "prior_correction is for systems that keep"),
        ("EMR", "re", {"complete_labels": True}, "complete_labels is for tags"),
        ("EMR", "ner", {"branch": 0.5}, "with tagger='softmax'"),
        ("EMR", "re", {"branch": 2}, "weight=2.0; give 0 to 1"),
        ("EMR", "re", {"interpolation": -1}, "share=-1.0"),
        ("MSPT", "re", {"image_cache": True}, "image_cache is for systems whose encoder of images"),
        ("UMGF", "re", {"image_cache": True}, "UMGF give train_vision=false"),
        ("EMR", "re", {"brunch": 1}, "did you mean 'branch'"),
    ],
)
def test_what_does_not_fit_is_refused(
    name: str, kind: Any, options: Any, said: str, kit: Any
) -> None:
    with pytest.raises(ConfigError, match=said):
        built(name, kind, kit, **options)


@pytest.mark.parametrize(("name", "options"), [("UMT", {}), (FROZEN, {"with_images": True})])
def test_who_looks_at_whole_images_refuses_crops_alone(name: str, options: Any, kit: Any) -> None:
    """Before anything is read, not sample by sample."""
    labels = kit.benchmark("re", 1).labels
    with pytest.raises(ConfigError, match=r"looks at the whole image; give encoders\.images"):
        build_system(
            name,
            labels,
            encoders=Encoders(images="crops"),
            training=Training(),
            options=options,
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("UMT", {"image_cache": True}),
        ("MEGA", {"image_cache": True, "alignments": "semantic"}),
        ("MSPT", {"image_cache": True}),
        ("MKGformer", {"image_cache": True}),
        (FROZEN, {"with_images": True, "cache": True}),
    ],
)
def test_a_second_run_encodes_no_image_and_ends_the_same(
    name: str, options: Any, kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MKGC_CACHE", str(tmp_path))
    ends = []
    for new in (True, False):
        benchmark = kit.benchmark("re", 1)
        strategy = built(name, "re", kit, Encoders(freeze_vision=1), **options)
        strategy.train(benchmark.train_stream[0])
        assert bool(strategy.network.vision.cache.encoded_images) is new
        ends.append(strategy.network.state_dict())
    first, second = ends
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.slow
def test_a_system_may_have_defaults_of_its_own(kit: Any) -> None:
    """EMR + Gaussian is EMR with branch=0.5, in the tables and in the contract."""

    def weights(name: str, **options: Any) -> list[float]:
        decisions = built(name, "re", kit, **options).network.decisions
        return [d.weight for d in decisions if isinstance(d, GaussianBranch)]

    assert weights("EMR") == []
    assert weights("EMR + Gaussian") == weights("EMR", branch=0.5) == [0.5]
    assert weights("EMR + Gaussian", branch=0.25) == [0.25]
    assert next(yield_checks("emr + gaussian", "re")).trial.options == {"branch": 0.5}
