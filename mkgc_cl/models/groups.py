"""Parameters by modality and role, and optimizers whose groups say which is which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from mkgc_cl.errors import ConfigError

Modality = Literal["text", "vision", "shared"]
Role = Literal["encoder", "bias", "key", "fusion", "projection", "head", "readout"]
MODALITIES: tuple[Modality, ...] = ("text", "vision", "shared")
_SHARED: Mapping[str, Role] = {
    "shared_keys": "key",
    "key_projections": "key",
    "fusion": "fusion",
    "projection": "projection",
    "readout": "readout",
}


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Trainable parameters that belong together.

    Args:
        modality: the stream they belong to; ``"shared"`` for shared key, fusion, head and readout.
        role: encoder weights, interaction bias map, shared key (with what brings it to the other
            stream's width), fusion layers on top of the encoders, the linear projection that stands
            there, head (with the CRF), or readout.
        parameters: names and parameters.
    """

    modality: Modality
    role: Role
    parameters: tuple[tuple[str, nn.Parameter], ...]


def classify(name: str) -> tuple[Modality, Role]:
    """Modality and role of a parameter of any model of this package by its name.

    >>> classify("text.layers.3.attention.self.bias"), classify("shared_keys.0")
    (('text', 'bias'), ('shared', 'key'))
    >>> classify("fusion.gate.weight"), classify("aux_head.weight")
    (('shared', 'fusion'), ('shared', 'head'))
    """
    stream, _, rest = name.partition(".")
    if stream in ("text", "vision"):
        is_map = rest.endswith(("attention.self.bias", "attn.shared.bias"))
        return ("text" if stream == "text" else "vision"), ("bias" if is_map else "encoder")
    return "shared", _SHARED.get(stream, "head")


def parameter_groups(model: nn.Module) -> list[ParameterGroup]:
    """Group the parameters that train (frozen ones are left out) by modality and role."""
    found: dict[tuple[Modality, Role], list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            found.setdefault(classify(name), []).append((name, parameter))
    return [ParameterGroup(*kind, tuple(named)) for kind, named in found.items()]


def build_optimizer(
    model: nn.Module,
    *,
    lr: float,
    head_lr: float | None = None,
    key_lr: float | None = None,
    bias_lr: float | None = None,
    fusion_lr: float | None = None,
    projection_lr: float | None = None,
    readout_lr: float | None = None,
    weight_decay: float = 0.01,
    kind: Literal["adamw", "sgd"] = "adamw",
) -> Optimizer:
    """Build an optimizer whose groups carry ``modality`` and ``role``.

    Args:
        model: the model.
        lr: learning rate of the encoders, and of every role without one of its own.
        head_lr: of head and CRF.
        key_lr: of the shared keys.
        bias_lr: of the interaction bias maps.
        fusion_lr: of fusion layers between encoders and head.
        projection_lr: of a linear projection there: before the head (RP-CRE, EMAR-BERT), or of the
            visual class token to the text's width.
        readout_lr: of a readout that learns; the model must have it by now.
        weight_decay: on every parameter, as in the released code.
        kind: ``"adamw"`` (the released code's optimizer; fused, but for the head) or ``"sgd"`` (eq.
            4-9).

    Raises:
        ConfigError: a rate is not positive, nothing trains, or the kind is unknown.
    """
    rates: dict[Role, float] = {
        "encoder": lr,
        "bias": lr if bias_lr is None else bias_lr,
        "key": lr if key_lr is None else key_lr,
        "fusion": lr if fusion_lr is None else fusion_lr,
        "projection": lr if projection_lr is None else projection_lr,
        "head": lr if head_lr is None else head_lr,
        "readout": lr if readout_lr is None else readout_lr,
    }
    wrong = [f"the learning rate of {role} is {rate}" for role, rate in rates.items() if rate <= 0]
    groups = parameter_groups(model)
    if not groups:
        wrong.append("no parameter of the model trains; freeze fewer layers")
    if kind not in ("adamw", "sgd"):
        wrong.append(f"kind={kind!r}; choose adamw or sgd")
    if wrong:
        raise ConfigError(wrong)
    described: list[dict[str, object]] = [
        {
            "params": [parameter for _, parameter in group.parameters],
            "lr": rates[group.role],
            "modality": group.modality,
            "role": group.role,
        }
        for group in groups
    ]
    if kind == "sgd":
        return SGD(described, lr=lr, weight_decay=weight_decay)
    for group in described:
        # on the CPU the fused kernel rounds the last few elements of a tensor in another way: how
        # many classes are to come would decide which of a head's those are
        group["fused"] = group["role"] != "head"
    return AdamW(described, lr=lr, weight_decay=weight_decay)
