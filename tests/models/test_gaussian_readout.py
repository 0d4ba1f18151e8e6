"""The readout: one answer however it was learnt, kept and read, and no class before its time."""

from __future__ import annotations

import copy
import errno
import itertools
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mkgc_cl.errors import ConfigError, DataError
from mkgc_cl.models.gaussian import (
    GaussianOptions,
    GaussianReadout,
    load_readout,
    save_readout,
)
from mkgc_cl.models.gaussian.lift import RandomLift
from mkgc_cl.models.heads import UNSEEN_LOGIT
from mkgc_cl.models.output import ModelOutput

OUTPUTS, WIDTH = ("none", "a", "b", "c", "d"), 6
KINDS: dict[str, dict[str, Any]] = {
    "gaussian": {},
    "uniform": {"prior": "uniform"},
    "per class": {"covariance": "class"},
    "ridge": {"solve": "ridge"},
    "relu": {"features": "relu", "random_features": 16},
    "rbf, ridge": {"features": "rbf", "random_features": 16, "solve": "ridge"},
}
Samples = tuple[Tensor, Tensor]


def readout(
    *, outputs: tuple[str, ...] = OUTPUTS, seed: int = 0, **options: Any
) -> GaussianReadout:
    return GaussianReadout(outputs, width=WIDTH, options=GaussianOptions(**options), seed=seed)


@pytest.fixture
def tasks() -> list[Samples]:
    """Three tasks: N/A in each, a class or two of its own."""
    source = torch.Generator().manual_seed(3)
    made = []
    centers = 50 + 3 * torch.randn(len(OUTPUTS), WIDTH, generator=source, dtype=torch.float64)
    for own in ((1,), (2, 4), (3,)):
        labels = torch.tensor([0] * 8 + list(own) * 6)
        noise = torch.randn(len(labels), WIDTH, generator=source, dtype=torch.float64)
        made.append((noise + centers[labels], labels))
    return made


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(request.param)


def joint(tasks: list[Samples]) -> Samples:
    features, labels = zip(*tasks, strict=True)
    return torch.cat(features), torch.cat(labels)


def test_task_by_task_is_all_at_once_in_any_order(
    tasks: list[Samples], options: dict[str, Any]
) -> None:
    """Random features are standardized by the first task: that one comes first in every order."""
    features, labels = joint(tasks)
    whole = readout(**options)
    if whole.lift is not None:
        whole.lift.standardize(tasks[0][0])
    whole.add(features, labels)
    expected = whole.log_posterior(features)
    orders = list(itertools.permutations(tasks)) if whole.lift is None else [(*tasks,)]
    for order in orders:
        stepwise = readout(**options)
        for task in order:
            stepwise.add(*task)
        assert torch.allclose(stepwise.log_posterior(features), expected, rtol=1e-9, atol=1e-9)


def test_it_learns(tasks: list[Samples], options: dict[str, Any]) -> None:
    features, labels = joint(tasks)
    found = readout(**options)
    found.add(features, labels)
    assert float((found.log_posterior(features).argmax(dim=1) == labels).double().mean()) > 0.8


def test_a_sample_is_scored_alone_as_in_company(
    tasks: list[Samples], options: dict[str, Any]
) -> None:
    features, labels = joint(tasks)
    found = readout(**options)
    found.add(features, labels)
    together = found.log_posterior(features)
    alone = torch.stack([found.log_posterior(one) for one in features])
    assert torch.allclose(together, alone, rtol=1e-9, atol=1e-9)
    words = found.log_posterior(features[:40].reshape(4, 10, WIDTH))
    assert torch.allclose(words.flatten(0, 1), together[:40], rtol=1e-9, atol=1e-9)


def test_sites_join_by_name_and_part(tasks: list[Samples], options: dict[str, Any]) -> None:
    """The second site knows its own outputs alone, in an order of its own."""
    names = ("none", "d", "b")
    here, there, both = readout(**options), readout(outputs=names, **options), readout(**options)
    there_labels = torch.tensor([names.index(OUTPUTS[int(label)]) for label in tasks[1][1]])
    for one in (here, there, both):
        if one.lift is not None:
            one.lift.standardize(tasks[0][0])
    here.add(*tasks[0])
    there.add(tasks[1][0], there_labels)
    both.add(*tasks[0])
    alone = both.log_posterior(tasks[0][0])
    both.add(*tasks[1])
    here.merge(there)
    features, _ = joint(tasks[:2])
    near = {"rtol": 1e-9, "atol": 1e-9}
    assert torch.allclose(here.log_posterior(features), both.log_posterior(features), **near)
    here.subtract(there)
    assert torch.allclose(here.log_posterior(tasks[0][0]), alone, **near)


