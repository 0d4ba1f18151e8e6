"""What an extractor is given: text or words, and entities where they are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard, cast

from mkgc_cl.data.files.segments import cut_words
from mkgc_cl.data.samples import RelationSample, TaggingSample, VisualInput
from mkgc_cl.data.textfile import are_words, is_text, shown
from mkgc_cl.errors import DataError


@dataclass(frozen=True, slots=True)
class Span:
    """A given entity: words ``start`` to ``end`` (excluded), and its type if it has one."""

    start: int
    end: int
    type: str | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """One text in words.

    Args:
        text: its characters.
        tokens: its words.
        offsets: first character of every word, and the one behind its last.
        spans: entities that are given; ``None`` where they are to be found.
        pairs: pairs of these, head and tail, whose relation is asked for; ``None`` for all.
        uid: identity, if it has one.
        visual: its images.
        image: name of its image, for provenance.
    """

    text: str
    tokens: tuple[str, ...]
    offsets: tuple[tuple[int, int], ...]
    spans: tuple[Span, ...] | None = None
    pairs: tuple[tuple[int, int], ...] | None = None
    uid: str | None = None
    visual: VisualInput = VisualInput()  # noqa: RUF009  # frozen
    image: str | None = None


def split_words(text: str) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...]]:
    """Split text into words and signs, with their characters' places, as files of text are.

    >>> split_words("Ann Lee's dog.")
    (('Ann', 'Lee', "'", 's', 'dog', '.'), ((0, 3), (4, 7), (7, 8), (8, 9), (10, 13), (13, 14)))
    """
    found = tuple(cut_words(text))
    return tuple(text[first:last] for first, last in found), found


def is_name(value: object) -> TypeGuard[str]:
    """Whether a type or a relation can be called so: text that UTF-8 can write, not empty."""
    return isinstance(value, str) and value.strip() != "" and is_text(value)


def join_words(tokens: Sequence[str]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Join words by blanks, with their characters' places.

    >>> join_words(["Ann", "Lee"])
    ('Ann Lee', ((0, 3), (4, 7)))
    """
    offsets, start = [], 0
    for token in tokens:
        end = start + len(token)
        offsets.append((start, end))
        start = end + 1
    return " ".join(tokens), tuple(offsets)


def document(given: object, *, uid: str | None = None) -> Document:
    """Read what can be asked about: a text, words, a sample, or a record.

    Args:
        given: text; a sequence of words; a sample of this package (a relation's asks for its pair);
            or a mapping with ``text`` or ``tokens``, and ``entities`` where they are known
            (``start``, ``end`` and perhaps ``type``, in characters of a text and in words of
            tokens), ``image`` (a path) and ``caption``.
        uid: identity, where ``given`` brings none.

    Raises:
        DataError: it is none of these, or malformed.
    """
    if isinstance(given, str):
        return _of_text(given, uid)
    if isinstance(given, RelationSample):
        text, offsets = join_words(_checked(given.tokens, given.uid))
        spans = (Span(*given.head), Span(*given.tail))
        return Document(
            text, given.tokens, offsets, spans, ((0, 1),), given.uid, visual=given.visual
        )
    if isinstance(given, TaggingSample):
        text, offsets = join_words(_checked(given.tokens, given.uid))
        return Document(text, given.tokens, offsets, uid=given.uid, visual=given.visual)
    if isinstance(given, Mapping):
        return _of_record(given, uid)
    if isinstance(given, Sequence) and not isinstance(given, bytes | bytearray):
        tokens = _checked(tuple(given), uid)
        text, offsets = join_words(tokens)
        return Document(text, tokens, offsets, uid=uid)
    raise DataError(
        f"expected a text, a list of words, a sample or a record, found {shown(given)}; give one",
        sample=uid,
    )


def spans_of(record: Mapping[str, Any], base: Document) -> tuple[Span, ...]:
    """Read the entities of a record, in words of ``base``.

    Raises:
        DataError: one is no ``start, end, type``, or lies across words.
    """
    given = record.get("entities")
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise DataError(f"expected a list of entities, found {shown(given)}", sample=base.uid)
    found = []
    for entity in given:
        start, end, kind = _parts(entity, base.uid)
        if "text" in record:
            start, end = _words(start, end, base)
        if not 0 <= start < end <= len(base.tokens):
            raise DataError(
                f"expected an entity inside the {len(base.tokens)} words, not empty, found "
                f"[{start}, {end}); correct it",
                sample=base.uid,
            )
        found.append(Span(start, end, kind))
    return tuple(found)


