"""From statistics to scores: linear and quadratic discriminants, and ridge regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mkgc_cl.errors import ConfigError
from mkgc_cl.models.gaussian.statistics import ClassStatistics

Prior = Literal["counts", "uniform"]

BLOCK = 64
"""Samples or words that are scored together."""

ROUNDING = 1e-12
"""Share of a feature's variance that is no more than rounding."""


@dataclass(frozen=True, slots=True)
class LinearScores:
    """``score_k(x) = w_k' (x - center) + b_k`` for the K classes that have a sample.

    Args:
        rows: (K, D).
        bias: (K,).
        center: (D,) mean of all samples: scores of large features would lose digits without it. It
            adds the same number to the scores of all classes.
    """

    rows: Tensor
    bias: Tensor
    center: Tensor

    def scores(self, features: Tensor) -> Tensor:
        """Score features (..., D): (..., K)."""
        rows = features.to(self.rows.device).reshape(-1, len(self.center))
        # piece by piece, promoted as it is subtracted: what is in double precision stays in cache
        found = [(some - self.center) @ self.rows.T for some in rows.split(BLOCK)]
        return (torch.cat(found) + self.bias).reshape(*features.shape[:-1], len(self.bias))


@dataclass(frozen=True, slots=True)
class QuadraticScores:
    """``score_k(x) = - |L_k^-1 (x - mu_k)|^2 / 2 + b_k`` with a covariance ``L_k L_k'`` of each.

    Args:
        means: (K, D).
        factors: lower triangles (D, D), one of each class.
        bias: (K,) prior and log-determinant.
    """

    means: Tensor
    factors: tuple[Tensor, ...]
    bias: Tensor

    def scores(self, features: Tensor) -> Tensor:
        """Score features (..., D): (..., K)."""
        rows = features.to(self.means).reshape(-1, self.means.shape[1])
        found = [
            torch.linalg.solve_triangular(factor, (rows - mean).T, upper=False).square().sum(dim=0)
            for mean, factor in zip(self.means, self.factors, strict=True)
        ]
        scores = self.bias - torch.stack(found, dim=-1) / 2
        return scores.reshape(*features.shape[:-1], -1)


def deviations(statistics: ClassStatistics) -> Tensor:
    """Standard deviation of every feature over all samples: (D,), 1 where all are the same."""
    total = statistics.counts.sum().clamp(min=1)
    apart = statistics.means - _center(statistics)
    between = (statistics.counts[:, None] * apart.square()).sum(dim=0)
    within = statistics.scatter.diagonal(dim1=1, dim2=2).sum(dim=0)
    found = ((within.clamp(min=0) + between) / total).sqrt()
    return found.masked_fill(found <= found.max() * 1e-12, 1.0)


def solve_gaussian(
    statistics: ClassStatistics,
    *,
    shrinkage: float,
    scale: Tensor,
    prior: Prior = "counts",
    tau: float = 1.0,
) -> LinearScores:
    """Linear discriminant of Gaussian classes with one covariance.

    With features divided by ``scale``, N samples and average variance ``v = tr(S / N) / D``::

        Sigma = (1 - s) S / N + s v I,   w_c = Sigma^-1 mu_c,
        b_c = - mu_c' Sigma^-1 mu_c / 2 + tau log(n_c / N)

    The softmax of the scores is the posterior of this model. (Hayes and Kanan, CVPR-W 2020, for
    streams; ``log(n_c / N)``: Menon et al., ICLR 2021.) One Cholesky factorization of (D, D).

    Args:
        statistics: with one scatter.
        shrinkage: s, 0 to 1.
        scale: (D,) of the features, above 0.
        prior: of the classes, as their counts or the same for all.
        tau: weight of the log prior.

    Raises:
        ConfigError: the covariance is singular.
    """
    known, means = _scaled_means(statistics, scale)
    factor = _factor(shrunk(_within(statistics, scale), shrinkage), shrinkage)
    rows = torch.cholesky_solve(means.T, factor).T
    bias = tau * _log_prior(statistics.counts[known], prior) - (rows * means).sum(dim=1) / 2
    return LinearScores(rows / scale, bias, _center(statistics))


