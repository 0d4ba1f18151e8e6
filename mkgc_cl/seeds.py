"""Named generators: one seed gives every concern its own stream of random numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive(seed: int, name: str) -> int:
    """Derive the seed of concern ``name`` from a run's ``seed``.

    Streams of different names do not share draws, so adding a concern (an evaluation, a sampling
    plugin) never shifts another one and ablations stay paired.

    >>> derive(0, "loader") == derive(0, "loader"), derive(0, "loader") == derive(0, "memory")
    (True, False)
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


def generator(seed: int, name: str) -> torch.Generator:
    """Return a CPU generator for concern ``name`` of a run with ``seed``."""
    import torch  # not at the top: the synthetic stream and the data check start without it

    return torch.Generator().manual_seed(derive(seed, name))


@contextmanager
def seeded(seed: int, name: str) -> Iterator[None]:
    """Run a block whose global torch draws come from ``(seed, name)``, then undo them.

    For code of other libraries that can only draw from the global generator (weight initialisation,
    dropout): the caller's global stream is left as it was found.
    """
    import torch

    with torch.random.fork_rng(devices=[]):  # models are built on the CPU
        torch.set_rng_state(generator(seed, name).get_state())
        yield
