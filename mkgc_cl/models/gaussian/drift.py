"""Means of earlier classes under an encoder that moves on."""

from __future__ import annotations

import torch
from torch import Tensor

from mkgc_cl.errors import DataError


@torch.no_grad()
def drifted_means(
    means: Tensor, before: Tensor, after: Tensor, *, scale: Tensor, bandwidth: float
) -> Tensor:
    r"""Move class means as the samples near them have moved (SDC, Yu et al., CVPR 2020).

    .. math:: \mu_c + \sum_i w_{ci} (z'_i - z_i), \qquad
        w_{ci} = \mathrm{softmax}_i \bigl( - |z_i - \mu_c|^2 / (2 h^2 D) \bigr)

    with distances of features divided by ``scale``. (Yu et al. divide the kernel's values by their
    sum, which is the softmax.)

    Args:
        means: (C, D).
        before: (N, D) features z of samples that are there now, by the encoder as it was.
        after: (N, D) features z' of the same samples by the encoder as it is.
        scale: (D,) standard deviations.
        bandwidth: h, in standard deviations of a feature.

    Returns:
        (C, D), in double precision; the means as they were without any sample.

    Raises:
        DataError: a feature is not finite.
    """
    old = means.double()
    if not len(before):
        return old
    if not bool(torch.isfinite(after).all() and torch.isfinite(before).all()):
        raise DataError("a feature is not finite; lower the learning rate")
    rows, unit = before.double(), scale.double()
    # round one center, or the squares of large features would cost digits
    center = rows.mean(dim=0)
    points, anchors = (rows - center) / unit, (old - center) / unit
    squared = (
        points.square().sum(dim=1) - 2 * anchors @ points.T + anchors.square().sum(dim=1)[:, None]
    )
    weights = (-squared / (2 * bandwidth**2 * means.shape[1])).softmax(dim=1)
    return old + weights @ (after.double() - rows)