def test_shards_of_many_machines_are_the_whole(
    tasks: list[Samples], options: dict[str, Any], tmp_path: Path
) -> None:
    """Learnt apart, saved, and merged: in one order to the last bit, in any up to rounding."""
    features, labels = joint(tasks)
    whole = readout(**options)
    if whole.lift is not None:
        whole.lift.standardize(features)
    fresh = whole.copied()
    whole.add(features, labels)
    for site in range(3):
        shard = fresh.copied()
        shard.add(features[site::3], labels[site::3])
        save_readout(shard, tmp_path / f"{site}")

    def merged(order: Sequence[int]) -> GaussianReadout:
        first, *others = (load_readout(tmp_path / f"{site}") for site in order)
        for other in others:
            first.merge(other)
        return first

    once, again, turned = merged((0, 1, 2)), merged((0, 1, 2)), merged((2, 0, 1))
    for name in ("counts", "means", "scatter"):
        assert torch.equal(getattr(once, name), getattr(again, name))
        for one in (once, turned):
            assert torch.allclose(getattr(one, name), getattr(whole, name), rtol=1e-9, atol=1e-9)


def test_unlearning_is_never_having_seen(tasks: list[Samples], options: dict[str, Any]) -> None:
    features, labels = joint(tasks)
    never, found = readout(**options), readout(**options)
    for one in (never, found):
        if one.lift is not None:
            one.lift.standardize(features)
    gone = torch.arange(len(labels)) % 4 == 1
    never.add(features[~gone], labels[~gone])
    found.add(features, labels)
    found.remove(features[gone], labels[gone])
    expected = never.log_posterior(features)
    assert torch.allclose(found.log_posterior(features), expected, rtol=1e-8, atol=1e-8)


def test_what_is_to_come_changes_no_bit(tasks: list[Samples], options: dict[str, Any]) -> None:
    """Neither that there are more classes, nor how many."""
    features, labels = tasks[0]
    few, many = (
        readout(outputs=OUTPUTS[:2], **options),
        readout(outputs=(*OUTPUTS, *"efghij"), **options),
    )
    for one in (few, many):
        one.add(features, labels)
    expected = few.log_posterior(features)
    found = many.log_posterior(features)
    assert torch.equal(found[:, :2], expected)
    assert bool((found[:, 2:] == UNSEEN_LOGIT).all())


def test_no_score_is_below_the_mask(tasks: list[Samples]) -> None:
    """A sample far from all that was learnt is still one of it."""
    found = readout(shrinkage=1e-6)
    found.add(*tasks[0])
    far = found.log_posterior(tasks[0][0] * 1e6)
    assert bool((far[:, :2] > UNSEEN_LOGIT).all())
    assert bool(torch.isfinite(far).all())
    assert set(far.argmax(dim=1).tolist()) <= {0, 1}


def test_before_anything_is_learnt_the_head_predicts() -> None:
    logits = torch.randn(2, len(OUTPUTS))
    output = ModelOutput(
        logits=logits,
        features=torch.randn(2, WIDTH),
        text_states=torch.empty(0),
        text_mask=torch.empty(0),
    )
    assert readout()(output) is logits


def test_a_new_state_is_solved_anew(tasks: list[Samples], options: dict[str, Any]) -> None:
    features, _ = joint(tasks)
    one, other = readout(**options), readout(seed=7, **options)
    one.add(*tasks[0])
    other.add(*tasks[1])
    other.log_posterior(features)  # solved, and to be forgotten
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    assert torch.equal(other.log_posterior(features), one.log_posterior(features))
    other.add(*tasks[2])
    assert not torch.equal(other.log_posterior(features), one.log_posterior(features))


def test_a_file_predicts_and_learns_on(
    tmp_path: Path, tasks: list[Samples], options: dict[str, Any]
) -> None:
    path, features = tmp_path / "readout.safetensors", joint(tasks)[0]
    one = readout(seed=5, shrinkage=0.2, **options)
    one.add(*tasks[0])
    save_readout(one, path)
    other = load_readout(path)
    assert other.options == one.options
    assert other.outputs == OUTPUTS
    for step in (tasks[1], tasks[2]):
        assert torch.equal(other.log_posterior(features), one.log_posterior(features))
        one.add(*step)
        other.add(*step)


