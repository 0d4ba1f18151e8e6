"""Which samples to keep: nearest to K-means centers, herding, or random.

Rounding decides nothing here. Both members of a cluster of two are equally far from its center, so
whichever a plain ``argmin`` takes depends on the last bits of the features, and with them on the
processor and on how samples were batched. Of rows that are equally near within a tolerance, the
first is kept.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from mkgc_cl._checks import at_least, one_of, require

Selection = Literal["kmeans", "herding", "random"]

RELATIVE = 1e-5
"""Distances (and inertias) that differ by less than this part of the smallest are equal."""

ROUNDING = 1e-6
"""What single precision loses on the way through an encoder, as a part of a feature's length."""

STARTS = 10


def select_exemplars(
    features: Tensor, size: int, *, selection: Selection, source: torch.Generator
) -> list[int]:
    """Choose rows of ``features`` to keep.

    Args:
        features: (N, F) features of the candidates.
        size: how many to keep; all of them are kept where N is smaller.
        selection: ``"kmeans"`` (the sample nearest to each of ``size`` centers: Wang et al. 2019;
            Cui et al. 2021), ``"herding"`` (greedy match of the mean: Rebuffi et al. 2017) or
            ``"random"`` (RELEASED CODE).
        source: generator of this concern.

    Returns:
        ``min(size, N)`` different row indices: in order for K-means, else as they were chosen.

    Raises:
        ConfigError: ``size`` is negative or ``selection`` is unknown.
    """
    require(at_least("size", size, 0), one_of("selection", selection, get_args(Selection)))
    rows = len(features)
    if size == 0 or rows == 0:
        return []
    if selection == "random":
        drawn: list[int] = torch.randperm(rows, generator=source)[:size].tolist()
        return drawn
    if selection == "herding":
        return herd(features, min(size, rows))
    centers = kmeans_centers(features, min(size, rows), source=source)
    return sorted(nearest_rows(features, centers))


def kmeans_centers(features: Tensor, clusters: int, *, source: torch.Generator) -> Tensor:
    """K-means centers of rows, the best of ten starts (scikit-learn's iterations).

    Where no more than ``clusters`` rows differ, the different ones are the centers, over and over.

    Args:
        features: (N, F) rows.
        clusters: number of centers K, at most N.
        source: generator of the starts.

    Returns:
        (K, F) in double precision, in order of the first row of their clusters: K-means numbers
        clusters by its start, of which several may lead to the same ones.
    """
    from sklearn.cluster import KMeans

    exact = features.double()
    different = _distinct(exact, at_most=clusters + 1)
    if len(different) <= clusters:
        return exact[[different[k % len(different)] for k in range(clusters)]]
    rows = exact.numpy()
    # tol=0: until no row changes its cluster, which unlike a small step is the same step for all
    runs = [
        KMeans(clusters, init=_start(exact, clusters, source).numpy(), n_init=1, tol=0).fit(rows)
        for _ in range(STARTS)
    ]
    enough = min(run.inertia_ for run in runs) * (1 + RELATIVE)
    best = next(run for run in runs if run.inertia_ <= enough)
    order = list(dict.fromkeys([*best.labels_.tolist(), *range(clusters)]))
    return torch.as_tensor(best.cluster_centers_[order])


def nearest_rows(features: Tensor, centers: Tensor) -> list[int]:
    """Row nearest to each center in turn; a row that is taken gives way to the next nearest.

    Of rows that are equally near, within the tolerance, the first.

    >>> nearest_rows(torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([[0.9], [0.8]]))
    [1, 0]
    """
    exact = features.double()
    slack = _slack(exact)
    taken: list[int] = []
    # cdist goes over a matrix product: in single precision its rounding exceeds the differences
    # between samples where features lie far from the origin.
    for distances in torch.cdist(centers.double(), exact):
        taken.append(_first_smallest(distances, taken, slack))
    return taken


def herd(features: Tensor, size: int) -> list[int]:
    """Greedily choose rows whose running mean stays closest to the mean of all (iCaRL, alg. 4)."""
    exact = features.double()
    slack = _slack(exact)
    mean = exact.mean(dim=0)
    total = torch.zeros_like(mean)
    chosen: list[int] = []
    for step in range(1, size + 1):
        distances = ((total + exact) / step - mean).norm(dim=1)
        chosen.append(_first_smallest(distances, chosen, slack))
        total = total + exact[chosen[-1]]
    return chosen


def _slack(rows: Tensor) -> float:
    """Distance below which rows (N, F) cannot be told apart.

    A small part of their spread about the mean, and what rounding may do to a row: rows that
    coincide have no spread, but do not coincide to the last bit.
    """
    spread = (rows - rows.mean(dim=0)).square().sum(dim=1).mean().sqrt()
    length = rows.square().sum(dim=1).mean().sqrt()
    return float(RELATIVE * spread + ROUNDING * length)


def _first_smallest(distances: Tensor, taken: list[int], slack: float) -> int:
    """First row, of those not taken, whose distance is the smallest within the tolerance."""
    free = distances.clone()
    free[taken] = float("inf")
    near = free <= free.min() * (1 + RELATIVE) + slack
    return int(near.nonzero()[0])


def _distinct(rows: Tensor, *, at_most: int) -> list[int]:
    """The first of every group of rows (N, F) that coincide, for the first so many groups."""
    slack = _slack(rows)
    left = torch.ones(len(rows), dtype=torch.bool)
    found: list[int] = []
    while len(found) < at_most and bool(left.any()):
        found.append(int(left.nonzero()[0]))
        left &= (rows - rows[found[-1]]).norm(dim=1) > slack
    return found


def _start(rows: Tensor, clusters: int, source: torch.Generator) -> Tensor:
    """Rows (K, F) to start from, each drawn by its squared distance from those before (k-means++).

    Plain: the greedy variant of scikit-learn keeps the best of several draws, where the members of
    a lonely pair tie, and a draw depends on which of them was kept.
    """
    chosen = [int(torch.randint(len(rows), (1,), generator=source))]
    squared = torch.full((len(rows),), float("inf"), dtype=rows.dtype)
    while len(chosen) < clusters:
        squared = squared.minimum((rows - rows[chosen[-1]]).square().sum(dim=1))
        chosen.append(int(torch.multinomial(squared, 1, generator=source)))
    return rows[chosen]
