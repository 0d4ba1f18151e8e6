"""Nested states as JSON and tensors, and back, to the bit; nothing in them is code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mkgc_cl.errors import ConfigError, DataError

_PLAIN = (bool, int, float, str, type(None))


def pack(value: object, place: str = "state") -> tuple[Any, dict[str, Tensor]]:
    """Take a nested state apart into what JSON holds and its tensors by name.

    >>> pack({"lr": 0.1, 0: (1, None)})
    ({'dict': [['lr', 0.1], [0, {'tuple': [1, None]}]]}, {})

    Args:
        value: dicts, lists and tuples of tensors, numbers, text and ``None``.
        place: what to call it in messages.

    Raises:
        ConfigError: naming what is something else, and where it is.
    """
    tensors: dict[str, Tensor] = {}
    return _packed(value, tensors, place), tensors


def _packed(value: object, tensors: dict[str, Tensor], place: str) -> Any:
    if isinstance(value, Tensor):
        if value.layout is not torch.strided or value.is_quantized:
            raise ConfigError(
                [
                    f"{place} is a sparse or quantized tensor, which a checkpoint cannot hold; let "
                    "state_dict() give a dense one"
                ]
            )
        name = str(len(tensors))
        tensors[name] = value.detach()
        return {"tensor": name, "device": value.device.type}
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Mapping):
        entries = value.items()
        return {"dict": [[_key(k, place), _packed(v, tensors, f"{place}.{k}")] for k, v in entries]}
    if isinstance(value, list | tuple):
        items = [_packed(v, tensors, f"{place}[{i}]") for i, v in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    raise ConfigError(
        [
            f"{place} is a {type(value).__name__}, which a checkpoint cannot hold; let "
            "state_dict() give tensors, numbers and text, in dicts, lists and tuples"
        ]
    )


def _key(key: object, place: str) -> object:
    if isinstance(key, _PLAIN):
        return key
    raise ConfigError([f"{place} has a key of type {type(key).__name__}; use text or numbers"])


def unpack(plain: Any, tensors: Mapping[str, Tensor], *, device: torch.device | str) -> Any:
    """Put a state together again.

    Args:
        plain: as :func:`pack` gave it.
        tensors: likewise.
        device: for tensors that were not on the CPU.

    Raises:
        DataError: it is nothing that :func:`pack` gives.
    """
    if isinstance(plain, list):
        return [unpack(item, tensors, device=device) for item in plain]
    if not isinstance(plain, dict):
        return plain
    try:
        if "tensor" in plain:
            found = tensors[plain["tensor"]]
            return found if plain["device"] == "cpu" else found.to(device)
        if "tuple" in plain:
            return tuple(unpack(item, tensors, device=device) for item in plain["tuple"])
        return {key: unpack(item, tensors, device=device) for key, item in plain["dict"]}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"expected a packed state, found something else ({error!r})") from error
