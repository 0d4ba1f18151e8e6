"""MNER text files: BIO, one word and tag a line, each sentence under its ``IMGID:`` line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mkgc_cl.data.locate import MNER_SPLITS, check_split
from mkgc_cl.data.mre import is_file_name
from mkgc_cl.data.sample_checks import continues
from mkgc_cl.data.samples import Place, TaggingSample
from mkgc_cl.data.textfile import Report, TextFile, raise_first, read_text, shown
from mkgc_cl.errors import DataError

#: Entity types of Twitter-2017. ``OTHER`` of older copies is read as ``MISC``.
TYPES = ("PER", "LOC", "ORG", "MISC")

_TAG = re.compile("O|[BI]-(?:" + "|".join(TYPES) + ")")
_HEADER = "IMGID:"


@dataclass(frozen=True, slots=True)
class TaggingRow:
    """One sentence of an MNER file.

    Args:
        sample: the sample, without images.
        image: name of its image without ``.jpg``.
        line: 1-based line of its ``IMGID:``.
    """

    sample: TaggingSample
    image: str
    line: int

    @property
    def content(self) -> tuple[object, ...]:
        """What a sentence is recognised by in a split file, where tags may be hidden."""
        return (self.image, self.sample.tokens)


def read_mner(path: Path, *, split: str) -> tuple[TaggingRow, ...]:
    """Read an MNER file; sentence ``i`` gets the uid ``mner/{split}/{i}``.

    The result of the last files read is kept in memory as long as their bytes do not change.

    Raises:
        MissingDataError: there is no such file.
        DataError: the first line that is not what the format says.
    """
    return _rows(read_text(path), check_split(split, MNER_SPLITS))


@lru_cache(maxsize=32)
def _rows(text: TextFile, split: str) -> tuple[TaggingRow, ...]:
    return scan_mner(text, split=split)


def scan_mner(
    text: TextFile, *, split: str, report: Report = raise_first
) -> tuple[TaggingRow, ...]:
    """Parse every sentence of ``text``.

    A last sentence without the blank line that should end it is kept (the released code loses it).

    Args:
        text: the file.
        split: split name, for the uids.
        report: gets each line that is wrong; where it returns, the sentence is left out.
    """
    scan = _Scan(text, split, report)
    for number, line in enumerate(text.lines, 1):
        scan.line(number, line)
    scan.close()
    return tuple(scan.rows)


class _Scan:
    """The sentence being read, and those that are complete."""

    def __init__(self, text: TextFile, split: str, report: Report) -> None:
        self.text = text
        self.split = split
        self.report = report
        self.rows: list[TaggingRow] = []
        self._lines_by_content: dict[tuple[object, ...], int] = {}
        self._sentences = 0
        self._start: int | None = None
        self._begin(None, "")

    def _begin(self, line: int | None, image: str) -> None:
        self._start, self._image, self._good = line, image, True
        self._words: list[str] = []
        self._tags: list[str] = []

    def _problem(self, message: str, line: int) -> None:
        self._good = False
        self.report(DataError(message, path=self.text.path, line=line))

    def line(self, number: int, line: str) -> None:
        """Take one line."""
        if not line:
            self.close()
        elif line.startswith(_HEADER):
            if self._start is not None:
                self._problem(
                    "expected a blank line after the sentence that starts at line "
                    f"{self._start}, found the next IMGID; add the blank line",
                    number,
                )
                self.close()
            self._begin(number, line.removeprefix(_HEADER))
            if not is_file_name(self._image):
                self._problem(
                    f"expected an image id after IMGID:, found {line!r}; write the name of the "
                    "image without its extension",
                    number,
                )
        else:
            self._word(number, line)

    def _word(self, number: int, line: str) -> None:
        if self._start is None:
            self._problem(
                f"expected an IMGID: line before the words of a sentence, found {shown(line)}; "
                "add the line with the id of the image",
                number,
            )
            # One report a sentence is enough.
            self._begin(number, "")
            self._good = False
        parts = line.split("\t")
        if len(parts) != 2 or not parts[0].strip():
            if self._good:
                self._problem(
                    f"expected word, tab, tag, found {shown(line)}; correct or remove the line",
                    number,
                )
            return
        word, tag = parts
        if tag.endswith("-OTHER"):
            tag = tag.removesuffix("OTHER") + "MISC"
        self._check_tag(tag, number)
        self._words.append(word)
        self._tags.append(tag)

    def _check_tag(self, tag: str, number: int) -> None:
        if not self._good:
            return
        if not _TAG.fullmatch(tag):
            self._problem(
                f"expected O, B- or I- with one of {', '.join(TYPES)}, found the tag {tag!r}; "
                "correct the tag",
                number,
            )
        elif tag[0] == "I":
            before = self._tags[-1] if self._tags else "the start of the sentence"
            if not continues(tag, before):
                self._problem(
                    f"expected {tag} to follow B-{tag[2:]} or {tag}, found it after {before}; "
                    f"an entity starts with B-{tag[2:]}",
                    number,
                )

    def close(self) -> None:
        """End the sentence, if there is one."""
        if self._start is None:
            return
        number = self._sentences
        self._sentences += 1
        if self._good and not self._words:
            self._problem(
                "expected words after IMGID:, found an empty sentence; remove it", self._start
            )
        if self._good:
            uid = f"mner/{self.split}/{number}"
            place = Place(self.text.path, self._start)
            sample = TaggingSample(uid, tuple(self._words), tuple(self._tags), place=place)
            row = TaggingRow(sample, self._image, self._start)
            first = self._lines_by_content.setdefault(row.content, self._start)
            if first == self._start:
                self.rows.append(row)
            else:
                self._problem(
                    "expected each sentence of an image once, found a duplicate of line "
                    f"{first} (IMGID:{self._image}); remove one of the two",
                    self._start,
                )
        self._begin(None, "")
