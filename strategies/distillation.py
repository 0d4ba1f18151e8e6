"""Attention distillation against the model after the previous task (paper, section 4.3)."""

from __future__ import annotations

from typing import Any, cast, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from mkgc_cl._checks import at_least, one_of, require
from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.models import DualStreamOutput, ExtractionModel, ModelOutput
from mkgc_cl.objectives.distillation import Axis, attention_distillation_loss, reduce_map
from mkgc_cl.strategies.mspt_options import MSPTOptions
from mkgc_cl.strategies.plugin import Plugin
from mkgc_cl.strategies.teacher import Teacher
from mkgc_cl.strategies.template import MultimodalStrategy


class AttentionDistillationPlugin(Plugin, supports_distributed=True):
    r"""Add :math:`\lambda(\mathcal{L}^v_{AD} + \mathcal{L}^t_{AD})` to the loss (eq. 14-15).

    The teacher is the model as the task finds it, after the previous task and its memory phase; it
    encodes every sample once per task (:class:`~mkgc_cl.strategies.teacher.Teacher`).

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
        teacher: the model of the task before, and its maps.
        losses: the unweighted distillation loss of every step.

    Raises:
        ConfigError: ``weight`` is negative, the axis is unknown or cannot be centered.
    """

    def __init__(
        self,
        *,
        weight: float = MSPTOptions.ad_weight,
        axis: Axis = MSPTOptions.ad_axis,
        center: bool = MSPTOptions.ad_center,
        normalize_rows: bool = False,
    ) -> None:
        super().__init__()
        centered = (
            "axis='height' cannot be centered: such a row sums to 0; take axis='width', or "
            "center=False (ad_center in MSPTOptions and in the experiments)"
        )
        require(
            at_least("weight", weight, 0),
            one_of("axis", axis, get_args(Axis)),
            [centered] if center and axis == "height" else [],
        )
        self.weight = weight
        self.axis = axis
        self.center = center
        self.normalize_rows = normalize_rows
        self.losses: list[float] = []
        self.teacher: Teacher[tuple[Tensor, Tensor]] = Teacher(self._maps)

    @property
    def teacher_samples(self) -> int:
        """Samples the teacher has encoded so far, over all tasks."""
        return self.teacher.samples

    def before_training_exp(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Freeze the model the previous task left."""
        if self.weight > 0:
            self.teacher.begin_task(strategy)

    def before_backward(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Add the distillation loss of the batch's current samples."""
        if self.teacher.model is None or strategy.phase != "task":
            return
        rows, ranks = strategy.current_rows, strategy.ranks
        samples = ranks.total(len(rows))
        if samples == 0:
            return
        loss = strategy.loss.new_zeros(())
        if len(rows):
            own = self.distance(strategy.batch, strategy.dual_output, rows)
            loss = own * (len(rows) / samples)
        self.losses.append(ranks.total(float(loss.detach())))
        strategy.loss = strategy.loss + self.weight * loss

    def after_training_exp(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Let the teacher and its maps go."""
        strategy.when_task_ends(self.teacher.end_task)

    def distance(self, batch: MultimodalBatch, output: DualStreamOutput, rows: Tensor) -> Tensor:
        """Distillation loss of samples ``rows`` (N,) of a batch: a scalar (eq. 14)."""
        text, vision = reduced_maps(output, axis=self.axis, center=self.center)
        known, length = self.teacher.answers(batch, rows), text.shape[-1]
        before_text = torch.stack([F.pad(t, (0, length - t.shape[-1])) for t, _ in known])
        before_vision = torch.stack([v for _, v in known])
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

    def traces(self) -> dict[str, list[float]]:
        """The loss of every step."""
        return {"distillation_loss": list(self.losses)}

    def state_dict(self) -> dict[str, Any]:
        """What later tasks depend on."""
        return {**self.teacher.state_dict(), "losses": list(self.losses)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.teacher.load_state_dict(state)
        self.losses = list(state["losses"])

    def _maps(
        self, batch: MultimodalBatch, output: ModelOutput, model: ExtractionModel
    ) -> list[tuple[Tensor, Tensor]]:
        """Reduced maps of every sample: (L, H, T) of its T tokens and (L, H, P)."""
        dual = cast(DualStreamOutput, output)  # of a copy of the student
        text, vision = reduced_maps(dual, axis=self.axis, center=self.center)
        lengths = dual.text_mask.sum(dim=1).tolist()
        return [(text[i, ..., :length], vision[i]) for i, length in enumerate(lengths)]


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
