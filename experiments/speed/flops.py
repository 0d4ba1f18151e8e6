"""Floating-point operations of training, as PyTorch counts them, and what the machine can do."""

from __future__ import annotations

import time

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mkgc_cl.experiments.speed.systems import System

COUNTED = (
    "operations: matrix products and convolutions of all training of the first two tasks, forward "
    "and backward, with padding, teacher and memory, by current samples (torch's FlopCounterMode)"
)
SIDE = 1024


def operations_per_sample(system: System, tasks: int) -> float:
    """Train on the first tasks and return the operations by current samples.

    Args:
        system: a fresh system; trained afterwards.
        tasks: how many tasks; from the second on there are a teacher and a memory.
    """
    total, samples = 0, 0
    for index in range(tasks):
        # The fused kernels of a CPU are not counted; the plain mathematics is the same work.
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            run = system.train_task(index)
        total += counter.get_total_flops()
        samples += sum(step.shape.current for step in run.steps)
    return total / samples


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
