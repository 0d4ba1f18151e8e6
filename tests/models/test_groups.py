"""Parameters by modality: a partition of what trains, whatever is frozen."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from mkgc_cl.errors import ConfigError
from mkgc_cl.models import (
    DualStreamModel,
    MemoryAttentionReadout,
    build_optimizer,
    parameter_groups,
)
from mkgc_cl.models.groups import MODALITIES, classify

Build = Callable[..., DualStreamModel]


@pytest.mark.parametrize("kind", ["re", "ner"])
@pytest.mark.parametrize("interaction", ["shared-key", "self"])
@pytest.mark.parametrize("freeze", [0, 2, 4])
def test_groups_partition_what_trains(
    kind: str, interaction: str, freeze: int, build: Build
) -> None:
    model = build(kind, interaction=interaction, freeze_lower=freeze)
    listed = [parameter for group in parameter_groups(model) for _, parameter in group.parameters]
    assert len({id(parameter) for parameter in listed}) == len(listed)
    trains = {id(p) for p in model.parameters() if p.requires_grad}
    assert {id(parameter) for parameter in listed} == trains
    kinds = [(group.modality, group.role) for group in parameter_groups(model)]
    assert len(set(kinds)) == len(kinds)
    named = dict(model.named_parameters())
    for group in parameter_groups(model):
        assert all(named[name] is parameter for name, parameter in group.parameters)


def test_modality_is_where_the_parameter_lives(build: Build) -> None:
    """By object, not by name: walk the modules and ask the groups."""
    model: Any = build("ner", images="image+crops")
    found = {
        id(parameter): (group.modality, group.role)
        for group in parameter_groups(model)
        for _, parameter in group.parameters
    }
    maps = [layer.attention.self.bias for layer in model.text.layers[1:]]
    assert {found[id(bias)] for bias in maps} == {("text", "bias")}
    maps = [block.attn.shared.bias for block in model.vision.vit.blocks[1:]]
    assert {found[id(bias)] for bias in maps} == {("vision", "bias")}
    assert {found[id(key)] for key in model.shared_keys} == {("shared", "key")}
    head = [*model.head.parameters(), *model.crf.parameters()]
    assert {found[id(parameter)] for parameter in head} == {("shared", "head")}
    encoders = (
        (model.text.embeddings.word_embeddings.weight, "text"),
        (model.text.layers[3].attention.self.query.bias, "text"),
        (model.text.layers[0].attention.self.query.bias, "text"),
        (model.vision.vit.blocks[3].attn.shared.value.bias, "vision"),
        (model.vision.vit.blocks[0].attn.qkv.bias, "vision"),
        (model.vision.crop_positions, "vision"),
    )
    for parameter, modality in encoders:
        assert found[id(parameter)] == (modality, "encoder")
    assert {modality for modality, _ in found.values()} == set(MODALITIES)


def test_a_name_that_only_looks_like_a_map() -> None:
    assert classify("text.layers.0.attention.self.query.bias") == ("text", "encoder")
    assert classify("vision.vit.blocks.0.attn.proj.bias") == ("vision", "encoder")
    assert classify("head.text_weight") == ("shared", "head")
    assert classify("crf.transitions") == ("shared", "head")
    assert classify("projection.0.weight") == ("shared", "projection")


def test_frozen_parts_leave_the_groups(build: Build) -> None:
    model: Any = build("re", freeze_lower=4)
    names = {name for group in parameter_groups(model) for name, _ in group.parameters}
    assert not any(name.startswith(("text.layers", "text.embeddings")) for name in names)
    assert "shared_keys.0" in names
    assert "head.bias" in names


def test_optimizer_gives_every_role_its_rate(build: Build) -> None:
    model = build("ner")
    optimizer = build_optimizer(
        model, lr=1e-3, head_lr=5e-2, key_lr=1e-6, bias_lr=1e-5, weight_decay=0.03
    )
    rates = {"encoder": 1e-3, "head": 5e-2, "key": 1e-6, "bias": 1e-5}
    assert isinstance(optimizer, torch.optim.AdamW)
    for group in optimizer.param_groups:
        assert group["lr"] == rates[group["role"]]
        assert group["weight_decay"] == 0.03
        assert group["modality"] in MODALITIES
    assert {group["role"] for group in optimizer.param_groups} == set(rates)
    listed = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())


def test_roles_without_a_rate_take_the_encoders(build: Build) -> None:
    optimizer = build_optimizer(build("re"), lr=2e-4, kind="sgd")
    assert isinstance(optimizer, torch.optim.SGD)
    assert {group["lr"] for group in optimizer.param_groups} == {2e-4}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, "learning rate of encoder is 0"),
        ({"lr": 1e-3, "head_lr": -1.0}, "learning rate of head is -1"),
        ({"lr": 1e-3, "kind": "adam"}, "kind='adam'; choose adamw or sgd"),
    ],
)
def test_wrong_settings_are_refused(options: Any, message: str, build: Build) -> None:
    with pytest.raises(ConfigError, match=message):
        build_optimizer(build("re"), **options)


def test_nothing_to_train_is_an_error(build: Build) -> None:
    with pytest.raises(ConfigError, match="no parameter of the model trains"):
        build_optimizer(build("re").requires_grad_(False), lr=1e-3)


def test_one_sgd_step_by_hand(build: Build) -> None:
    model = build("re")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = build_optimizer(model, lr=0.1, key_lr=0.01, weight_decay=0.5, kind="sgd")
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 2.0)
    optimizer.step()
    for name, parameter in model.named_parameters():
        rate = 0.01 if name.startswith("shared_keys") else 0.1
        expected = before[name] - rate * (2.0 + 0.5 * before[name])
        assert torch.allclose(parameter, expected, atol=1e-9), name
    assert math.isclose(optimizer.param_groups[0]["weight_decay"], 0.5)


def test_a_readout_that_learns_is_a_group_with_a_rate_of_its_own(build: Build) -> None:
    model = build("re")
    model.readout = MemoryAttentionReadout(model.head, heads=2, key_width=4)
    optimizer = build_optimizer(model, lr=0.1, head_lr=0.2, readout_lr=0.3)
    groups = {group["role"]: group for group in optimizer.param_groups}
    assert (groups["readout"]["lr"], groups["readout"]["modality"]) == (0.3, "shared")
    assert groups["head"]["lr"] == 0.2
    listed = {id(parameter) for parameter in groups["readout"]["params"]}
    assert listed == {id(parameter) for parameter in model.readout.parameters()}