def solve_per_class(
    statistics: ClassStatistics,
    *,
    shrinkage: float,
    scale: Tensor,
    prior: Prior = "counts",
    tau: float = 1.0,
) -> QuadraticScores:
    """Quadratic discriminant: every class has a covariance of its own.

    As :func:`solve_gaussian`, with ``Sigma_c = (1 - s) S_c / n_c + s v I`` and
    ``- log|Sigma_c| / 2`` in the bias; v is the average variance within all classes, so that a
    class of one sample has a spread. FeCAM (Goswami et al., NeurIPS 2023) compares Mahalanobis
    distances under covariances normalized to correlations, without log-determinant and prior.

    Raises:
        ConfigError: a covariance is singular.
    """
    known = statistics.known.nonzero().flatten()
    counts = statistics.counts[known]
    average = _average_variance(_within(statistics, scale))
    factors = []
    for label in known:  # one by one: each is as large as all features squared
        own = statistics.scatter[label] / scale / scale[:, None]
        own *= (1 - shrinkage) / statistics.counts[label]
        own.diagonal().add_(shrinkage * average)
        # of the features as they come: diag(scale) L_c
        factors.append(_factor(own, shrinkage) * scale[:, None])
    logs = torch.stack([factor.diagonal().log().sum() for factor in factors])
    bias = tau * _log_prior(counts, prior) - logs
    return QuadraticScores(statistics.means[known], tuple(factors), bias)


def solve_ridge(statistics: ClassStatistics, *, shrinkage: float, scale: Tensor) -> LinearScores:
    """Ridge regression on one-hot targets, with an intercept (ACIL, RanPAC).

    ``W = (T + lambda I)^-1 Q`` with the scatter T of all samples round their mean ``mu``,
    ``Q_c = n_c (mu_c - mu)`` and ``lambda = s / (1 - s) tr(T) / D``, so that the shrinkage s means
    what it means in :func:`solve_gaussian`.

    Raises:
        ConfigError: the matrix is singular.
    """
    known, means = _scaled_means(statistics, scale)
    shares = statistics.counts[known] / statistics.counts.sum()
    covariance = _within(statistics, scale) + (means.T * shares) @ means
    factor = _factor(shrunk(covariance, shrinkage), shrinkage)
    rows = (1 - shrinkage) * torch.cholesky_solve(means.T * shares, factor).T
    return LinearScores(rows / scale, shares, _center(statistics))


def shrunk(covariance: Tensor, shrinkage: float) -> Tensor:
    """``(1 - s) Sigma + s tr(Sigma) / D I`` of a (D, D) covariance (Ledoit and Wolf 2004).

    >>> shrunk(torch.tensor([[4.0, 1.0], [1.0, 2.0]]), 0.5).tolist()
    [[3.5, 0.5], [0.5, 2.5]]
    """
    found = (1 - shrinkage) * covariance
    found.diagonal().add_(shrinkage * _average_variance(covariance))
    return found


def _average_variance(covariance: Tensor) -> Tensor:
    average = covariance.diagonal().mean()
    # where no class has two different samples, all there is is the distance to the means
    return torch.where(average > 0, average, 1.0)


def _factor(covariance: Tensor, shrinkage: float) -> Tensor:
    factor, failed = torch.linalg.cholesky_ex(covariance)
    # a pivot is what the features before leave of a feature's variance; where nothing is left,
    # rounding decides on which side of zero it comes out, and that differs between processors
    left = factor.diagonal().square() / covariance.diagonal()
    if bool(failed) or bool((left < ROUNDING).any()):
        raise ConfigError(
            [
                f"shrinkage={shrinkage:g} leaves a singular covariance of {len(covariance)} "
                "features; give more, or learn more samples"
            ]
        )
    found: Tensor = factor
    return found


def _scaled_means(statistics: ClassStatistics, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Known classes (K,), and their means (K, D) round the mean of all, of scaled features."""
    known = statistics.known.nonzero().flatten()
    return known, (statistics.means[known] - _center(statistics)) / scale


def _within(statistics: ClassStatistics, scale: Tensor) -> Tensor:
    """Covariance (D, D) within classes, of scaled features."""
    scatter = statistics.scatter.sum(dim=0) if statistics.per_class else statistics.scatter[0]
    return scatter / statistics.counts.sum() / scale / scale[:, None]


def _center(statistics: ClassStatistics) -> Tensor:
    shares = statistics.counts / statistics.counts.sum().clamp(min=1)
    return shares @ statistics.means


def _log_prior(counts: Tensor, prior: Prior) -> Tensor:
    if prior == "uniform":
        return torch.zeros_like(counts)
    return (counts / counts.sum()).log()
