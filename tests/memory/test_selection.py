"""Exemplar selection against brute force; no draw outside the given generator."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from torch import Tensor

from mkgc_cl.errors import ConfigError
from mkgc_cl.memory.selection import (
    Selection,
    herd,
    kmeans_centers,
    nearest_rows,
    select_exemplars,
)

SELECTIONS: tuple[Selection, ...] = ("kmeans", "herding", "random")


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blobs(centers: int, each: int, *, offset: float = 0.0) -> Tensor:
    """``each`` rows round every one of ``centers`` far-apart points, shuffled."""
    generator = source(1)
    middles = torch.eye(centers, 8) * 100 + offset
    rows = middles.repeat(each, 1) + torch.randn(centers * each, 8, generator=generator)
    return rows[torch.randperm(len(rows), generator=generator)]


def nearest_by_loop(features: Tensor, point: list[float]) -> int:
    rows = features.double().tolist()
    return min(range(len(rows)), key=lambda row: math.dist(rows[row], point))


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_kmeans_keeps_the_row_nearest_to_each_cluster_mean(offset: float) -> None:
    """Six groups nobody can miss: their means are the centers, found without K-means.

    Far from the origin, a distance by matrix product in float32 is too coarse to tell rows apart.
    """
    features = blobs(6, 15, offset=offset)
    group = (features - offset)[:, :6].argmax(dim=1)
    expected = {
        nearest_by_loop(features[group == g], features[group == g].double().mean(dim=0).tolist())
        + g * 1000
        for g in range(6)
    }
    chosen = select_exemplars(features, 6, selection="kmeans", source=source())
    found = set()
    for row in chosen:
        own = int(group[row])
        found.add(int((group[:row] == own).sum()) + own * 1000)
    assert found == expected


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(0, 999))
def test_kmeans_chooses_nearest_rows_of_its_own_centers(size: int, seed: int) -> None:
    features = torch.randn(24, 5, generator=source(seed))
    chosen = select_exemplars(features, size, selection="kmeans", source=source(seed))
    centers = kmeans_centers(features, size, source=source(seed))
    taken: list[int] = []
    rows = features.double().tolist()
    for center in centers.tolist():
        far = {row: math.dist(rows[row], center) for row in range(24) if row not in taken}
        nearest = min(far.values())
        taken.append(next(row for row in far if far[row] < nearest + 1e-4))
    assert chosen == sorted(taken)
    assert len(set(chosen)) == size


def test_centers_are_means_of_their_clusters() -> None:
    """The fixed point of Lloyd's algorithm, which any K-means must reach."""
    features = torch.randn(60, 4, generator=source(3))
    centers = kmeans_centers(features, 5, source=source())
    owner = torch.cdist(features.double(), centers).argmin(dim=1)
    for cluster in range(5):
        own = features[owner == cluster].double().mean(dim=0)
        assert torch.allclose(own, centers[cluster], atol=1e-9)


def test_centers_stand_in_order_of_the_first_row_of_their_clusters() -> None:
    """However K-means numbers them, which depends on the start."""
    features = blobs(6, 15)
    firsts = list(dict.fromkeys(features[:, :6].argmax(dim=1).tolist()))
    for seed in range(3):
        centers = kmeans_centers(features, 6, source=source(seed))
        assert centers[:, :6].argmax(dim=1).tolist() == firsts


@pytest.mark.slow
def test_clusters_are_as_tight_as_those_of_scikit_learns_own_starts() -> None:
    """Sum of squares within clusters, on rows without structure, where starts matter most."""
    ratios = []
    for seed in range(10):
        features = torch.randn(80, 8, generator=source(seed))
        centers = kmeans_centers(features, 6, source=source(seed))
        own = torch.cdist(features.double(), centers).amin(dim=1).square().sum()
        theirs = KMeans(6, n_init=10, random_state=seed).fit(features.double().numpy()).inertia_
        ratios.append(float(own) / theirs)
    assert max(ratios) < 1.05
    assert sum(ratios) / len(ratios) < 1.015


# ---- rounding -----------------------------------------------------------------------------------


