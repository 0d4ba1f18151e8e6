"""Texts that are longer than an encoder takes: overlapping windows, and crops round a pair."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple


class Window(NamedTuple):
    """Words ``start`` to ``end`` are read together; those from ``first`` to ``last`` count."""

    start: int
    end: int
    first: int
    last: int


def windows(sizes: Sequence[int], *, room: int, overlap: int) -> list[Window]:
    """Cover words by windows; every word counts in one of them, away from its ends.

    Args:
        sizes: tokens of each word, none above ``room``.
        room: most tokens of a window.
        overlap: most tokens that two neighbours share.

    >>> windows([1] * 10, room=6, overlap=2)
    [Window(start=0, end=6, first=0, last=5), Window(start=4, end=10, first=5, last=10)]
    """
    edges = []
    start = 0
    while True:
        end, used = start, 0
        while end < len(sizes) and used + sizes[end] <= room:
            used += sizes[end]
            end += 1
        edges.append((start, end))
        if end == len(sizes):
            break
        shared, start, before = 0, end, start
        while start > before + 1 and shared + sizes[start - 1] <= overlap:
            start -= 1
            shared += sizes[start]
    cuts = [0, *((one[1] + two[0]) // 2 for one, two in pairwise(edges))]
    cuts.append(len(sizes))
    return [Window(*edge, *inner) for edge, inner in zip(edges, pairwise(cuts), strict=True)]


def crop(sizes: Sequence[int], inner: tuple[int, int], *, room: int) -> tuple[int, int] | None:
    """Words round ``inner`` that fit, as many on both sides; ``None`` where not even these do.

    >>> crop([1] * 10, (4, 6), room=5)
    (3, 8)
    """
    start, end = inner
    used = sum(sizes[start:end])
    if used > room:
        return None
    grown = True
    while grown:
        grown = False
        if end < len(sizes) and used + sizes[end] <= room:
            used, end, grown = used + sizes[end], end + 1, True
        if start > 0 and used + sizes[start - 1] <= room:
            start, grown = start - 1, True
            used += sizes[start]
    return start, end


def batches(lengths: Sequence[int], *, tokens: int, most: int) -> list[list[int]]:
    """Group items of like length, longest first, by their places.

    Args:
        lengths: tokens of each item.
        tokens: most tokens of a batch, padding included; one item may have more.
        most: most items of a batch.

    >>> batches([3, 9, 4], tokens=10, most=8)
    [[1], [2, 0]]
    """
    found: list[list[int]] = []
    longest = 0
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        last = found[-1] if found else None
        if last is None or len(last) == most or (len(last) + 1) * longest > tokens:
            found.append([place])
            longest = lengths[place]
        else:
            last.append(place)
    return found
