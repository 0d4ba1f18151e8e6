"""Fisher information and penalty against closed forms."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from mkgc_cl.objectives.consolidation import add_quadratic_penalty, diagonal_fisher


def softmax_regression(seed: int, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    weight = torch.randn(3, 4, generator=source, dtype=torch.float64).requires_grad_()
    x = torch.randn(rows, 4, generator=source, dtype=torch.float64)
    return weight, x, torch.randint(3, (rows,), generator=source)


@settings(max_examples=20)
@given(seed=st.integers(0, 999), rows=st.integers(1, 8))
def test_fisher_of_softmax_regression_is_known(seed: int, rows: int) -> None:
    """The gradient of sample n is (p_n - e_y) x_n^T, so F = mean of (p - e_y)^2 (x^2)^T."""
    weight, x, y = softmax_regression(seed, rows)
    losses = (F.cross_entropy((x[n : n + 1] @ weight.T), y[n : n + 1]) for n in range(rows))
    (fisher,) = diagonal_fisher(losses, [weight])
    error = (x @ weight.detach().T).softmax(dim=1) - F.one_hot(y, 3)
    expected = torch.einsum("nc,nd->cd", error.square(), x.square()) / rows
    assert torch.allclose(fisher, expected)


def test_fisher_of_a_gaussian_mean_is_its_precision() -> None:
    """With residuals of +-1, E[(d/dm (x - m)^2 / 2s^2)^2] = 1 / s^4 over unit residuals."""
    mean = torch.zeros(1, requires_grad=True)
    losses = ((x - mean).square().sum() / (2 * 0.5**2) for x in (1.0, -1.0, 1.0, -1.0))
    (fisher,) = diagonal_fisher(losses, [mean])
    assert fisher.tolist() == [16.0]


def test_it_is_not_the_square_of_the_mean_gradient() -> None:
    """Two samples that pull apart cancel in a batch's mean and do not cancel here."""
    mean = torch.zeros(1, requires_grad=True)
    batch = torch.stack([(x - mean).square().sum() / 2 for x in (1.0, -1.0)]).mean()
    (of_batch,) = torch.autograd.grad(batch, mean)
    assert of_batch.square().tolist() == [0.0]
    (fisher,) = diagonal_fisher(((x - mean).square().sum() / 2 for x in (1.0, -1.0)), [mean])
    assert fisher.tolist() == [1.0]


def test_a_parameter_that_takes_no_part_and_no_sample_at_all() -> None:
    used, idle = (torch.ones(2, requires_grad=True) for _ in range(2))
    fisher = diagonal_fisher(iter([used.sum()]), [used, idle])
    assert [f.tolist() for f in fisher] == [[1.0, 1.0], [0.0, 0.0]]
    assert [f.tolist() for f in diagonal_fisher(iter(()), [used])] == [[0.0, 0.0]]


def test_it_writes_where_it_is_told_whatever_was_there() -> None:
    weight, x, y = softmax_regression(0, 4)
    place = torch.full_like(weight, float("nan")).detach()
    made = [
        diagonal_fisher(
            (F.cross_entropy((x[n : n + 1] @ weight.T), y[n : n + 1]) for n in range(4)),
            [weight],
            out=out,
        )[0]
        for out in (None, [place])
    ]
    assert made[1] is place
    assert torch.equal(*made)


def test_the_penalty_of_a_quadratic_is_the_quadratic() -> None:
    """Of loss a (t - c)^2 / 2 with Fisher a the penalty at anchor c is the loss itself."""
    theta = torch.tensor([2.0, -1.0], requires_grad=True)
    theta.grad = torch.tensor([1.0, 1.0])
    anchor, fisher = torch.tensor([0.5, 1.0]), torch.tensor([4.0, 3.0])
    penalty = add_quadratic_penalty([theta], [anchor], [fisher], weight=3.0)
    assert float(penalty) == (4 * 1.5**2 + 3 * 2.0**2) / 2
    assert not penalty.requires_grad
    assert theta.grad.tolist() == [1 + 3 * 4 * 1.5, 1 + 3 * 3 * -2.0]


@settings(max_examples=20)
@given(seed=st.integers(0, 999), weight=st.floats(0.1, 100))
def test_the_gradient_is_that_of_the_penalty(seed: int, weight: float) -> None:
    """Against automatic differentiation of the formula; one parameter has no gradient yet."""
    source = torch.Generator().manual_seed(seed)
    shapes = [(3, 4), (5,), (2, 3, 2)]
    draw = {"generator": source, "dtype": torch.float64}
    parameters = [torch.randn(shape, **draw).requires_grad_() for shape in shapes]
    anchors, fisher = ([torch.randn(s, **draw) for s in shapes] for _ in range(2))
    formula = sum(
        (f * (p - a).square()).sum() for p, a, f in zip(parameters, anchors, fisher, strict=True)
    )
    expected = torch.autograd.grad(weight * formula / 2, parameters)
    before = [None, *(torch.randn(shape, **draw) for shape in shapes[1:])]
    for parameter, gradient in zip(parameters, before, strict=True):
        parameter.grad = None if gradient is None else gradient.clone()
    penalty = add_quadratic_penalty(parameters, anchors, fisher, weight=weight)
    assert torch.allclose(penalty, formula.detach() / 2)
    for parameter, wanted, old in zip(parameters, expected, before, strict=True):
        assert torch.allclose(parameter.grad, wanted + (0 if old is None else old))
