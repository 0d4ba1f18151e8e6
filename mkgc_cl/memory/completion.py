"""Labels that an exemplar's task left out, filled in by what a model reads now."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def completed_tags(tags: Sequence[str], read: Sequence[str]) -> tuple[str, ...]:
    """Put entities that a model reads where a sample says ``O``, whole or not at all.

    A task labels every mention of its own types and calls all others ``O``. So an entity that is
    read counts where all of its words are ``O``, and where its type is none that the sample's own
    labels have: of those none is missing.

    Args:
        tags: the sample's BIO tags (W).
        read: the model's BIO tags of the same words (W).

    Returns:
        The tags (W).

    >>> completed_tags(["B-PER", "O", "O", "O"], ["O", "O", "B-LOC", "I-LOC"])
    ('B-PER', 'O', 'B-LOC', 'I-LOC')
    >>> completed_tags(["B-PER", "O"], ["B-LOC", "B-PER"])
    ('B-PER', 'O')
    """
    own = {tag[2:] for tag in tags if tag != "O"}
    found = list(tags)
    # wherever a tag does not go on with the entity before, something begins
    begins = [i for i, tag in enumerate(read) if not tag.startswith("I-")]
    for start, end in pairwise([*begins, len(read)]):
        entity = read[start:end]
        free = all(tag == "O" for tag in tags[start:end])
        if entity[0] != "O" and free and entity[0][2:] not in own:
            found[start:end] = entity
    return tuple(found)
