"""Attention distillation against the model after the previous task (paper, section 4.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.errors import ConfigError
from mkgc_cl.models import DualStreamOutput, ExtractionModel, ModelOutput
from mkgc_cl.objectives.distillation import Axis, attention_distillation_loss, reduce_map
from mkgc_cl.strategies.template import MultimodalStrategy


class AttentionDistillationPlugin(SupervisedPlugin):
    r"""Add :math:`\lambda(\mathcal{L}^v_{AD} + \mathcal{L}^t_{AD})` to the loss (eq. 14-15).

    The teacher is the model as the task finds it (after the previous task and its memory phase),
    frozen and in evaluation mode; a task that an exception cut off keeps its teacher when it is
    begun again. Its reduced maps of a sample never change during a task, so they are computed once
    a
    sample and kept: one teacher pass per sample and task, whatever the epochs.

    Only samples of the current task are distilled, as in the released code. The distance is
    averaged over samples and layers and summed over both streams.

    Args:
        weight: the paper's lambda, at least 0 (released code: 1 IMRE, 0.1 IMNER); 0 does nothing.
        axis: the side of the maps that is kept, see
            :func:`~mkgc_cl.objectives.distillation.reduce_map`.
        center: compare what the softmax reads of the maps, likewise there; needs the axis
            ``"width"``. PAPER: off.
        normalize_rows: RELEASED CODE: its normalization, under which the gradient is zero.

    Attributes:
        teacher_samples: samples the teacher has encoded so far, over all tasks.
        losses: the unweighted distillation loss of every step.

    Raises:
        ConfigError: ``weight`` is negative, the axis is unknown or cannot be centered.
    """

    def __init__(
        self,
        *,
        weight: float = 0.1,
        axis: Axis = "width",
        center: bool = True,
        normalize_rows: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= weight < float("inf") or axis not in ("width", "height"):
            raise ConfigError([f"weight={weight}, axis={axis!r}; give 0 or more, width or height"])
        if center and axis == "height":
            raise ConfigError(
                [
                    "axis='height' cannot be centered: such a row sums to 0; take axis='width', "
                    "or center=False (ad_center in mspt and in the experiments)"
                ]
            )
        self.weight = weight
        self.axis = axis
        self.center = center
        self.normalize_rows = normalize_rows
        self.teacher_samples = 0
        self.losses: list[float] = []
        self._teacher: ExtractionModel | None = None
        self._encode: Callable[[ExtractionModel, MultimodalBatch], ModelOutput] | None = None
        self._known: dict[str, tuple[Tensor, Tensor]] = {}
        self._tasks = 0

    def before_training_exp(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Freeze the model the previous task left."""
        if self._tasks > 0 and self.weight > 0 and self._teacher is None:
            # taken here and not after the task, so that no order of plugins puts it before replay
            self._teacher = strategy.snapshot()
            self._encode = strategy.encode  # in the student's precision, or rounding is "lost"

    def before_backward(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Add the distillation loss of the batch's current samples."""
        rows = (~strategy.batch["replayed"]).nonzero().flatten()
        if self._teacher is None or strategy.phase != "task" or len(rows) == 0:
            return
        loss = self.distance(strategy.batch, strategy.dual_output, rows)
        self.losses.append(float(loss.detach()))
        strategy.loss = strategy.loss + self.weight * loss

    def after_training_exp(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Let the teacher and its maps go."""
        self._tasks += 1
        self._teacher = self._encode = None
        self._known = {}

    def distance(self, batch: MultimodalBatch, output: DualStreamOutput, rows: Tensor) -> Tensor:
        """Distillation loss of samples ``rows`` (N,) of a batch: a scalar (eq. 14)."""
        text, vision = reduced_maps(output, axis=self.axis, center=self.center)
        before_text, before_vision = self._teacher_maps(batch, rows, length=text.shape[-1])
        pairs = ((before_text, text[rows]), (before_vision, vision[rows]))
        total = text.new_zeros(())
        for before, now in pairs:  # each (N, L, H, positions)
            layers = [
                attention_distillation_loss(
                    before[:, layer], now[:, layer], normalize_rows=self.normalize_rows
                )
                for layer in range(now.shape[1])
            ]
            total = total + torch.stack(layers).mean()
        return total

    def state_dict(self) -> dict[str, Any]:
        """What later tasks depend on; the teacher is the model itself at the next task's start."""
        return {
            "tasks": self._tasks,
            "teacher_samples": self.teacher_samples,
            "losses": list(self.losses),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self._teacher, self._encode, self._known = None, None, {}  # of whatever it was used for
        self._tasks = int(state["tasks"])
        self.teacher_samples = int(state["teacher_samples"])
        self.losses = list(state["losses"])

    @torch.no_grad()
    def _teacher_maps(
        self, batch: MultimodalBatch, rows: Tensor, *, length: int
    ) -> tuple[Tensor, Tensor]:
        """The teacher's reduced maps of samples ``rows``: (N, L, H, T) and (N, L, H, P)."""
        teacher, encode = self._teacher, self._encode
        if teacher is None or encode is None:
            raise ConfigError(["there is no teacher before the second task"])
        new = [row for row in rows.tolist() if batch.uids[row] not in self._known]
        if new:
            part = batch.select(torch.tensor(new, device=rows.device))
            output = cast(DualStreamOutput, encode(teacher, part))  # a copy of the student
            text, vision = reduced_maps(output, axis=self.axis, center=self.center)
            lengths = output.text_mask.sum(dim=1).tolist()
            for index, uid in enumerate(part.uids):
                self._known[uid] = (text[index, ..., : lengths[index]], vision[index])
            self.teacher_samples += len(new)
        known = [self._known[batch.uids[row]] for row in rows.tolist()]
        padded = [torch.nn.functional.pad(t, (0, length - t.shape[-1])) for t, _ in known]
        return torch.stack(padded), torch.stack([vision for _, vision in known])


def reduced_maps(
    output: DualStreamOutput, *, axis: Axis, center: bool = False
) -> tuple[Tensor, Tensor]:
    """Reduce the maps of both streams: (B, L, H, T) and (B, L, H, P) for L interaction layers."""
    text, vision = (
        [reduce_map(scores, mask, axis=axis, center=center) for scores in maps]
        for maps, mask in (
            (output.text_maps, output.text_mask),
            (output.vision_maps, output.vision_mask),
        )
    )
    return torch.stack(text, dim=1), torch.stack(vision, dim=1)[output.visual_index]
