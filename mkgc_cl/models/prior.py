"""Deciding under the stream's prior, where a model has learnt under another one."""

from __future__ import annotations

import torch
from torch import Tensor

from mkgc_cl.models.base import Decision
from mkgc_cl.models.output import ModelOutput


class PriorCorrection(Decision):
    """Add a number of its own to every output's score (logit adjustment, Menon et al. 2021).

    Args:
        outputs: number of outputs C.
    """

    shift: Tensor

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(outputs))

    def forward(self, output: ModelOutput, scores: Tensor) -> Tensor:
        """Shift scores (..., C)."""
        return scores + self.shift.to(scores)
