"""MNER text files: one word and tag a line, each sentence under its ``IMGID:`` line.

They are CoNLL files (:mod:`mkgc_cl.data.files.conll`) with a line for the image of every sentence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mkgc_cl.data.files.conll import Columns, Sentence, scan_conll, scheme_of, tagged_records
from mkgc_cl.data.files.records import Account
from mkgc_cl.data.files.schemes import Scheme
from mkgc_cl.data.locate import MNER_SPLITS, check_split
from mkgc_cl.data.samples import TaggingSample
from mkgc_cl.data.textfile import Report, TextFile, raise_first, read_text
from mkgc_cl.errors import DataError

#: Entity types of Twitter-2017. ``OTHER`` of older copies is read as ``MISC``.
TYPES = ("PER", "LOC", "ORG", "MISC")

_COLUMNS = Columns(word=0, tag=1, separator="tab", headed=True)


@dataclass(frozen=True, slots=True)
class TaggingRow:
    """One sentence of an MNER file.

    Args:
        sample: the sample, without images.
        image: name of its image, usually without ``.jpg``.
        lines: 1-based line of every word.
    """

    sample: TaggingSample
    image: str
    lines: tuple[int, ...]

    @property
    def line(self) -> int:
        """1-based line of its ``IMGID:``."""
        return self.sample.place.line if self.sample.place else 1

    @property
    def content(self) -> tuple[object, ...]:
        """What a sentence is recognised by in a split file, where tags may be hidden."""
        return (self.image, self.sample.tokens)


@dataclass(frozen=True, slots=True)
class FullFiles:
    """The full files.

    Args:
        rows: sentences by split.
        scheme: the scheme that they are tagged in.
        repaired: number of tags that break it, where these were to be repaired.
    """

    rows: Mapping[str, tuple[TaggingRow, ...]]
    scheme: Scheme
    repaired: int

    @property
    def types(self) -> Counter[str]:
        """Mentions of every type on the training set."""
        return Counter(
            tag[2:] for row in self.rows["train"] for tag in row.sample.tags if tag[0] == "B"
        )


def read_full_mner(files: Mapping[str, Path], *, repair: str = "") -> FullFiles:
    """Read the full files; sentence ``i`` gets the uid ``mner/{split}/{i}``.

    The result of the last files read is kept in memory as long as their bytes do not change.

    Args:
        files: by split.
        repair: ``"conlleval"`` to read tags that break their scheme as conlleval does.

    Raises:
        MissingDataError: there is no such file.
        DataError: the first line that is not what the format says.
    """
    texts = tuple((split, read_text(path)) for split, path in files.items())
    return _full(texts, repair)


@lru_cache(maxsize=8)
def _full(texts: tuple[tuple[str, TextFile], ...], repair: str) -> FullFiles:
    return scan_full_mner(dict(texts), repair=repair)


def scan_full_mner(
    texts: Mapping[str, TextFile], *, repair: str = "", report: Report = raise_first
) -> FullFiles:
    """Parse every sentence of the full files, in the scheme that they show together.

    Args:
        texts: the files by split.
        repair: see :func:`read_full_mner`.
        report: gets each line that is wrong; where it returns, its sentence is left out.
    """
    found = {split: _sentences(text, report) for split, text in texts.items()}
    scheme = scheme_of([s for sentences in found.values() for s in sentences])
    account = Account(_repairs(repair))
    rows = {
        split: _rows(sentences, split, scheme, account, report)
        for split, sentences in found.items()
    }
    return FullFiles(rows, scheme, account.repaired["conlleval"])


def read_mner(path: Path, *, split: str) -> tuple[TaggingRow, ...]:
    """Read one MNER file.

    Raises:
        MissingDataError: there is no such file.
        DataError: the first line that is not what the format says.
    """
    return read_full_mner({check_split(split, MNER_SPLITS): path}).rows[split]


def scan_mner(
    text: TextFile,
    *,
    split: str,
    scheme: Scheme = "BIO",
    repair: str = "",
    report: Report = raise_first,
) -> tuple[TaggingRow, ...]:
    """Parse every sentence of a file.

    A last sentence without the blank line that should end it is kept (the released code loses it).

    Args:
        text: the file.
        split: split name, for the uids.
        scheme: of its tags.
        repair: see :func:`read_full_mner`.
        report: gets each line that is wrong; where it returns, the sentence is left out.
    """
    account = Account(_repairs(repair))
    return _rows(_sentences(text, report), split, scheme, account, report)


def _repairs(repair: str) -> frozenset[str]:
    return frozenset((repair,) if repair else ())


def _sentences(text: TextFile, report: Report) -> list[Sentence]:
    account = Account()
    sentences = scan_conll(text, _COLUMNS, account)
    for problem in account.problems:
        report(problem)
    for sentence in sentences:
        sentence.tags[:] = [
            tag.removesuffix("OTHER") + "MISC" if tag.endswith("-OTHER") else tag
            for tag in sentence.tags
        ]
    return sentences


def _rows(
    sentences: Sequence[Sentence], split: str, scheme: Scheme, account: Account, report: Report
) -> tuple[TaggingRow, ...]:
    before = len(account.problems)
    records = tagged_records(sentences, scheme, f"mner/{split}", account)
    broken = account.problems[before:]
    for problem in broken:
        report(problem)
    bad = {problem.line for problem in broken}
    rows: list[TaggingRow] = []
    first: dict[tuple[object, ...], int] = {}
    for record, sentence in zip(records, sentences, strict=True):
        sample = record.sample
        if not isinstance(sample, TaggingSample) or not bad.isdisjoint(sentence.lines):
            continue
        row = TaggingRow(sample, record.image or "", tuple(sentence.lines))
        earlier = first.setdefault(row.content, row.line)
        if earlier == row.line:
            rows.append(row)
            continue
        report(
            DataError(
                "expected each sentence of an image once, found a duplicate of line "
                f"{earlier} (IMGID:{row.image}); remove one of the two",
                path=sentence.place.path,
                line=row.line,
            )
        )
    return tuple(rows)


def first_of_type(full: FullFiles, types: Collection[str]) -> DataError | None:
    """Return an error that names the first mention of a type outside ``types``, if there is one."""
    for rows in full.rows.values():
        for row in rows:
            for word, tag in enumerate(row.sample.tags):
                if tag != "O" and tag[2:] not in types:
                    path = row.sample.place.path if row.sample.place else None
                    return DataError(
                        f"expected the types {', '.join(sorted(types))}, found the tag {tag!r}; "
                        "correct the tag, or read the files with stream_from_files, which takes "
                        "any types",
                        path=path,
                        line=row.lines[word],
                    )
    return None
