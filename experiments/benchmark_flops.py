"""Floating-point operations of a training step, and what the machine can do at best."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import nn

from mkgc_cl.experiments.benchmark_clock import Shape, Step
from mkgc_cl.models import DualStreamModel

FORMULA = (
    "forward of a stream: 2 x positions x weights of its matrices + 4 x layers x positions x "
    "length x width (attention), padding included; backward: twice the forward of what trains; "
    "image patches, teacher passes (forward only) included; head, CRF, norms, optimizer not"
)
SIDE = 1024


def stream_flops(layers: Any, *, rows: int, length: int, width: int) -> int:
    """Forward operations of transformer layers on ``rows`` sequences of ``length`` positions."""
    weights = sum(
        part.weight.numel()
        for layer in layers
        for part in layer.modules()
        if isinstance(part, nn.Linear)
    )
    return 2 * rows * length * weights + 4 * len(layers) * rows * length**2 * width


def patch_flops(model: DualStreamModel, images: int) -> int:
    """Forward operations of cutting images into tokens."""
    vision = model.vision
    weights = vision.vit.patch_embed.proj.weight.numel()
    patches = vision._image_tokens + sum(vision.crop_tokens)
    return int(2 * images * patches * weights)


def forward_flops(model: DualStreamModel, shape: Shape, *, trained_only: bool = False) -> int:
    """Forward operations of both encoders on a padded batch.

    Args:
        model: the model.
        shape: size of the batch.
        trained_only: count the layers that train alone.
    """

    def kept(layers: Any) -> list[nn.Module]:
        return [
            layer
            for layer in layers
            if not trained_only or any(p.requires_grad for p in layer.parameters())
        ]

    text, vision = model.text, model.vision
    total = stream_flops(
        kept(text.layers), rows=shape.samples, length=shape.length, width=text.width
    ) + stream_flops(
        kept(vision.vit.blocks), rows=shape.images, length=vision.length, width=vision.width
    )
    if not trained_only:
        total += patch_flops(model, shape.images)
    elif vision.vit.patch_embed.proj.weight.requires_grad:
        total += patch_flops(model, shape.images) // 2  # images themselves need no gradient
    return total


def step_flops(model: DualStreamModel, step: Step) -> int:
    """Operations of one training step: see :data:`FORMULA`."""
    forward = forward_flops(model, step.shape)
    backward = 2 * forward_flops(model, step.shape, trained_only=True)
    return forward + backward + sum(forward_flops(model, shape) for shape in step.taught)


def matrix_product(device: torch.device, *, repeats: int = 5) -> float:
    """FLOP/s of a float32 product of two square matrices, the best of a few.

    The best, because it stands for what the machine can do; a step is compared with it.
    """
    source = torch.Generator(device).manual_seed(0)
    left = torch.randn(SIDE, SIDE, device=device, generator=source)
    out = left @ left  # the first call sets up threads and kernels
    seconds = []
    for _ in range(repeats):
        _wait(device)
        started = time.perf_counter()
        torch.mm(left, left, out=out)
        _wait(device)
        seconds.append(time.perf_counter() - started)
    return 2 * SIDE**3 / min(seconds)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
