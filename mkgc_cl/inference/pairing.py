"""Which entities of a text are looked at in pairs: those that are near, however long the text is.

A text of n entities has n (n - 1) / 2 pairs, a long one more than can be read. Relations between
entities far apart are rare, and cannot be read at all where both do not fit into one window of the
encoder. So every entity is paired with the next :data:`NEIGHBOURS` behind it at most, as far as
these begin within :data:`REACH` words of its end; entities that share words are no pair. The rule
is the same for what is predicted and for the pairs without a relation that are learnt. Pairs that
a record names a relation of are learnt whatever their distance.
"""

from __future__ import annotations

from collections.abc import Sequence

REACH = 50
"""Most words between two entities that a relation is looked for between."""
NEIGHBOURS = 8
"""Most entities behind another one that a relation to it is looked for of."""


def near_pairs(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Places of the entities that are near, the one that stands first in the text first.

    Args:
        spans: first word of every entity, and the one behind its last.

    >>> near_pairs([(60, 61), (0, 2), (4, 5), (1, 3)])
    [(1, 2), (3, 2)]
    """
    order = sorted(range(len(spans)), key=lambda place: spans[place])
    return [
        (first, second)
        for number, first in enumerate(order)
        for second in order[number + 1 : number + 1 + NEIGHBOURS]
        if 0 <= spans[second][0] - spans[first][1] <= REACH
    ]
