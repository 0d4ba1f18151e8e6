"""Elastic weight consolidation: which weights mattered, and what moving them costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def diagonal_fisher(
    losses: Iterable[Tensor], parameters: Sequence[Tensor], *, out: Sequence[Tensor] | None = None
) -> list[Tensor]:
    r"""Diagonal of the empirical Fisher information (Kirkpatrick et al. 2017).

    .. math:: F_i = \frac1N \sum_n \bigl(\partial_{\theta_i} \log p(y_n \mid x_n)\bigr)^2

    Sample by sample: the square of a batch's mean gradient (Avalanche 0.6.0, the released code of
    MSPT) is another number, which shrinks as the batch grows.

    Args:
        losses: negative log-likelihood of one sample each, a scalar; consumed one at a time, so a
            generator keeps one graph alive.
        parameters: what to differentiate by.
        out: tensors of the parameters' shapes to write the result into, whatever they hold; new
            ones by default.

    Returns:
        One tensor per parameter, of its shape, not negative; zero without any sample.
    """
    if out is None:
        total = [torch.zeros_like(parameter) for parameter in parameters]
    else:
        total = [tensor.zero_() for tensor in out]
    count = 0
    for loss in losses:
        _add_squares(loss, parameters, total)
        count += 1
    return [sum_.div_(max(count, 1)) for sum_ in total]


@torch.no_grad()
def add_quadratic_penalty(
    parameters: Sequence[Tensor],
    anchors: Sequence[Tensor],
    importances: Sequence[Tensor],
    *,
    weight: float = 1.0,
) -> Tensor:
    r"""Add the gradient of a penalty to the parameters' own, and return the penalty.

    .. math:: \frac12 \sum_i F_i (\theta_i - \theta_i^*)^2, \qquad
        \frac{\partial}{\partial \theta_i} = F_i (\theta_i - \theta_i^*)

    In closed form and one parameter at a time: a graph would hold another copy of the model from
    the forward to the end of the backward pass, and takes several times as long.

    Args:
        parameters: theta; ``grad`` of each grows by ``weight`` times the gradient.
        anchors: theta*.
        importances: F.
        weight: lambda.

    Returns:
        The unweighted penalty, a scalar.

    >>> theta = torch.tensor([3.0])
    >>> add_quadratic_penalty([theta], [torch.tensor([1.0])], [torch.tensor([5.0])], weight=2.0)
    tensor(10.)
    >>> theta.grad
    tensor([20.])
    """
    terms = []
    for parameter, anchor, importance in zip(parameters, anchors, importances, strict=True):
        moved = parameter - anchor
        gradient = importance * moved
        terms.append(gradient.flatten().dot(moved.flatten()))
        if parameter.grad is None:
            parameter.grad = gradient.mul_(weight)
        else:
            parameter.grad.add_(gradient, alpha=weight)
    return torch.stack(terms).sum() / 2


def _add_squares(loss: Tensor, parameters: Sequence[Tensor], total: Sequence[Tensor]) -> None:
    # a function of its own, so that one sample's gradient is gone before the next one's is made
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    for sum_, gradient in zip(total, gradients, strict=True):
        if gradient is not None:
            sum_.addcmul_(gradient, gradient)
