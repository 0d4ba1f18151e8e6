"""Scores from statistics, against scikit-learn and against the definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from torch import Tensor
from torch.distributions import MultivariateNormal

from mkgc_cl.errors import ConfigError
from mkgc_cl.models.gaussian import ClassStatistics
from mkgc_cl.models.gaussian.solve import (
    deviations,
    solve_gaussian,
    solve_per_class,
    solve_ridge,
)

CLASSES, WIDTH = 3, 5
ONES = torch.ones(WIDTH, dtype=torch.float64)


@pytest.fixture
def samples() -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(2)
    labels = torch.tensor([0] * 20 + [1] * 9 + [2] * 4)
    mixing = torch.randn(WIDTH, WIDTH, generator=source, dtype=torch.float64)
    features = torch.randn(33, WIDTH, generator=source, dtype=torch.float64) @ mixing
    return features + labels[:, None], labels


def learnt(samples: tuple[Tensor, Tensor], *, per_class: bool = False) -> ClassStatistics:
    found = ClassStatistics.empty(CLASSES + 1, WIDTH, per_class=per_class)  # one never comes
    found.add(*samples)
    return found


def centered(scores: Tensor) -> Tensor:
    """Scores up to what is the same for all classes."""
    return scores - scores.mean(dim=-1, keepdim=True)


@pytest.mark.parametrize("shrinkage", [0.03, 0.3, 1.0])
@pytest.mark.parametrize("standardized", [False, True])
def test_scikit_learns_discriminant(
    samples: tuple[Tensor, Tensor], shrinkage: float, standardized: bool
) -> None:
    statistics = learnt(samples)
    scale = deviations(statistics) if standardized else ONES
    features, labels = samples
    oracle = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage)
    oracle.fit((features / scale).numpy(), labels.numpy())
    found = solve_gaussian(statistics, shrinkage=shrinkage, scale=scale).scores(features)
    expected = oracle.decision_function((features / scale).numpy())
    assert torch.allclose(centered(found), centered(torch.from_numpy(expected)), atol=1e-9)
    probabilities = oracle.predict_proba((features / scale).numpy())
    assert torch.allclose(found.softmax(dim=-1), torch.from_numpy(probabilities), atol=1e-9)


def test_deviations_are_those_of_all_samples(samples: tuple[Tensor, Tensor]) -> None:
    features, labels = samples
    found = deviations(learnt((features, labels)))
    assert torch.allclose(found, features.std(dim=0, correction=0), atol=1e-12)
    constant = torch.cat([features[:, :-1], torch.full((33, 1), 7.0)], dim=1)
    assert deviations(learnt((constant, labels)))[-1] == 1


def test_the_prior(samples: tuple[Tensor, Tensor]) -> None:
    features, _ = samples
    counts = torch.tensor([20.0, 9.0, 4.0], dtype=torch.float64)

    def scores(**options: object) -> Tensor:
        statistics = learnt(samples)
        return solve_gaussian(statistics, shrinkage=0.1, scale=ONES, **options).scores(features)  # type: ignore[arg-type]

    prior = (counts / 33).log()
    assert torch.allclose(scores(), scores(prior="uniform") + prior, atol=1e-12)
    assert torch.allclose(scores(tau=0.5), scores(prior="uniform") + prior / 2, atol=1e-12)


def test_a_covariance_of_each_class_by_the_density(samples: tuple[Tensor, Tensor]) -> None:
    """Against the multivariate normal of torch, class by class."""
    features, labels = samples
    shrinkage, scale = 0.2, deviations(learnt(samples))
    found = solve_per_class(learnt(samples, per_class=True), shrinkage=shrinkage, scale=scale)
    rows = features / scale
    within = sum(
        ((rows[labels == c] - rows[labels == c].mean(dim=0)) ** 2).sum() for c in range(CLASSES)
    )
    average = within / 33 / WIDTH
    expected = []
    for label in range(CLASSES):
        own = rows[labels == label]
        covariance = (1 - shrinkage) * torch.from_numpy(np.cov(own.T.numpy(), ddof=0))
        covariance += shrinkage * average * torch.eye(WIDTH, dtype=torch.float64)
        density = MultivariateNormal(own.mean(dim=0), covariance)
        expected.append(density.log_prob(rows) + np.log(len(own) / 33))
    scores = found.scores(features)
    assert torch.allclose(centered(scores), centered(torch.stack(expected, dim=1)), atol=1e-9)


def test_scikit_learns_ridge(samples: tuple[Tensor, Tensor]) -> None:
    features, labels = samples
    statistics, shrinkage = learnt(samples), 0.25
    total = features.var(dim=0, correction=0).mean()
    alpha = 33 * shrinkage / (1 - shrinkage) * float(total)
    targets = torch.nn.functional.one_hot(labels).double()
    oracle = Ridge(alpha=alpha, solver="cholesky").fit(features.numpy(), targets.numpy())
    found = solve_ridge(statistics, shrinkage=shrinkage, scale=ONES).scores(features)
    assert torch.allclose(found, torch.from_numpy(oracle.predict(features.numpy())), atol=1e-9)


@pytest.mark.parametrize("apart", [0.0, 1e-9])
def test_what_is_singular_is_refused(samples: tuple[Tensor, Tensor], apart: float) -> None:
    """On every processor: some round the pivot of a feature that is a copy up, some down."""
    features, labels = samples
    flat = features.double()
    flat[:, 1] = flat[:, 0] + apart * flat[:, 1]
    with pytest.raises(ConfigError, match="shrinkage=0 leaves a singular covariance of 5"):
        solve_gaussian(learnt((flat, labels)), shrinkage=0.0, scale=ONES)


def test_one_sample_of_each_class_is_the_nearest_mean() -> None:
    statistics = ClassStatistics.empty(2, 2)
    statistics.add(torch.tensor([[0.0, 0.0], [4.0, 0.0]]), torch.tensor([0, 1]))
    scores = solve_gaussian(statistics, shrinkage=0.5, scale=ONES[:2])
    assert scores.scores(torch.tensor([[1.9, 9.0], [2.1, -9.0]])).argmax(dim=-1).tolist() == [0, 1]
