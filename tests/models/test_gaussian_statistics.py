"""Statistics of classes: additive in any order and any parts, and samples can be taken away."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mkgc_cl.errors import DataError
from mkgc_cl.models.gaussian import ClassStatistics

CLASSES, WIDTH, EXACT = 4, 6, 1e-9
Samples = tuple[Tensor, Tensor, Tensor]


@pytest.fixture
def samples() -> Samples:
    """Far from the origin, where sums of squares would have lost their digits."""
    source = torch.Generator().manual_seed(1)
    labels = torch.randint(0, CLASSES, (60,), generator=source)
    features = torch.randn(60, WIDTH, generator=source, dtype=torch.float64)
    features += 1e5 + labels[:, None]
    return features, labels, torch.rand(60, generator=source, dtype=torch.float64)


@pytest.fixture(params=[False, True], ids=["shared", "per class"])
def empty(request: pytest.FixtureRequest) -> ClassStatistics:
    return ClassStatistics.empty(CLASSES, WIDTH, per_class=request.param)


def brute(samples: Samples, *, per_class: bool) -> ClassStatistics:
    """The definition, sample by sample."""
    features, labels, weights = samples
    found = ClassStatistics.empty(CLASSES, WIDTH, per_class=per_class)
    for label in range(CLASSES):
        own, weight = features[labels == label], weights[labels == label]
        if len(own) == 0:
            continue
        found.counts[label] = weight.sum()
        found.means[label] = sum(w * x for w, x in zip(weight, own, strict=True)) / weight.sum()
        for w, x in zip(weight, own, strict=True):
            apart = x - found.means[label]
            found.scatter[label if per_class else 0] += w * torch.outer(apart, apart)
    return found


def equal(one: ClassStatistics, other: ClassStatistics, *, within: float = EXACT) -> bool:
    return all(
        torch.allclose(mine, theirs, rtol=within, atol=within)
        for mine, theirs in (
            (one.counts, other.counts),
            (one.means, other.means),
            (one.scatter, other.scatter),
        )
    )


def test_the_definition(empty: ClassStatistics, samples: Samples) -> None:
    empty.add(*samples)
    # the oracle's own rounding at 1e5
    assert equal(empty, brute(samples, per_class=empty.per_class), within=1e-7)


def test_by_hand() -> None:
    found = ClassStatistics.empty(2, 2)
    found.add(torch.tensor([[0.0, 0.0], [2.0, 4.0]]), torch.tensor([1, 1]))
    found.add(torch.tensor([[4.0, 2.0]]), torch.tensor([1]), torch.tensor([2.0]))
    assert found.counts.tolist() == [0.0, 4.0]
    assert found.means.tolist() == [[0.0, 0.0], [2.5, 2.0]]
    # 2.5^2 + 0.5^2 + 2 * 1.5^2, 2.5 * 2 - 0.5 * 2, 2^2 + 2^2
    assert torch.allclose(found.scatter, torch.tensor([[[11.0, 4.0], [4.0, 8.0]]]).double())
    assert found.known.tolist() == [False, True]


@pytest.mark.parametrize("parts", [[60], [1] * 60, [7, 20, 33], [0, 30, 0, 30]])
def test_parts_in_any_order_are_the_whole(
    empty: ClassStatistics, samples: Samples, parts: list[int]
) -> None:
    whole = ClassStatistics.empty(CLASSES, WIDTH, per_class=empty.per_class)
    whole.add(*samples)
    pieces = list(zip(*(tensor.split(parts) for tensor in samples), strict=True))
    for piece in reversed(pieces):
        empty.add(*piece)
    assert equal(empty, whole)


def test_merging_is_the_whole(empty: ClassStatistics, samples: Samples) -> None:
    sites = [ClassStatistics.empty(CLASSES, WIDTH, per_class=empty.per_class) for _ in range(3)]
    for rows, site in zip(torch.arange(60).split([5, 50, 5]), sites, strict=True):
        site.add(*(tensor[rows] for tensor in samples))
    for site in sites:
        empty.merge(site)
    whole = ClassStatistics.empty(CLASSES, WIDTH, per_class=empty.per_class)
    whole.add(*samples)
    assert equal(empty, whole)


@pytest.mark.parametrize("at_once", [True, False])
def test_taken_away_is_never_seen(empty: ClassStatistics, samples: Samples, at_once: bool) -> None:
    """A whole class of it, and parts of others."""
    _, labels, _ = samples
    gone = (labels == 2) | (torch.arange(60) % 3 == 0)
    never = ClassStatistics.empty(CLASSES, WIDTH, per_class=empty.per_class)
    never.add(*(tensor[~gone] for tensor in samples))
    empty.add(*samples)
    if at_once:
        empty.remove(*(tensor[gone] for tensor in samples))
    else:
        other = ClassStatistics.empty(CLASSES, WIDTH, per_class=empty.per_class)
        other.add(*(tensor[gone] for tensor in samples))
        empty.subtract(other)
    assert equal(empty, never)
    assert empty.counts[2] == 0
    assert bool((empty.means[2] == 0).all())


def test_all_taken_away_leaves_nothing(empty: ClassStatistics, samples: Samples) -> None:
    empty.add(*samples)
    empty.remove(*samples)
    assert not bool(empty.known.any())
    assert not bool(empty.scatter.any())


def test_a_weight_of_zero_is_no_sample(empty: ClassStatistics, samples: Samples) -> None:
    features, labels, weights = samples
    kept = labels != 1
    whole = ClassStatistics.empty(CLASSES, WIDTH, per_class=empty.per_class)
    whole.add(features[kept], labels[kept], weights[kept])
    empty.add(features, labels, weights * kept)
    assert equal(empty, whole)
    assert not bool(empty.known[1])


def test_what_cannot_be_is_refused_and_changes_nothing(samples: Samples) -> None:
    features, labels, weights = samples
    one = ClassStatistics.empty(CLASSES, WIDTH)
    one.add(*samples)
    before = one.counts.clone()
    for words, given in {
        "is no class; there are 0 to 3": (features, labels + 1, weights),
        "not finite": (features / 0.0, labels, weights),
        "weight is negative": (features, labels, weights - 1),
        r"shape \(60, 5\); expected \(N, 6\)": (features[:, :5], labels, weights),
        "one of each per sample": (features, labels[:5], weights),
    }.items():
        with pytest.raises(DataError, match=words):
            one.add(*given)
    with pytest.raises(DataError, match="are to be taken away"):
        one.remove(features, labels, weights + 1)
    assert torch.equal(one.counts, before)
