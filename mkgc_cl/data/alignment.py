"""Structural alignment of words and objects: who plays a similar part in its own graph.

Zheng et al. 2021, "Multimodal Relation Extraction with Efficient Graph Alignment" (ACM MM), after
xNetMF (Heimann et al. 2018, "REGAL"). Words form a graph of dependencies, objects one of scene
relations; any parser and any scene graph generator will do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from mkgc_cl.errors import DataError

Edges = Iterable[tuple[int, int]]
Matrix = NDArray[np.float64]


def structural_alignment(
    word_edges: Edges,
    object_edges: Edges,
    *,
    words: int,
    objects: int,
    nearest: int = 5,
    hops: int = 2,
    discount: float = 0.01,
) -> Matrix:
    r"""Similarity of every word to the objects nearest to it by structure.

    Nodes u, v of both graphs have similarity :math:`s = \exp(-\lVert d_u - d_v \rVert)`, with
    descriptors d of :func:`degree_descriptors`. The paper embeds nodes so that inner products are
    s, scales the embeddings to length one, and aligns by :math:`\exp(-\lVert e_u - e_v \rVert)`,
    which is :math:`\exp(-\sqrt{2 - 2 s})`.

    RELEASED CODE approximates the embedding from ``10 log2 n`` random landmarks of the n nodes.
    Up to n = 58 those are all of them and it is exact; here it is exact for every n.

    Args:
        word_edges: pairs of words, numbered from 0; directions do not count.
        object_edges: pairs of objects, numbered from 0.
        words: number of words L.
        objects: number of objects N.
        nearest: how many objects a word is aligned to; of equally near ones the first.
        hops: how far a node looks around.
        discount: weight of a neighbour one hop further away.

    Returns:
        (L, N): the alignment, 0 where an object is not among a word's nearest.

    Raises:
        DataError: an edge names a node that is not there.

    >>> structural_alignment([(0, 1), (1, 2)], [(0, 1)], words=3, objects=2, nearest=1).round(2)
    array([[0.85, 0.  ],
           [0.29, 0.  ],
           [0.85, 0.  ]])
    """
    adjacent = np.zeros((words + objects, words + objects), dtype=bool)
    parts = ((word_edges, 0, words, "words"), (object_edges, words, objects, "objects"))
    for edges, first, count, what in parts:
        for one, other in edges:
            if not (0 <= one < count and 0 <= other < count):
                raise DataError(f"edge ({one}, {other}), but there are {count} {what}, from 0 on")
            adjacent[first + one, first + other] = adjacent[first + other, first + one] = True
    described = degree_descriptors(adjacent, hops=hops, discount=discount)
    gaps = described[:words, None] - described[None, words:]
    apart = np.linalg.norm(gaps, axis=-1)
    distance = np.sqrt(2 - 2 * np.exp(-apart))
    alignment = np.zeros((words, objects))
    # rounded: the same differences, summed in another order, are as near
    near = np.argsort(apart.round(9), axis=1, kind="stable")[:, :nearest]
    np.put_along_axis(alignment, near, np.exp(-np.take_along_axis(distance, near, 1)), axis=1)
    return alignment


def degree_descriptors(adjacent: NDArray[np.bool_], *, hops: int, discount: float) -> Matrix:
    """Histograms of the degrees around every node.

    Node u gets the sum over h = 0 ... ``hops`` of ``discount ** h`` times the histogram of the
    degrees of the nodes exactly h edges away, in buckets 1, 2-3, 4-7, ... A node without any edge
    has no bucket, as in the released code; an edge from a node to itself does not count.

    Args:
        adjacent: (n, n) symmetric, true where an edge is.
        hops: how far to look.
        discount: weight of a neighbour one hop further away.

    Returns:
        (n, buckets).
    """
    count = len(adjacent)
    linked = adjacent & ~np.eye(count, dtype=bool)
    degrees = linked.sum(axis=1)
    # frexp is exact where a logarithm may fall short of a power of two
    buckets = np.frexp(degrees)[1] - 1
    histogram = np.zeros((count, max(1, int(buckets.max(initial=0)) + 1)))
    connected = degrees > 0
    histogram[connected, buckets[connected]] = 1.0
    described = np.zeros_like(histogram)
    reached = ring = np.eye(count, dtype=bool)
    for hop in range(hops + 1):
        described += discount**hop * (ring @ histogram)
        ring = (ring @ linked) & ~reached
        reached = reached | ring
    return described


def spread_to_tokens(alignment: Matrix, owners: Sequence[int | None]) -> Matrix:
    """Give every token the alignment of its word.

    RELEASED CODE lays the rows of words along word pieces, so they drift apart within a sample.

    Args:
        alignment: (L, N) of words.
        owners: the word of each of T tokens, ``None`` for markers, ``[CLS]`` and ``[SEP]``.

    Returns:
        (T, N), zero on tokens of no word.

    >>> spread_to_tokens(np.array([[0.5], [0.7]]), [None, 0, 0, 1, None]).ravel().tolist()
    [0.0, 0.5, 0.5, 0.7, 0.0]
    """
    spread = np.zeros((len(owners), alignment.shape[1]))
    for token, word in enumerate(owners):
        if word is not None:
            spread[token] = alignment[word]
    return spread
