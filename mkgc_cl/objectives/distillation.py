"""Attention distillation: attention that the previous model had and this one lost (eq. 12-14)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mkgc_cl.errors import ConfigError

Axis = Literal["width", "height"]

# Keeps the gradient of the norm finite where nothing was lost; its square root is the floor.
_TINY = 1e-12


def reduce_map(
    scores: Tensor, mask: Tensor, *, axis: Axis = "width", center: bool = False
) -> Tensor:
    r"""Sum a pre-softmax map along one side, masked positions left out (inner sum of eq. 13).

    With rows as queries (the height) and columns as keys (the width), ``"width"`` is
    :math:`r_w = \sum_h A_{h,w}`: how strongly each position is attended to by all real queries.

    RELEASED CODE sums over keys for vision and over queries for text under the same name, and sums
    pad columns of about -10000 along; here both streams use one axis and pads are out first.

    A constant added to a row changes its sum but not its softmax, so a model can undo every loss
    of eq. (13) by raising all scores and attend to something else. ``center`` closes that way out:
    each row is taken less its mean over the real keys, which is all that the softmax reads of it.

    Args:
        scores: (B, H, T, T) pre-softmax map.
        mask: (B, T) bool, true on real positions.
        axis: the side that is kept.
        center: take each row less its mean. PAPER: eq. (13) sums the scores as they are.

    Returns:
        (B, H, T), zero at masked positions.

    Raises:
        ConfigError: ``center`` with the axis ``"height"``: the sum of a centered row is zero.
    """
    if center and axis == "height":
        raise ConfigError(
            ["center=True sums each row to zero along the height; use axis='width' or center=False"]
        )
    real = mask[:, None, :, None] & mask[:, None, None, :]
    # summed in single precision at least: a bfloat16 sum over a row keeps two digits
    exact = scores.to(torch.promote_types(scores.dtype, torch.float32))
    exact = exact.masked_fill(~real, 0.0)
    if axis == "height":
        return exact.sum(dim=-1)
    columns = exact.sum(dim=-2)  # (B, H, T)
    if not center:
        return columns
    # the means of the rows, summed over the rows, are the mean of the columns' sums
    keys = mask[:, None, :]
    mean = columns.sum(dim=-1, keepdim=True) / keys.sum(dim=-1, keepdim=True).clamp(min=1)
    return (columns - mean).masked_fill(~keys, 0.0)


def attention_distillation_loss(
    before: Tensor, now: Tensor, *, normalize_rows: bool = False
) -> Tensor:
    r"""Asymmetric distance of reduced maps (eq. 13).

    .. math:: \delta = \lVert \mathrm{ReLU}(r^{(k-1)} - r^{(k)}) \rVert

    over heads and positions of a sample; attention gained costs nothing (Remark 2).

    PAPER: eq. (12) sums :math:`\delta_W`, which already sums over :math:`h`, over :math:`h` once
    more; here the norm runs over heads and positions together and the sum stands once.

    Args:
        before: (B, H, T) reduced map of the previous model.
        now: (B, H, T) reduced map of this model.
        normalize_rows: RELEASED CODE: scale every row of the difference to unit length first. The
            value is then the square root of the number of rows whatever the maps are, and its
            gradient is zero.

    Returns:
        (B,) distance of each sample, at least 0.

    >>> attention_distillation_loss(torch.tensor([[[3.0, 0.0]]]), torch.tensor([[[0.0, 5.0]]]))
    tensor([3.])
    """
    lost = torch.relu(before - now)
    if normalize_rows:
        lost = torch.nn.functional.normalize(lost, dim=-1)
    # sqrt has no finite slope at 0: a sample that lost nothing must have gradient 0, not NaN
    squared = lost.square().flatten(1).sum(dim=1)
    return torch.where(squared > _TINY, squared.clamp(min=_TINY).sqrt(), torch.zeros_like(squared))