def test_a_file_of_something_else_is_said_to_be(tmp_path: Path, tasks: list[Samples]) -> None:
    path = tmp_path / "readout.safetensors"
    one = readout()
    one.add(*tasks[0])
    save_readout(one, path)
    tensors = load_file(path)

    def refused(words: str) -> None:
        with pytest.raises(DataError, match=words) as caught:
            load_readout(path)
        assert caught.value.path == path

    header = {"format": "mkgc_cl.gaussian-readout/2", "outputs": OUTPUTS, "width": 10**9}
    save_file(tensors, path, metadata={"mkgc_cl": json.dumps({**header, "options": {}})})
    refused("does not fit its means")
    # of random features the width is that of the projection, which is not in this file
    relu = {**header, "options": {"features": "relu", "random_features": WIDTH}}
    save_file(tensors, path, metadata={"mkgc_cl": json.dumps(relu)})
    refused("does not fit its lift.projection None")
    per_class = {**header, "width": WIDTH, "options": {"covariance": "class"}}
    save_file(tensors, path, metadata={"mkgc_cl": json.dumps(per_class)})
    refused("does not fit its scatter")
    save_file(tensors, path, metadata={"mkgc_cl": json.dumps({**header, "options": {"x": 1}})})
    refused("cannot be read as a Gaussian readout")
    save_file(tensors, path)
    refused("no Gaussian readout of format")
    path.write_bytes(b"not tensors")
    refused("cannot be read as a Gaussian readout")
    path.unlink()
    refused("expected a file, found none")
    path.mkdir()
    refused("expected a regular file, found a folder")


def test_a_write_that_fails_leaves_the_readout_that_was_there(
    tmp_path: Path, tasks: list[Samples], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, one = tmp_path / "readout.safetensors", readout()
    save_readout(one, path)
    before = path.read_bytes()
    one.add(*tasks[0])

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"readout\.safetensors"):
        save_readout(one, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_readouts_that_do_not_fit_say_why(tasks: list[Samples]) -> None:
    wide = GaussianReadout(("none", "z"), width=3, options=GaussianOptions(covariance="class"))
    with pytest.raises(ConfigError) as caught:
        readout().merge(wide)
    assert [problem.partition(": ")[2] for problem in caught.value.problems] == [
        "it has an output 'z'",
        "its features are 3 wide, these 6",
        "its option covariance is 'class', here 'shared'",
    ]
    one, other = readout(features="relu"), readout(features="relu", seed=1)
    one.add(*tasks[0])
    other.add(*tasks[0])
    with pytest.raises(ConfigError, match="another seed or another first task"):
        one.merge(other)
    with pytest.raises(ConfigError, match="for a readout of width 6"):
        one.add(torch.zeros(2, 5), torch.zeros(2, dtype=torch.long))


def test_options_that_cannot_be_are_named_together() -> None:
    with pytest.raises(ConfigError) as caught:
        GaussianOptions(shrinkage=1.5, tau=-1.0, prior="none", random_features=0, bandwidth=0.0)  # type: ignore[arg-type]
    assert len(caught.value.problems) == 5
    with pytest.raises(ConfigError, match="has no covariance of a class"):
        GaussianOptions(solve="ridge", covariance="class")


def test_random_fourier_features_are_of_the_kernel() -> None:
    source = torch.Generator().manual_seed(0)
    features = torch.randn(6, 4, generator=source, dtype=torch.float64)
    lift = RandomLift("rbf", width=4, lifted=200_000, bandwidth=0.8, seed=0)
    lift.standardize(features)
    rows = (features - features.mean(dim=0)) / features.std(dim=0, correction=0)
    kernel = (-torch.cdist(rows, rows).square() / (2 * 0.8**2 * 4)).exp()
    assert torch.allclose(lift(features) @ lift(features).T, kernel, atol=4 / math.sqrt(200_000))


def test_relu_features_by_hand() -> None:
    lift = RandomLift("relu", width=2, lifted=3, bandwidth=1.0, seed=0)
    lift.standardize(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    lift.projection.copy_(torch.tensor([[1.0, -1.0, 2.0], [1.0, 0.0, 0.0]]))
    assert lift(torch.tensor([[5.0, 6.0]])).tolist() == [[4.0, 0.0, 6.0]]
    with pytest.raises(ConfigError, match="standardized once"):
        lift.standardize(torch.zeros(1, 2))


def test_a_temperature_makes_it_less_sure_and_decides_nothing(
    tasks: list[Samples], tmp_path: Path
) -> None:
    found = readout(shrinkage=0.3)
    for features, labels in tasks:
        found.add(features, labels)
    rows = torch.cat([features for features, _ in tasks])
    sure = found.log_posterior(rows)
    found.temperature.fill_(3.0)
    less = found.log_posterior(rows)
    known = found.statistics.known
    assert torch.allclose(less[:, known], (sure[:, known] / 3).log_softmax(dim=1), atol=1e-6)
    assert torch.equal(less.argmax(dim=1), sure.argmax(dim=1))
    save_readout(found, tmp_path / "r.safetensors")
    assert torch.equal(load_readout(tmp_path / "r.safetensors").log_posterior(rows), less)
