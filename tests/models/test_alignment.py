"""Structural alignment on a graph worked by hand, and against the factorisation it stands for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mkgc_cl.data.alignment import degree_descriptors, spread_to_tokens, structural_alignment
from mkgc_cl.errors import DataError

# Words: a star round 0 with leaves 1, 2, 3, and word 4 alone. Objects: a path 0-1-2, and 3 alone.
# Degrees 3 1 1 1 0 and 1 2 1 0; buckets [1], [2, 3]; hops weigh 1, .01, .0001.
WORD_EDGES = [(0, 1), (0, 2), (3, 0)]
OBJECT_EDGES = [(0, 1), (2, 1)]
DESCRIPTORS = [
    [0.03, 1.0],  # itself in [2, 3]; three leaves one hop away
    *[[1.0002, 0.01]] * 3,  # itself in [1]; the center; the two other leaves
    [0.0, 0.0],
    [1.0001, 0.01],
    [0.02, 1.0],
    [1.0001, 0.01],
    [0.0, 0.0],
]


def adjacency() -> np.ndarray:
    adjacent = np.zeros((9, 9), dtype=bool)
    for one, other in [*WORD_EDGES, *((5 + a, 5 + b) for a, b in OBJECT_EDGES)]:
        adjacent[one, other] = adjacent[other, one] = True
    return adjacent


def aligned(distance: float) -> float:
    return math.exp(-math.sqrt(2 - 2 * math.exp(-distance)))


def test_descriptors_count_degrees_hop_by_hop() -> None:
    assert np.allclose(degree_descriptors(adjacency(), hops=2, discount=0.01), DESCRIPTORS, atol=0)
    here = degree_descriptors(adjacency(), hops=0, discount=0.01)
    assert here.tolist() == [[0, 1], *[[1, 0]] * 3, [0, 0], [1, 0], [0, 1], [1, 0], [0, 0]]


@pytest.mark.parametrize(("degree", "bucket"), [(1, 0), (2, 1), (3, 1), (4, 2), (7, 2), (8, 3)])
def test_buckets_double(degree: int, bucket: int) -> None:
    star = np.zeros((degree + 1, degree + 1), dtype=bool)
    star[0, 1:] = star[1:, 0] = True
    described = degree_descriptors(star, hops=0, discount=0.01)
    assert described[0].nonzero()[0].tolist() == [bucket]
    assert described.shape[1] == bucket + 1


def test_alignment_worked_by_hand() -> None:
    found = structural_alignment(WORD_EDGES, OBJECT_EDGES, words=5, objects=4, nearest=1)
    expected = np.zeros((5, 4))
    expected[0, 1] = aligned(0.01)
    expected[1:4, 0] = aligned(0.0001)  # object 2 is as near; the first one counts
    expected[4, 3] = 1.0  # two nodes alone are alike
    assert np.allclose(found, expected, rtol=0, atol=1e-12)
    found = structural_alignment(WORD_EDGES, OBJECT_EDGES, words=5, objects=4, nearest=3)
    gaps = [math.hypot(1.0001 - 0.03, 0.99), 0.01, math.hypot(0.03, 1)]  # objects 0, 1 and 3
    expected = [aligned(gaps[0]), aligned(gaps[1]), 0, aligned(gaps[2])]
    assert np.allclose(found[0], expected, rtol=0, atol=1e-12)
    assert (found > 0).sum(axis=1).tolist() == [3] * 5


def test_of_objects_that_differ_as_much_in_other_buckets_the_first_counts() -> None:
    """Objects 2, 3 and 5 are sqrt(0.0002 + 1e-8) from word 1; a sum in doubles tells them apart."""
    words = [(2, 0), (3, 1), (4, 0), (4, 1), (4, 2)]
    objects = [(2, 0), (2, 1), (3, 0), (4, 0), (4, 1), (4, 3), (5, 1), (5, 4)]
    found = structural_alignment(words, objects, words=5, objects=6, nearest=1)
    assert found[1].nonzero()[0].tolist() == [2]


def test_alignment_is_that_of_the_papers_factorisation() -> None:
    """Every node a landmark: embeddings ``C U sqrt(S)`` of the pseudo-inverse, of length one."""
    gaps = np.array(DESCRIPTORS)[:, None] - np.array(DESCRIPTORS)[None]
    similar = np.exp(-np.linalg.norm(gaps, axis=-1))
    left, scale, _ = np.linalg.svd(np.linalg.pinv(similar))
    embedded = similar @ left @ np.diag(np.sqrt(scale))
    embedded /= np.linalg.norm(embedded, axis=1, keepdims=True)
    distance = np.linalg.norm(embedded[:5, None] - embedded[None, 5:], axis=-1)
    found = structural_alignment(WORD_EDGES, OBJECT_EDGES, words=5, objects=4, nearest=4)
    assert np.allclose(found, np.exp(-distance), atol=1e-6)


def test_directions_repetitions_and_loops_do_not_count() -> None:
    plain = structural_alignment(WORD_EDGES, OBJECT_EDGES, words=5, objects=4)
    odd = [*WORD_EDGES, (1, 0), (0, 1), (2, 2)]
    assert np.array_equal(structural_alignment(odd, OBJECT_EDGES, words=5, objects=4), plain)
    assert structural_alignment([], [], words=2, objects=3).tolist() == [[1.0] * 3] * 2
    assert structural_alignment([(0, 1)], [], words=2, objects=0).shape == (2, 0)


@pytest.mark.parametrize("edge", [(0, 5), (-1, 0)])
def test_edges_to_nowhere_are_refused(edge: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=r"there are 5 words, from 0 on"):
        structural_alignment([edge], [], words=5, objects=4)
    with pytest.raises(DataError, match=r"there are 2 objects, from 0 on"):
        structural_alignment([], [edge], words=9, objects=2)


def test_word_pieces_share_the_row_of_their_word() -> None:
    rows = np.array([[0.1, 0.2], [0.3, 0.4]])
    spread = spread_to_tokens(rows, [None, 0, 0, None, 1, None])
    assert spread.tolist() == [[0, 0], [0.1, 0.2], [0.1, 0.2], [0, 0], [0.3, 0.4], [0, 0]]
