"""Draws of a run's own: a task's are its seed's, and the caller's generators are left alone."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from mkgc_cl.seeds import derive, generator


@contextmanager
def globals_kept(cuda: Sequence[torch.device]) -> Iterator[None]:
    """Leave the global generators of PyTorch, Python and NumPy as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=list(cuda)):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def seed_globals(seed: int, task: int, cuda: Sequence[torch.device], *, rank: int = 0) -> None:
    """Set the global generators, which dropout draws from, to a task's own state.

    Args:
        seed: of the run.
        task: its number in the run.
        cuda: devices whose generators are set too.
        rank: of processes that share the training, each of which drops out in samples of its own.
    """
    dropout = f"dropout/{task}/{rank}" if rank else f"dropout/{task}"
    torch.set_rng_state(generator(seed, dropout).get_state())
    for device in cuda:
        source = torch.Generator(device).manual_seed(derive(seed, dropout))
        torch.cuda.set_rng_state(source.get_state(), device)
    # Avalanche's A-GEM draws from Python's own
    random.seed(derive(seed, f"plugins/{task}"))
    np.random.seed(derive(seed, f"plugins/{task}") % 2**32)
