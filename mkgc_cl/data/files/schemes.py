"""Tag schemes: BIO, IOB1, BIOES and BILOU, recognized in a corpus and read as BIO.

Whatever the scheme, entities are read as ``conlleval`` reads them (Tjong Kim Sang and Buchholz,
CoNLL-2000): one begins at ``B`` and ``S``, after ``O``, ``E`` and ``S``, and where the type
changes. In a sequence that obeys its scheme that is the only reading; where it does not, the tags
that break it are named, and reading them nevertheless is a choice (``repair="conlleval"``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

Scheme = Literal["BIO", "IOB1", "BIOES", "BILOU"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)

#: Prefixes of each scheme, as those of BIOES.
_PREFIXES: dict[Scheme, dict[str, str]] = {
    "BIO": {"B": "B", "I": "I"},
    "IOB1": {"B": "B", "I": "I"},
    "BIOES": {"B": "B", "I": "I", "E": "E", "S": "S"},
    "BILOU": {"B": "B", "I": "I", "L": "E", "U": "S"},
}
# What stands before the first word and behind the last: outside, with a kind that no tag has.
_EDGE = ("O", "\n")
# A type may hold anything, hyphens and slashes too.
_TAG = re.compile(r"([BIESLU])-(.+)", re.DOTALL)

_Parsed = tuple[str, str]


def tag_problem(tag: str) -> str | None:
    """Say what is wrong with a tag in any scheme, ``None`` where nothing is.

    >>> tag_problem("B-person/artist"), tag_problem("O"), tag_problem("B")
    (None, None, "expected O or a prefix (B, I, E, S, L, U), '-' and a type, found the tag 'B'")
    """
    if tag == "O" or _TAG.fullmatch(tag):
        return None
    return f"expected O or a prefix (B, I, E, S, L, U), '-' and a type, found the tag {tag!r}"


def recognize(sentences: Iterable[Sequence[str]]) -> Scheme:
    """Return the scheme that a corpus is tagged in.

    ``E`` or ``S`` means BIOES, ``L`` or ``U`` BILOU. With ``B`` and ``I`` alone it is IOB1 where an
    entity begins with ``I`` and every ``B`` stands right behind an entity of its type, else BIO.

    >>> recognize([["I-PER", "I-PER", "O"], ["I-LOC", "B-LOC"]])
    'IOB1'
    >>> recognize([["I-PER", "O", "B-LOC"]])  # BIO with a mistake
    'BIO'

    Args:
        sentences: the tags of each sentence, of all files.
    """
    prefixes: set[str] = set()
    begins_inside, begins_apart = False, False
    for tags in sentences:
        before = _EDGE
        for tag in tags:
            here = _parse(tag)
            prefixes.add(here[0])
            begins_inside |= here[0] == "I" and before[1] != here[1]
            begins_apart |= here[0] == "B" and before[1] != here[1]
            before = here
    if prefixes & {"E", "S"}:
        return "BIOES"
    if prefixes & {"L", "U"}:
        return "BILOU"
    return "IOB1" if begins_inside and not begins_apart else "BIO"


def as_bio(tags: Sequence[str], scheme: Scheme) -> tuple[tuple[str, ...], list[tuple[int, str]]]:
    """Read the tags of a sentence as ``conlleval`` does.

    >>> as_bio(["B-PER", "E-PER", "S-LOC"], "BIOES")
    (('B-PER', 'I-PER', 'B-LOC'), [])
    >>> as_bio(["O", "I-PER"], "BIO")[0]
    ('O', 'B-PER')

    Args:
        tags: well-formed tags, see :func:`tag_problem`.
        scheme: the scheme they should obey.

    Returns:
        One BIO tag for each word, and the tags that break the scheme: position and what is wrong.
    """
    parsed = [_parse(tag) for tag in tags]
    known = _PREFIXES[scheme]
    plain = [(known.get(prefix, prefix), kind) for prefix, kind in parsed]
    faults: list[tuple[int, str]] = []
    bio: list[str] = []
    for index, (prefix, kind) in enumerate(plain):
        before = plain[index - 1] if index else _EDGE
        after = plain[index + 1] if index + 1 < len(plain) else _EDGE
        if wrong := _fault(before, (prefix, kind), after, scheme):
            faults.append((index, f"found {tags[index]} {wrong}"))
        if prefix == "O":
            bio.append("O")
        else:
            bio.append(f"{'B' if _begins(before, (prefix, kind)) else 'I'}-{kind}")
    return tuple(bio), faults


def _parse(tag: str) -> _Parsed:
    prefix, _, kind = tag.partition("-")
    return prefix, kind


def _begins(before: _Parsed, here: _Parsed) -> bool:
    return here[0] in "BSU" or before[0] in "OESLU" or before[1] != here[1]


def _fault(before: _Parsed, here: _Parsed, after: _Parsed, scheme: Scheme) -> str | None:
    """Say in what way a tag breaks its scheme."""
    prefix, kind = here
    if prefix == "O":
        return None
    if prefix not in _PREFIXES[scheme].values():
        return f"in a file tagged in {scheme}"
    if scheme == "IOB1":
        # B only parts an entity from one of its type right before it
        apart = prefix == "B" and before[1] != kind
        return f"that parts no two entities of the type {kind}" if apart else None
    if prefix in "IE" and (before[0] not in ("B", "I") or before[1] != kind):
        where = "at the start" if before == _EDGE else f"after {_spell(before, scheme)}"
        return f"{where}: it continues no {kind}"
    if scheme == "BIO" or prefix not in "BI":
        return None
    if after[0] not in ("I", "E") or after[1] != kind:
        where = "at the end" if after == _EDGE else f"before {_spell(after, scheme)}"
        return f"{where}: its {kind} never ends"
    return None


def _spell(tag: _Parsed, scheme: Scheme) -> str:
    written = {plain: own for own, plain in _PREFIXES[scheme].items()}
    return "-".join((written.get(tag[0], tag[0]), tag[1])) if tag[1] else tag[0]
