"""MRE text files: one Python dict literal a line, read without executing anything."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PureWindowsPath

from mkgc_cl._checks import did_you_mean
from mkgc_cl.data.locate import MRE_SPLITS, check_split
from mkgc_cl.data.negative import NEGATIVE, require_negative
from mkgc_cl.data.samples import Place, RelationSample
from mkgc_cl.data.textfile import (
    Report,
    TextFile,
    is_text,
    raise_first,
    read_bytes,
    read_text,
    shown,
)
from mkgc_cl.errors import DataError

KEYS = frozenset({"token", "h", "t", "img_id", "relation"})

#: Most characters of a line.
MAX_LINE = 1_000_000

#: An image id that is a number is below this one.
MAX_ID = 10**30

# Everything `ast.literal_eval` raises on text that is not a literal.
_NOT_A_LITERAL = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)

# What to do about a bad file of relation names.
_OPTIONAL = "fetch the file again or remove it (it is optional)"


@dataclass(frozen=True, slots=True)
class RelationRow:
    """One line of an MRE file.

    Args:
        sample: the sample, without images.
        image: file name of its image.
    """

    sample: RelationSample
    image: str

    @property
    def content(self) -> tuple[object, ...]:
        """Everything but the identity: equal content means the same line."""
        sample = self.sample
        return (sample.tokens, sample.head, sample.tail, sample.relation, self.image)


class _BadRowError(ValueError):
    """What is wrong with a line and what to do; the caller knows which line it is."""

    def __init__(self, wrong: str, advice: str = "correct or remove the line") -> None:
        super().__init__(f"{wrong}; {advice}")


def read_relation_names(path: Path, *, negative: str = NEGATIVE) -> tuple[str, ...]:
    """Read ``ours_rel2id.json``: every relation, N/A included, by id.

    Args:
        path: the file.
        negative: name of the negative relation.

    Raises:
        MissingDataError: there is no such file.
        DataError: not a JSON object of distinct integer ids with the negative relation.
    """
    data = read_bytes(path)  # outside: its errors are ValueErrors, too
    try:
        table = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"expected JSON, found something else ({error}); {_OPTIONAL}", path=path
        ) from error
    if not isinstance(table, dict) or not all(type(i) is int for i in table.values()):
        raise DataError(
            f"expected an object of relation names and integer ids, found {shown(table)}; "
            f"{_OPTIONAL}",
            path=path,
        )
    if len(set(table.values())) != len(table):
        raise DataError(f"expected distinct ids, found {shown(table)}; {_OPTIONAL}", path=path)
    require_negative(table, negative, path)
    return tuple(sorted(table, key=lambda name: int(table[name])))


def read_mre(
    path: Path, *, split: str, relations: tuple[str, ...] | None = None
) -> tuple[RelationRow, ...]:
    """Read a full MRE file; row ``i`` gets the uid ``mre/{split}/{i}``.

    The result of the last files read is kept in memory as long as their bytes do not change.

    Args:
        path: the file.
        split: ``"train"``, ``"val"`` or ``"test"``.
        relations: the relations that may occur; ``None`` accepts any.

    Raises:
        MissingDataError: there is no such file.
        DataError: the first line that is not what the format says.
    """
    return _rows(read_text(path), check_split(split, MRE_SPLITS), relations)


@lru_cache(maxsize=8)
def _rows(text: TextFile, split: str, relations: tuple[str, ...] | None) -> tuple[RelationRow, ...]:
    return tuple(row for row in scan_mre(text, split=split, relations=relations) if row)


def scan_mre(
    text: TextFile,
    *,
    split: str,
    relations: tuple[str, ...] | None = None,
    report: Report = raise_first,
) -> tuple[RelationRow | None, ...]:
    """Parse every line of ``text``.

    Args:
        text: the file.
        split: split name, for the uids.
        relations: the relations that may occur; ``None`` accepts any.
        report: gets each line that is wrong; where it returns, the row is ``None``.
    """
    known = None if relations is None else frozenset(relations)
    rows: list[RelationRow | None] = []
    lines_by_content: dict[tuple[object, ...], int] = {}
    for number, line in enumerate(text.lines, 1):
        row = None
        try:
            place = Place(text.path, number)
            row = parse_row(line, uid=f"mre/{split}/{number - 1}", known=known, place=place)
            first = lines_by_content.setdefault(row.content, number)
            if first != number:
                raise _BadRowError(
                    f"expected each row once, found a duplicate of line {first}",
                    "remove one of the two",
                )
        except _BadRowError as error:
            report(DataError(str(error), path=text.path, line=number))
        rows.append(row)
    return tuple(rows)


def parse_row(
    line: str, *, uid: str, known: frozenset[str] | None = None, place: Place | None = None
) -> RelationRow:
    """Parse one line.

    Args:
        line: the line, without its end.
        uid: identity the sample gets.
        known: the relations that may occur; ``None`` accepts any.
        place: where the line stands.

    Raises:
        ValueError: what is wrong with it.
    """
    try:
        if len(line) > MAX_LINE:
            raise ValueError(
                "longer than any sample; the parser would need a hundred times its size"
            )
        value = ast.literal_eval(line)
    except _NOT_A_LITERAL as error:
        raise _BadRowError(
            f"expected one Python dict literal, found {shown(line)} "
            "(nothing in a data file is executed)"
        ) from error
    if not isinstance(value, dict) or value.keys() != KEYS:
        found = list(value) if isinstance(value, dict) else type(value).__name__
        raise _BadRowError(
            f"expected a dict with the keys {sorted(KEYS)}, found {shown(found, 120)}"
        )
    tokens, image, relation = value["token"], value["img_id"], value["relation"]
    if type(image) is int:
        image = str(image) if abs(image) < MAX_ID else shown(image)
    if not isinstance(tokens, list) or not tokens:
        raise _BadRowError(f"expected 'token' to be a list of words, found {shown(tokens)}")
    if not all(isinstance(token, str) and token and is_text(token) for token in tokens):
        raise _BadRowError(f"expected words in 'token', found {shown(tokens)}")
    if not isinstance(image, str) or not is_file_name(image):
        raise _BadRowError(f"expected a plain file name in 'img_id', found {shown(image)}")
    if not isinstance(relation, str) or not is_text(relation):
        raise _BadRowError(f"expected 'relation' to be a string, found {shown(relation)}")
    if known is not None and relation not in known:
        raise _unknown(relation, known)
    words = tuple(tokens)
    head, tail = (_span(value[side], side, words) for side in "ht")
    return RelationRow(RelationSample(uid, words, head, tail, relation, place=place), image)


def is_file_name(name: str) -> bool:
    """Whether ``name`` names a file and cannot lead out of its folder, on Windows either."""
    plain = name not in ("", "..") and PureWindowsPath(name).name == name and "\0" not in name
    return plain and is_text(name)


def _span(value: object, side: str, tokens: tuple[str, ...]) -> tuple[int, int]:
    if not isinstance(value, dict) or value.keys() != {"name", "pos"}:
        raise _BadRowError(f"expected {side!r} to hold 'name' and 'pos', found {shown(value)}")
    name, pos = value["name"], value["pos"]
    if (
        not isinstance(pos, (list, tuple))
        or len(pos) != 2
        or not all(type(edge) is int for edge in pos)
    ):
        raise _BadRowError(f"expected {side!r} 'pos' to be [start, end), found {shown(pos)}")
    start, end = pos
    if not 0 <= start < end <= len(tokens):
        raise _BadRowError(
            f"expected {side!r} 'pos' inside the {len(tokens)} tokens and not empty, "
            f"found [{shown(start)}, {shown(end)})",
            "correct the span",
        )
    if name != " ".join(tokens[start:end]):
        raise _BadRowError(
            f"expected {side!r} 'name' to equal its tokens {' '.join(tokens[start:end])!r}, "
            f"found {shown(name)}",
            "correct name or span",
        )
    return start, end


def _unknown(relation: str, known: frozenset[str]) -> _BadRowError:
    hint = did_you_mean(relation, sorted(known)).strip()
    hint = hint or "correct it or add it to ours_rel2id.json"
    return _BadRowError(
        f"expected one of the {len(known)} relations of ours_rel2id.json, found {relation!r}", hint
    )
