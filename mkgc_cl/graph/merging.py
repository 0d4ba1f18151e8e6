"""Which mentions are one node: a rule that looks at a mention alone.

A rule returns a key, and mentions of equal keys are one node. As it looks at no other mention, the
order in which these arrive can change nothing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

MergeRule = Callable[[str, str | None], str]
"""From the text of a mention and its type to the key of its node."""


def plain_name(text: str) -> str:
    """A name without what varies from mention to mention: case, accents' coding, blanks, a sign.

    >>> plain_name("  @The  BEATLES. "), plain_name("#London")
    ('the beatles', 'london')
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = (word.strip("@#.,:;!?'\"()") for word in folded.split())
    return " ".join(word for word in words if word) or folded.strip()


def by_name_and_type(text: str, kind: str | None) -> str:
    """The default: equal names of one type are one node.

    >>> by_name_and_type("London", "LOC") == by_name_and_type("LONDON", "LOC")
    True
    >>> by_name_and_type("Jordan", "LOC") == by_name_and_type("Jordan", "PER")
    False
    """
    return f"{kind or ''}/{plain_name(text)}"


def by_name(text: str, kind: str | None) -> str:
    """Equal names are one node, whatever their types; its type is the most frequent one."""
    return plain_name(text)


RULES: dict[str, MergeRule] = {rule.__name__: rule for rule in (by_name_and_type, by_name)}