def rows_of_kind(kind: str, seed: int) -> Tensor:
    """Random rows: without structure, in pairs far apart, every third one twice, or five in all."""
    generator = source(seed)
    if kind == "five":
        return torch.randn(5, 12, generator=generator).repeat(4, 1)
    if kind == "pairs":
        middles = 6 * torch.randn(8, 12, generator=generator)
        return middles.repeat(2, 1) + torch.randn(16, 12, generator=generator)
    rows = torch.randn(12 + seed % 20, 12, generator=generator)
    rows = rows * (1 + seed % 5) + torch.randn(12, generator=generator)
    return torch.cat([rows, rows[::3]]) if kind == "duplicates" else rows


@pytest.mark.slow
@pytest.mark.parametrize("selection", ["kmeans", "herding"])
@pytest.mark.parametrize("kind", ["anything", "pairs", "duplicates", "five"])
def test_rounding_of_the_features_chooses_nothing(kind: str, selection: Selection) -> None:
    """The same choices where every number is off by its last bits (relative 1e-7)."""
    changed = 0
    for seed in range(8):
        features = rows_of_kind(kind, seed)
        expected = select_exemplars(features, 8, selection=selection, source=source(seed))
        for noise in range(2):
            drawn = torch.randn(features.shape, generator=source(1000 + noise))
            rounded = features * (1 + 1e-7 * drawn)
            found = select_exemplars(rounded, 8, selection=selection, source=source(seed))
            changed += found != expected
    assert changed == 0


@pytest.mark.parametrize(("pairs", "size", "scale", "seed"), [(16, 12, 2, 2), (20, 14, 4, 7)])
def test_of_a_lonely_pair_rounding_draws_neither_as_a_start(
    pairs: int, size: int, scale: float, seed: int
) -> None:
    """Both bring the others as near, so starts that keep the better of two draws hang on a tie."""
    generator = source(seed)
    middles = scale * torch.randn(pairs, 12, generator=generator)
    features = middles.repeat(2, 1) + torch.randn(2 * pairs, 12, generator=generator)
    expected = select_exemplars(features, size, selection="kmeans", source=source(seed))
    for noise in range(3):
        drawn = torch.randn(features.shape, generator=source(1000 + noise))
        rounded = features * (1 + 1e-7 * drawn)
        found = select_exemplars(rounded, size, selection="kmeans", source=source(seed))
        assert found == expected


def test_of_starts_that_end_equally_well_the_first_counts() -> None:
    """Three centers for two pairs: which pair is split is drawn, its last bits do not decide."""
    features = torch.tensor([[-3.5], [-2.5], [2.5], [3.5]])
    split = []
    for seed in range(4):
        found = select_exemplars(features, 3, selection="kmeans", source=source(seed))
        split.append(found)
        for noise in range(2):
            drawn = torch.randn(features.shape, generator=source(1000 + noise))
            rounded = features * (1 + 1e-7 * drawn)
            assert select_exemplars(rounded, 3, selection="kmeans", source=source(seed)) == found
    assert sorted(map(list, set(map(tuple, split)))) == [[0, 1, 2], [0, 2, 3]]


@pytest.mark.parametrize("selection", ["kmeans", "herding"])
@pytest.mark.parametrize("last", [0.0, 1e-7, -1e-7])
def test_of_two_rows_that_are_equally_near_the_first_is_kept(
    selection: Selection, last: float
) -> None:
    """The mean of -1 and 1 is as far from either, whatever the last bits of them say."""
    pair = torch.tensor([[1.0 + last], [-1.0]])
    assert select_exemplars(pair, 1, selection=selection, source=source()) == [0]
    assert select_exemplars(pair.flip(0), 1, selection=selection, source=source()) == [0]
    pairs = torch.tensor([[101.0], [1.0 + last], [99.0 + last], [-1.0]])
    assert select_exemplars(pairs, 2, selection="kmeans", source=source()) == [0, 1]


def test_a_difference_beyond_rounding_decides() -> None:
    """Row 0 is farther from the center by 1 part in 1000 of the spread, row 1 is kept."""
    features = torch.tensor([[1.002], [-1.0], [0.0]])
    assert nearest_rows(features[:2], torch.tensor([[0.0]])) == [1]
    assert herd(features, 1) == [2]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(0, 999))
