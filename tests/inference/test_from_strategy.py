"""An extractor made of a trained strategy predicts exactly what the strategy decodes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from mkgc_cl.data.demo import demo_stream
from mkgc_cl.data.samples import RelationSample, TaggingSample
from mkgc_cl.inference import Extractor
from mkgc_cl.inference.report import bio_spans
from mkgc_cl.models import GaussianReadout
from mkgc_cl.scenarios import make_benchmark
from mkgc_cl.strategies.catalogue import build_system
from mkgc_cl.strategies.contract_trial import predict, tiny_stream
from mkgc_cl.strategies.recipe import Encoders, Training
from mkgc_cl.systems import SYSTEMS

FASTER: dict[str, dict[str, Any]] = {
    "UMGF": {"width": 32, "layers": 2},
    "MEGA": {"alignments": "semantic"},
    "RP-CRE": {"memory_epochs": 2},
}
PAIRS = [(n, kind, FASTER.get(n, {})) for n, info in SYSTEMS.items() for kind in info.tasks]
PAIRS += [
    ("EMR", "re", {"prior_correction": 1.0}),
    ("EMR", "ner", {"prior_correction": 1.0}),
    ("Frozen + Gaussian", "re", {"with_images": True}),
    ("Frozen + Gaussian", "re", {"features": "relu", "random_features": 64}),
    ("Frozen + Gaussian", "ner", {"with_images": True}),
    ("Frozen + Gaussian", "ner", {"covariance": "class"}),
]
"""Systems, and options that change how a model decides."""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind", "options"), PAIRS, ids=str)
def test_it_predicts_what_the_strategy_decodes(
    name: str, kind: Any, options: dict[str, Any], tmp_path: Path
) -> None:
    stream = tiny_stream(kind)
    strategy = build_system(
        name,
        stream.labels,
        encoders=Encoders(max_text_length=64),
        training=Training(epochs=1, batch_size=8, lr=1e-3),
        options=options,
    )
    # one task alone rehearses nothing, and corrects no prior
    for experience in make_benchmark(stream).train_stream[: 2 if options else 1]:
        strategy.train(experience)
    samples = [s for task in stream.tasks for s in task.test][:12]
    decoded = predict(strategy, samples)
    trains = [p.requires_grad for p in strategy.network.parameters()]
    state = copy.deepcopy(strategy.network.state_dict())

    extractor = Extractor.from_strategy(strategy)
    found = _answers(extractor, samples)
    assert found == [
        _meant(s, ids, strategy.network.labels.outputs)
        for s, ids in zip(samples, decoded, strict=True)
    ]
    # to look at a strategy changes nothing of it, and it may train on
    assert trains == [p.requires_grad for p in strategy.network.parameters()]
    assert all(torch.equal(v, state[n]) for n, v in strategy.network.state_dict().items())

    extractor.save(tmp_path / "x")
    kept = Extractor.load(tmp_path / "x")
    assert kept.model == extractor.model
    assert _answers(kept, samples) == found


def _answers(extractor: Extractor, samples: list[Any]) -> list[Any]:
    found = extractor(samples, constrain=False)
    for one in found:
        assert all(0 <= each.score <= 1 for each in (*one.relations, *(one.entities)))
    if isinstance(samples[0], RelationSample):
        return [[r.type for r in one.relations] for one in found]
    return [[(e.type, e.start, e.end) for e in one.entities] for one in found]


def _meant(sample: RelationSample | TaggingSample, ids: list[int], outputs: tuple[str, ...]) -> Any:
    if isinstance(sample, RelationSample):
        return [] if ids[0] == 0 else [outputs[ids[0]]]
    return bio_spans([outputs[i] for i in ids])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["re", "ner"])
def test_one_that_learnt_by_itself_agrees_with_the_system_of_the_tables(kind: Any) -> None:
    stream = demo_stream(kind, seed=3, train_per_task=24, test_size=40)
    strategy = build_system(
        "Frozen + Gaussian",
        stream.labels,
        encoders=Encoders(max_text_length=64),
        training=Training(epochs=1, batch_size=8, lr=1e-3),
    )
    extractor = Extractor.from_encoder("tiny", negative=stream.labels.na or "None", max_length=64)
    known: set[Any] = set()
    for task, experience in zip(stream.tasks, make_benchmark(stream).train_stream, strict=True):
        # the same words twice teach an extractor once
        assert len({_told(s) for s in task.train}) == len(task.train)
        assert not known & {_told(s) for s in task.train}
        strategy.train(experience)
        report = extractor.learn(task.train, types=task.classes)
        assert report.samples == len(task.train), report
    samples = [s for task in stream.tasks for s in task.test]
    outputs = strategy.network.labels.outputs
    meant = [
        _meant(s, ids, outputs) for s, ids in zip(samples, predict(strategy, samples), strict=True)
    ]
    assert _answers(extractor, samples) == meant
    readouts = extractor.parts[kind].readout, GaussianReadout.of(strategy.network)  # type: ignore[attr-defined]
    mine, theirs = (readout.statistics for readout in readouts)
    place = [readouts[0].outputs.index(name) for name in readouts[1].outputs]
    assert torch.equal(mine.counts[place], theirs.counts)
    torch.testing.assert_close(mine.means[place], theirs.means, rtol=1e-5, atol=1e-5)


def _told(sample: Any) -> Any:
    spans = (sample.head, sample.tail) if isinstance(sample, RelationSample) else ()
    return (sample.tokens, spans)
