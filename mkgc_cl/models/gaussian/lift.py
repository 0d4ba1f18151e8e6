"""Random features: what a linear readout of them can tell apart is no longer linear."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from mkgc_cl.errors import ConfigError
from mkgc_cl.seeds import generator

Lifting = Literal["relu", "rbf"]


class RandomLift(nn.Module):
    """Project features at random and bend them.

    ``"relu"``: ``max(0, P z)`` (RanPAC, McDonnell et al., NeurIPS 2023). ``"rbf"``: random Fourier
    features ``sqrt(2 / M) cos(P z + b)`` of the kernel ``exp(-|z - z'|^2 / (2 h^2 F))``, whose
    bandwidth is ``h sqrt(F)`` (KLDA, Momeni et al., AAAI 2025). ``z`` are features (F) standardized
    by the first samples seen, once: what was learnt of other features could not be added to.

    Args:
        kind: which.
        width: F of the features.
        lifted: M of the random features.
        bandwidth: h, in standard deviations of a feature.
        seed: of the projection.
    """

    projection: Tensor
    phase: Tensor
    shift: Tensor
    scale: Tensor
    ready: Tensor

    def __init__(
        self, kind: Lifting, *, width: int, lifted: int, bandwidth: float, seed: int
    ) -> None:
        super().__init__()
        self.kind: Lifting = kind
        source = generator(seed, "random-features")
        drawn = torch.randn(width, lifted, generator=source, dtype=torch.float64)
        turns = torch.rand(lifted, generator=source, dtype=torch.float64)
        # of standardized features a projection has deviation 1; the kernel's frequencies 1 / (h F)
        spread = math.sqrt(width) * (bandwidth if kind == "rbf" else 1.0)
        self.register_buffer("projection", drawn / spread)
        self.register_buffer("phase", 2 * math.pi * turns)
        self.register_buffer("shift", torch.zeros(width, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(width, dtype=torch.float64))
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))

    def standardize(self, features: Tensor) -> None:
        """Take mean and deviation of these features (N, F), at least one; for good.

        Raises:
            ConfigError: they were taken before.
        """
        if bool(self.ready):
            raise ConfigError(["random features are standardized once, by the first samples"])
        rows = features.to(self.shift)
        deviation = rows.std(dim=0, correction=0)
        self.shift.copy_(rows.mean(dim=0))
        self.scale.copy_(deviation.masked_fill(deviation <= deviation.max() * 1e-12, 1.0))
        self.ready.fill_(True)

    def forward(self, features: Tensor) -> Tensor:
        """Lift features (..., F): (..., M), in double precision."""
        projected = (features.to(self.shift) - self.shift) / self.scale @ self.projection
        if self.kind == "relu":
            return projected.clamp(min=0)
        return math.sqrt(2 / len(self.phase)) * torch.cos(projected + self.phase)
