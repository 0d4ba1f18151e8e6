"""CoNLL files: a word and its tag a line, in any columns; sentences parted by blank lines.

A sentence may have an image: by a line ``IMGID:name`` above its words, or in a column of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mkgc_cl.data.files.records import Account, Record, image_problem
from mkgc_cl.data.files.schemes import Scheme, as_bio, recognize, tag_problem
from mkgc_cl.data.samples import Place, TaggingSample
from mkgc_cl.data.textfile import TextFile, shown
from mkgc_cl.errors import DataError

Separator = Literal["auto", "tab", "space"]

HEADER = "IMGID:"
DOCUMENT = "-DOCSTART-"

# Only these part columns and sentences: a word may be white space to Unicode (U+00A0, U+3000).
_SPACES = re.compile("[ \t]+")


@dataclass(frozen=True, slots=True)
class Columns:
    """Where words, tags and images stand in a line.

    Args:
        word: column of the word, from 0; negative ones count from the last.
        tag: column of the tag.
        image: column of the image's name; ``None`` where there is none.
        separator: what parts columns: one tab, any run of spaces and tabs, or (``"auto"``) the
            former where most lines of words have a tab.
        headed: whether every sentence must have a line ``IMGID:name``.
    """

    word: int = 0
    tag: int = -1
    image: int | None = None
    separator: Separator = "auto"
    headed: bool = False

    @property
    def least(self) -> int:
        """How many columns a line must have."""
        named = [c for c in (self.word, self.tag, self.image) if c is not None]
        return max(2, *(c + 1 if c >= 0 else -c for c in named))


@dataclass(slots=True)
class Sentence:
    """A sentence as it stands in the file.

    Args:
        place: its first line.
        image: name of its image.
        lines: 1-based line of every word.
        words: the words.
        tags: the tags, in whatever scheme.
    """

    place: Place
    image: str | None
    lines: list[int]
    words: list[str]
    tags: list[str]


def scan_conll(text: TextFile, columns: Columns, account: Account) -> list[Sentence]:
    """Return the sentences of a file.

    A sentence with a line that is wrong is left out, and the line noted in ``account``.
    """
    scan = _Scan(text, columns, account)
    for number, line in enumerate(text.lines, 1):
        scan.line(number, line)
    scan.close()
    return scan.sentences


def tagged_records(
    sentences: Sequence[Sentence], scheme: Scheme, prefix: str, account: Account
) -> list[Record]:
    """Turn sentences into records with BIO tags.

    Args:
        sentences: of one split, in order: sentence ``i`` gets the uid ``{prefix}/{i}``.
        scheme: the scheme of their tags.
        prefix: of the uids.
        account: gets tags that break the scheme, or counts them as repaired.
    """
    records = []
    for number, sentence in enumerate(sentences):
        bio, faults = as_bio(sentence.tags, scheme)
        for position, words in faults:
            path, line = sentence.place.path, sentence.lines[position]
            message = f"expected tags in {scheme}, {words}"
            account.repair("conlleval", DataError(message, path=path, line=line))
        sample = TaggingSample(
            f"{prefix}/{number}", tuple(sentence.words), bio, place=sentence.place
        )
        records.append(Record(sample, sentence.image))
    return records


def scheme_of(sentences: Sequence[Sentence]) -> Scheme:
    """Recognize the scheme of sentences, those of all splits together."""
    return recognize(sentence.tags for sentence in sentences)


class _Scan:
    """The sentence being read, and those that are complete."""

    def __init__(self, text: TextFile, columns: Columns, account: Account) -> None:
        self.path: Path = text.path
        self.columns = columns
        self.account = account
        self.sentences: list[Sentence] = []
        self._tabs = columns.separator == "tab" or (
            columns.separator == "auto" and _mostly_tabs(text.lines)
        )
        self._width: tuple[int, int] | None = None  # columns of the first line of words, its line
        self._header: tuple[int, str] | None = None
        self._sentence: Sentence | None = None
        self._good = True

    def line(self, number: int, line: str) -> None:
        """Take one line."""
        if not line.strip(" \t"):
            self.close()
        elif line.startswith(HEADER):
            self.close()
            self._header = (number, line.removeprefix(HEADER).strip(" \t"))
            if wrong := image_problem(self._header[1]):
                self._problem(wrong, number)
        elif line.startswith(DOCUMENT) and self._split(line)[0] == DOCUMENT:
            self.close()
        else:
            self._word(number, self._split(line))

    def close(self) -> None:
        """End the sentence, if there is one."""
        if self._sentence is not None:
            if self._good:
                self.sentences.append(self._sentence)
        elif self._header is not None and self._good:
            self._problem(
                "expected words below the image, found an empty sentence", self._header[0]
            )
        self._sentence, self._header, self._good = None, None, True

    def _split(self, line: str) -> list[str]:
        return line.split("\t") if self._tabs else _SPACES.split(line.strip(" \t"))

    def _word(self, number: int, parts: list[str]) -> None:
        sentence, columns = self._sentence, self.columns
        if sentence is None:
            start, image = self._header or (number, None)
            sentence = self._sentence = Sentence(Place(self.path, start), image, [], [], [])
            if columns.headed and self._header is None:
                self._problem(
                    f"expected an {HEADER} line before the words of a sentence, found "
                    f"{shown(' '.join(parts))}",
                    number,
                    advice="add the line with the name of the image",
                )
        if len(parts) < columns.least:
            found = f"{len(parts)} ({shown(' '.join(parts))})"
            self._problem(f"expected at least {columns.least} columns, found {found}", number)
            return
        self._width = self._width or (len(parts), number)
        if len(parts) != self._width[0]:
            self._problem(
                f"expected {self._width[0]} columns as in line {self._width[1]}, found "
                f"{len(parts)} ({shown(' '.join(parts))})",
                number,
            )
            return
        word, tag = parts[columns.word], parts[columns.tag].strip(" ")
        if not word:
            self._problem(f"expected a word in column {columns.word}, found none", number)
        elif wrong := tag_problem(tag):
            self._problem(wrong, number)
        if columns.image is not None:
            image = parts[columns.image]
            if sentence.words and image != sentence.image:
                self._problem(
                    f"expected the image {sentence.image!r} of the sentence, found {image!r}",
                    number,
                )
            elif wrong := image_problem(image):
                self._problem(wrong, number)
            sentence.image = image
        sentence.lines.append(number)
        sentence.words.append(word)
        sentence.tags.append(tag)

    def _problem(
        self, message: str, line: int, *, advice: str = "correct or remove the line"
    ) -> None:
        # the first mistake of a sentence is enough
        if self._good:
            error = DataError(f"{message}; {advice}", path=self.path, line=line)
            self.account.problems.append(error)
        self._good = False


def _mostly_tabs(lines: Sequence[str]) -> bool:
    words = [line for line in lines if line.strip(" \t") and not line.startswith(HEADER)]
    return 2 * sum("\t" in line for line in words) > len(words)
