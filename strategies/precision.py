"""The precision of the forward pass, and where it works."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch

Precision = Literal["fp32", "bf16"]


def wrong_precision(precision: Precision, device: torch.device) -> list[str]:
    """What is wrong with a precision on a device: nothing, or a line."""
    if precision == "bf16" and not _has_bfloat16(device):
        # bfloat16 without hardware for it is emulated, tens of times slower than fp32
        return [f"precision='bf16' but device {device} has no bfloat16 units; use 'fp32'"]
    return []


def in_precision(precision: Precision, device: torch.device) -> torch.autocast:
    """The context in which a model runs forward."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cpu":
        # absent in older versions of PyTorch, which then say no
        capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        return any(capabilities.get(units, False) for units in ("avx512_bf16", "amx_bf16", "bf16"))
    return device.type == "cuda" and torch.cuda.is_bf16_supported()
