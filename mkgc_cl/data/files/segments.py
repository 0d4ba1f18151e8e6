"""Raw text cut into words, and character offsets turned into spans of them."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import lru_cache

# Scripts written without spaces: each character is a word, as in BERT's basic tokenizer.
_ALONE = (
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2FA1F),
)

Edges = tuple[int, int]


def cut_words(text: str) -> list[Edges]:
    """Cut raw text into words: where each begins and ends.

    Letters, marks and digits of a run make one word, every other character that is not white space
    is one, and every Han or Kana character.

    >>> text = "Zoë's at 東京."
    >>> [text[a:b] for a, b in cut_words(text)]
    ['Zoë', "'", 's', 'at', '東', '京', '.']
    """
    words: list[Edges] = []
    start: int | None = None
    for index, character in enumerate(text):
        joins = _joins(character)
        if start is not None and not joins:
            words.append((start, index))
            start = None
        if joins and start is None:
            start = index
        elif not joins and not character.isspace():
            words.append((index, index + 1))
    if start is not None:
        words.append((start, len(text)))
    return words


def joined(tokens: Sequence[str]) -> list[Edges]:
    """Where each token begins and ends in the tokens joined by one space.

    >>> joined(["New", "York"])
    [(0, 3), (4, 8)]
    """
    words, start = [], 0
    for token in tokens:
        words.append((start, start + len(token)))
        start += len(token) + 1
    return words


def span_of(words: Sequence[Edges], start: int, end: int) -> tuple[int, int, bool]:
    """Return the words that the characters ``start`` to ``end`` touch, and whether these are whole.

    White space at the edges of the characters does not count.

    >>> span_of([(0, 3), (4, 8)], 4, 8), span_of([(0, 3), (4, 8)], 2, 4)
    ((1, 2, True), (0, 1, False))
    """
    first = bisect_right([edge for _, edge in words], start)
    last = bisect_left([edge for edge, _ in words], end)
    exact = first < last and start <= words[first][0] and end >= words[last - 1][1]
    return first, last, exact


@lru_cache(maxsize=4096)
def _joins(character: str) -> bool:
    code = ord(character)
    if any(low <= code <= high for low, high in _ALONE):
        return False
    kind = unicodedata.category(character)
    return kind[0] in "LMN" or kind in ("Pc", "Cf")