def test_herding_equals_brute_force_greed(size: int, seed: int) -> None:
    features = torch.randn(9, 3, generator=source(seed), dtype=torch.float64)
    rows = features.tolist()
    mean = [sum(column) / 9 for column in zip(*rows, strict=True)]
    expected: list[int] = []
    for _ in range(size):
        distance = {}
        for row in set(range(9)) - set(expected):
            group = [rows[i] for i in [*expected, row]]
            middle = [sum(column) / len(group) for column in zip(*group, strict=True)]
            distance[row] = math.dist(middle, mean)
        expected.append(min(distance, key=distance.__getitem__))
    assert herd(features, size) == expected
    chosen = select_exemplars(features, size, selection="herding", source=source())
    assert chosen == expected


def test_random_selection_is_uniform() -> None:
    """3 of 10 rows, 2000 times: a row is drawn Binomial(2000, 0.3), mean 600, sd 20.5; 5 sd."""
    generator = source(7)
    features = torch.zeros(10, 2)
    counts = [0] * 10
    firsts = [0] * 10
    for _ in range(2000):
        chosen = select_exemplars(features, 3, selection="random", source=generator)
        firsts[chosen[0]] += 1
        for row in chosen:
            counts[row] += 1
    assert sum(counts) == 6000
    assert all(abs(count - 600) < 5 * math.sqrt(2000 * 0.3 * 0.7) for count in counts)
    assert all(abs(count - 200) < 5 * math.sqrt(2000 * 0.1 * 0.9) for count in firsts)


@pytest.mark.parametrize("selection", SELECTIONS)
def test_same_generator_same_rows(selection: Selection) -> None:
    features = torch.randn(50, 4, generator=source(2))

    def choose(seed: int) -> list[int]:
        return select_exemplars(features, 6, selection=selection, source=source(seed))

    assert choose(0) == choose(0)
    if selection == "random":
        assert choose(0) != choose(1)


@pytest.mark.parametrize("selection", ["kmeans", "random"])
def test_one_generator_goes_on(selection: Selection) -> None:
    """A task's draw moves the generator, so the next task does not repeat it."""
    generator, features = source(), torch.randn(50, 4, generator=source(2))
    before = generator.get_state()
    select_exemplars(features, 6, selection=selection, source=generator)
    assert not torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("selection", SELECTIONS)
def test_global_generators_are_left_alone(selection: Selection) -> None:
    def state() -> tuple[list[int], object, object]:
        name, keys, *rest = np.random.get_state()
        return torch.get_rng_state().tolist(), (name, keys.tolist(), rest), random.getstate()

    before = state()
    features = torch.randn(40, 4, generator=source())
    first = select_exemplars(features, 5, selection=selection, source=source())
    assert state() == before
    torch.manual_seed(99)
    np.random.seed(99)
    assert select_exemplars(features, 5, selection=selection, source=source()) == first


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("rows", [0, 1, 3, 6])
def test_few_candidates_are_all_kept(selection: Selection, rows: int) -> None:
    features = torch.randn(rows, 4, generator=source())
    chosen = select_exemplars(features, 6, selection=selection, source=source())
    assert sorted(chosen) == list(range(rows))


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("distinct", [1, 2, 5, 6, 7])
def test_rows_that_coincide_still_fill_the_memory(selection: Selection, distinct: int) -> None:
    """Tweets repeat; the budget is a number of samples, and every kind of them is kept."""
    different = torch.randn(distinct, 4, generator=source())
    features = different.repeat(3, 1)
    size = min(6, len(features))
    chosen = select_exemplars(features, 6, selection=selection, source=source())
    assert len(set(chosen)) == len(chosen) == size
    if selection == "kmeans":
        assert len({row % distinct for row in chosen}) == min(distinct, size)


@pytest.mark.parametrize("selection", SELECTIONS)
def test_size_zero_keeps_nothing_and_draws_nothing(selection: Selection) -> None:
    generator = source()
    before = generator.get_state()
    assert select_exemplars(torch.randn(4, 2), 0, selection=selection, source=generator) == []
    assert torch.equal(generator.get_state(), before)


def test_nearest_rows_give_way() -> None:
    features = torch.tensor([[0.0], [1.0], [5.0]])
    assert nearest_rows(features, torch.tensor([[0.1], [0.2], [0.3]])) == [0, 1, 2]


def test_wrong_settings_are_refused() -> None:
    features = torch.randn(3, 2)
    with pytest.raises(ConfigError, match="size=-1; give 0 or more"):
        select_exemplars(features, -1, selection="random", source=source())
    with pytest.raises(ConfigError, match="choose one of"):
        select_exemplars(features, 2, selection="best", source=source())  # type: ignore[arg-type]
