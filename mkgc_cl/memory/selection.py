"""Which samples to keep: nearest to K-means centres, herding, or random."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mkgc_cl.errors import ConfigError

Selection = Literal["kmeans", "herding", "random"]


def select_exemplars(
    features: Tensor, size: int, *, selection: Selection, source: torch.Generator
) -> list[int]:
    """Choose rows of ``features`` to keep.

    Args:
        features: (N, F) features of the candidates.
        size: how many to keep; all of them are kept where N is smaller.
        selection: ``"kmeans"`` (the sample nearest to each of ``size`` centres: Wang et al. 2019;
            Cui et al. 2021), ``"herding"`` (greedy match of the mean: Rebuffi et al. 2017) or
            ``"random"`` (RELEASED CODE).
        source: generator of this concern.

    Returns:
        ``min(size, N)`` different row indices.

    Raises:
        ConfigError: ``size`` is negative or ``selection`` is unknown.
    """
    if size < 0:
        raise ConfigError([f"a memory of {size} exemplars; give 0 or more"])
    rows = len(features)
    if size == 0 or rows == 0:
        return []
    if selection == "random":
        drawn: list[int] = torch.randperm(rows, generator=source)[:size].tolist()
        return drawn
    if selection == "herding":
        return herd(features, min(size, rows))
    if selection == "kmeans":
        centres = kmeans_centres(features, min(size, rows), source=source)
        return nearest_rows(features, centres)
    raise ConfigError([f"selection={selection!r}; choose kmeans, herding or random"])


def kmeans_centres(features: Tensor, clusters: int, *, source: torch.Generator) -> Tensor:
    """K-means centres (clusters, F) of rows (N, F), best of ten starts (scikit-learn).

    Where fewer than ``clusters`` rows differ, the different ones are the centres, over and over.
    """
    from sklearn.cluster import KMeans

    distinct: Tensor = torch.unique(features, dim=0)
    if len(distinct) <= clusters:  # scikit-learn warns about empty clusters where rows coincide
        return distinct.index_select(0, torch.arange(clusters) % len(distinct))
    seed = int(torch.randint(2**31 - 1, (1,), generator=source))
    found = KMeans(clusters, n_init=10, random_state=seed).fit(features.double().numpy())
    return torch.as_tensor(found.cluster_centers_, dtype=features.dtype)


def nearest_rows(features: Tensor, centres: Tensor) -> list[int]:
    """Row nearest to each centre; a row that is taken gives way to the next nearest.

    >>> nearest_rows(torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([[0.9], [0.8]]))
    [1, 0]
    """
    taken: list[int] = []
    # cdist goes over a matrix product: in single precision its rounding exceeds the differences
    # between posts where features lie far from the origin.
    distances = torch.cdist(centres.double(), features.double())
    for order in distances.argsort(dim=1, stable=True).tolist():
        taken.append(next(row for row in order if row not in taken))
    return taken


def herd(features: Tensor, size: int) -> list[int]:
    """Greedily choose rows whose running mean stays closest to the mean of all (iCaRL, alg. 4)."""
    mean = features.mean(dim=0)
    total = torch.zeros_like(mean)
    chosen: list[int] = []
    for step in range(1, size + 1):
        distance = ((total + features) / step - mean).norm(dim=1)
        distance[chosen] = float("inf")
        best = int(distance.argmin())
        chosen.append(best)
        total = total + features[best]
    return chosen
