"""What becomes of an optimizer where a stage of training begins, within it and at its steps.

A stage is the epochs of a task, or one memory phase after them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from mkgc_cl._checks import above_zero, require


@dataclass(frozen=True, slots=True)
class StepPolicy:
    """How the one optimizer of a run is used where a method's own code makes several.

    Args:
        fresh_optimizer: begin every stage without the moments of the stages before, as a new
            optimizer would.
        max_grad_norm: bound on the norm of a step's gradients, above 0; ``None`` for none.
        norm_by_part: bound the norms of the head, of a readout and of everything else one by one;
            else the norm of all gradients together.

    Raises:
        ConfigError: the bound is not above 0.
    """

    fresh_optimizer: bool = False
    max_grad_norm: float | None = None
    norm_by_part: bool = False

    def __post_init__(self) -> None:
        require(above_zero("max_grad_norm", self.max_grad_norm, none="no bound"))

    def begin_stage(self, optimizer: Optimizer) -> None:
        """Forget moments and step counts, if stages have optimizers of their own."""
        if self.fresh_optimizer:
            optimizer.state.clear()

    def clip(self, optimizer: Optimizer) -> None:
        """Scale the gradients of the parameters that train down to the bound."""
        if self.max_grad_norm is None:
            return
        parts: dict[str, list[Tensor]] = {}
        for group in optimizer.param_groups:
            role = group.get("role")
            part = role if self.norm_by_part and role in ("head", "readout") else "rest"
            gradients = [p.grad for p in group["params"] if p.grad is not None]
            parts.setdefault(part, []).extend(gradients)
        for gradients in parts.values():
            clip_norm(gradients, self.max_grad_norm)


def clip_norm(gradients: list[Tensor], bound: float) -> None:
    """Scale gradients in place so that their norm together is at most ``bound``.

    The norm is taken in double precision: how many zeros stand in the head's gradient, for classes
    that have not come yet, changes the order of the sum and must not reach a weight.
    """
    if not gradients:
        return
    norms = [torch.linalg.vector_norm(g, dtype=torch.float64) for g in gradients]
    total = float(torch.stack(norms).norm())
    if total > bound:
        for gradient in gradients:
            gradient.mul_(bound / total)
