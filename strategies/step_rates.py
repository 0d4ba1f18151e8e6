"""Learning rates that are scaled around one step of the optimizer, and are then what they were."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch.optim import Optimizer

RateFactor = Callable[[Mapping[str, Any]], float]
"""Factor on the learning rate of a parameter group, given the group."""


class StepRates:
    """Factors on the learning rates of the next step.

    Attributes:
        phase: factor of the running phase, on every group but a readout's.
    """

    def __init__(self) -> None:
        self.phase = 1.0
        self._factors: list[RateFactor] = []

    def scale(self, factor: RateFactor) -> None:
        """Add a factor for the next step; several multiply."""
        self._factors.append(factor)

    def forget(self) -> None:
        """Drop the factors of an iteration that ended before its step."""
        self._factors = []

    @contextmanager
    def applied(self, optimizer: Optimizer) -> Iterator[None]:
        """Scale the rates in the block; afterwards they are what they were, whatever it raises."""
        kept = [(group, group["lr"]) for group in optimizer.param_groups]
        try:
            for group, rate in kept:
                factors = [factor(group) for factor in (self._of_phase, *self._factors)]
                group["lr"] = math.prod([rate, *factors])
            yield
        finally:
            for group, rate in kept:
                group["lr"] = rate

    def _of_phase(self, group: Mapping[str, Any]) -> float:
        return 1.0 if group.get("role") == "readout" else self.phase