def _parts(entity: object, uid: str | None) -> tuple[int, int, str | None]:
    start: object = None
    end: object = None
    kind: object = None
    if isinstance(entity, Mapping):
        start, end, kind = entity.get("start"), entity.get("end"), entity.get("type")
    elif isinstance(entity, Sequence) and len(entity) in (2, 3) and not isinstance(entity, str):
        start, end, kind = (*entity, None)[:3]
    # True is an int, and no place
    places = type(start) is int and type(end) is int
    if not places or not (kind is None or is_name(kind)):
        raise DataError(
            "expected an entity as start, end and type, two whole numbers and a name, found "
            f"{shown(entity)}; correct it",
            sample=uid,
        )
    return cast(int, start), cast(int, end), kind


def _words(start: int, end: int, base: Document) -> tuple[int, int]:
    """Words of an entity that is given in characters."""
    starts = {first: index for index, (first, _) in enumerate(base.offsets)}
    ends = {last: index + 1 for index, (_, last) in enumerate(base.offsets)}
    if start not in starts or end not in ends or start >= end:
        raise DataError(
            f"expected an entity of whole words, found characters {start} to {end} "
            f"({shown(base.text[max(0, start) : max(0, end)])}); correct its ends, or give "
            "tokens and word positions",
            sample=base.uid,
        )
    return starts[start], ends[end]


def base_of(record: Mapping[str, Any], uid: str | None = None) -> Document:
    """Read text or tokens, identity and image of a record.

    Raises:
        DataError: it has neither or both, or one is malformed.
    """
    named = record.get("uid", uid)
    if named is not None and not (isinstance(named, str) and is_text(named)):
        raise DataError(
            f"expected a uid as text that UTF-8 can write, found {shown(named)}; correct it"
        )
    if ("text" in record) == ("tokens" in record):
        raise DataError(
            f"expected a record with 'text' or with 'tokens', found {shown(list(record))}",
            sample=named,
        )
    image = record.get("image")
    if image is not None and not (isinstance(image, str) and is_text(image)):
        raise DataError(f"expected an image by name, found {shown(image)}", sample=named)
    if "text" in record:
        read = _of_text(record["text"], named)
    else:
        tokens = record["tokens"]
        if not isinstance(tokens, Sequence) or isinstance(tokens, str):
            raise DataError(f"expected a list of words, found {shown(tokens)}", sample=named)
        words = _checked(tuple(tokens), named)
        text, offsets = join_words(words)
        read = Document(text, words, offsets, uid=named)
    visual = VisualInput(caption=_caption(record, named))
    return replace(read, visual=visual, image=image)


def _caption(record: Mapping[str, Any], uid: str | None) -> str | None:
    """The caption of a record, spelled as :mod:`mkgc_cl.data.captions` does."""
    found = record.get("caption")
    if "captions" in record:
        several = record["captions"]
        if found is not None or not isinstance(several, Mapping) or len(several) != 1:
            raise DataError(
                "expected one caption, found 'captions' by several or none; give 'caption' alone",
                sample=uid,
            )
        (found,) = several.values()
    if found is not None and (not isinstance(found, str) or not is_text(found)):
        raise DataError(f"expected a caption as text, found {shown(found)}", sample=uid)
    return found


def _of_record(record: Mapping[str, Any], uid: str | None) -> Document:
    base = base_of(record, uid)
    if record.get("entities") is None:
        return base
    return replace(base, spans=spans_of(record, base))


def _of_text(text: object, uid: str | None) -> Document:
    if not isinstance(text, str) or not is_text(text):
        raise DataError(
            f"expected text that UTF-8 can write, found {shown(text)}; correct it", sample=uid
        )
    tokens, offsets = split_words(text)
    return Document(text, tokens, offsets, uid=uid)


def _checked(tokens: tuple[object, ...], uid: str | None) -> tuple[str, ...]:
    if are_words(tokens):
        return tokens  # type: ignore[return-value]
    (word, *_) = (word for word in tokens if not isinstance(word, str) or not is_text(word))
    raise DataError(
        f"expected words of text that UTF-8 can write, found {shown(word)}; correct it", sample=uid
    )
