"""Words to token ids, word by word, so that every word keeps a token of its own."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from mkgc_cl._checks import one_of, require
from mkgc_cl.errors import ConfigError

MARKERS = ("<s>", "</s>", "<o>", "</o>")
"""Markers round the head and the tail entity, as in the released code."""

PUNCTUATION = ("@", "@", "#", "#")
"""Markers that an encoder knows before it is trained (Zhou and Chen, AACL 2022)."""

MarkerKind = Literal["new", "punctuation"]

REMEMBERED_WORDS = 2**16
"""Most words whose pieces are kept: a few thousand make up most of any text."""


class WordTokenizer(Protocol):
    """What an encoder's tokenizer must offer.

    Attributes:
        cls_id: id that opens every sequence.
        sep_id: id that closes every sequence.
        pad_id: id of padding.
        marker_ids: ids of :data:`MARKERS`, or of :data:`PUNCTUATION`.
        vocabulary: number of ids, markers included.
    """

    cls_id: int
    sep_id: int
    pad_id: int
    marker_ids: tuple[int, int, int, int]
    vocabulary: int

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each word, at least one per word."""
        ...


class PretrainedTokenizer:
    """A Hugging Face tokenizer, with entity markers.

    Args:
        tokenizer: a ``PreTrainedTokenizerBase``.
        markers: ``"new"`` adds four marker tokens, which only training gives a meaning;
            ``"punctuation"`` puts ``@`` round heads and ``#`` round tails, which a frozen encoder
            knows.
        marker_ids: of a tokenizer that was saved with its markers.

    Raises:
        ConfigError: the kind of markers is unknown, or the vocabulary lacks the punctuation.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        markers: MarkerKind = "new",
        marker_ids: tuple[int, int, int, int] | None = None,
    ) -> None:
        check_markers(markers)
        self.markers: MarkerKind = markers
        self._tokenizer = tokenizer
        self.cls_id: int = tokenizer.cls_token_id
        self.sep_id: int = tokenizer.sep_token_id
        self.pad_id: int = tokenizer.pad_token_id
        self._unknown: int = tokenizer.unk_token_id
        self._known: dict[str, list[int]] = {}
        if marker_ids is not None:
            first, second, third, fourth = marker_ids
        elif markers == "new":
            present = set(tokenizer.get_vocab())
            # RoBERTa's own <s> and </s> open and close its sequences: markers need other names
            names = [name if name not in present else f"[{name}]" for name in MARKERS]
            tokenizer.add_special_tokens({"additional_special_tokens": names})
            first, second, third, fourth = tokenizer.convert_tokens_to_ids(names)
        else:
            pieces = self.encode_words(PUNCTUATION)
            if any(len(ids) > 1 or ids[0] == self._unknown for ids in pieces):
                raise ConfigError(
                    [
                        "markers='punctuation', but '@' or '#' is no token of this vocabulary; use "
                        "markers='new'"
                    ]
                )
            first, second, third, fourth = (ids[0] for ids in pieces)
        self.marker_ids = (first, second, third, fourth)
        self.vocabulary = len(tokenizer)

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files."""
        self._tokenizer.save_pretrained(str(folder))

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """Return the word-piece ids of each word.

        RELEASED CODE drops words the tokenizer maps to nothing (variation selectors, zero-width
        joiners), which shifts tags; here they become the unknown token and keep their place.

        A word that spells a special token (``[SEP]``, ``<s>``) is text like any other: it must not
        close the sample or stand for an entity marker.
        """
        known = self._known
        new = [word for word in dict.fromkeys(words) if word not in known]
        if new:
            # The space matters to RoBERTa's tokenizer alone, which knows a word's start by it.
            encoded = self._tokenizer(
                [f" {word}" for word in new],
                add_special_tokens=False,
                return_attention_mask=False,
                split_special_tokens=True,
            )["input_ids"]
            if len(known) + len(new) > REMEMBERED_WORDS:
                self._known = known = {word: known[word] for word in words if word in known}
            known.update(
                (w, list(ids) or [self._unknown]) for w, ids in zip(new, encoded, strict=True)
            )
        return [list(known[word]) for word in words]


class HashTokenizer:
    """One id a word, by a stable hash of its lower-cased form: no vocabulary to fit or to leak.

    Args:
        buckets: number of word ids; two words share an id with probability 1 / buckets.
        markers: see :class:`PretrainedTokenizer`; punctuation has the ids of these words.

    Raises:
        ConfigError: the kind of markers is unknown.

    >>> HashTokenizer(buckets=100).encode_words(["Jordan", "jordan"])
    [[24], [24]]
    """

    def __init__(self, *, buckets: int, markers: MarkerKind = "new") -> None:
        check_markers(markers)
        self.markers: MarkerKind = markers
        self.pad_id, self.cls_id, self.sep_id = 0, 1, 2
        self.marker_ids = (3, 4, 5, 6)
        self._first = 7
        self.buckets = buckets
        self.vocabulary = self._first + buckets
        if markers == "punctuation":
            first, second, third, fourth = (ids[0] for ids in self.encode_words(PUNCTUATION))
            self.marker_ids = (first, second, third, fourth)

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """Return one id in a list for each word."""
        return [[self._first + zlib.crc32(w.lower().encode()) % self.buckets] for w in words]


def check_markers(markers: str) -> None:
    """Raise :class:`ConfigError` for a kind of markers there is not."""
    require(one_of("markers", markers, get_args(MarkerKind)))
