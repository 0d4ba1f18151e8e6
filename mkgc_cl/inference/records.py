"""What an extractor learns from: the toolkit's samples, or plain records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from mkgc_cl.data.sample_checks import check_form, check_sample
from mkgc_cl.data.samples import LabelSpace, RelationSample, Sample, TaggingSample
from mkgc_cl.data.textfile import shown
from mkgc_cl.errors import DataError, gathered
from mkgc_cl.inference.documents import Document, Span, base_of, is_name, spans_of
from mkgc_cl.inference.pairing import near_pairs


@dataclass(frozen=True, slots=True)
class Lesson:
    """A sample to learn, and the types of a relation's entities where they are known."""

    sample: Sample
    pair: tuple[str | None, str | None] = (None, None)


def lessons(given: Iterable[object], *, negative: str) -> list[Lesson]:
    """Read samples and records.

    A record is a mapping with ``tokens`` or ``text`` and

    * ``entities``: ``start``, ``end``, ``type`` (a mapping or a triple), in words of tokens and in
      characters of a text; or ``tags``, a BIO tag for each of the tokens;
    * beside ``entities``, if it is annotated for relations, ``relations``: ``head``, ``tail``
      (places among the entities) and ``type``. Pairs of near entities that it does not name have
      none, and are learnt as such (:mod:`mkgc_cl.inference.pairing`);
    * ``caption``, what is written about its image, for an extractor that reads captions.

    Args:
        given: samples of this package, and records.
        negative: what no relation is called.

    Raises:
        DataError: all that is wrong with any of them.
    """
    found: list[Lesson] = []
    problems: list[DataError] = []
    for number, item in enumerate(given):
        try:
            found += _read(item, f"sample {number}", negative)
        except DataError as error:
            problems.append(error)
    if problems:
        raise gathered(problems)
    return found


def _read(item: object, uid: str, negative: str) -> list[Lesson]:
    if isinstance(item, TaggingSample | RelationSample):
        return [Lesson(_checked(item))]
    if not isinstance(item, Mapping):
        raise DataError(
            f"expected a TaggingSample, a RelationSample or a record, found {shown(item)}",
            sample=uid,
        )
    base = base_of(item, uid)
    tags, entities = item.get("tags"), item.get("entities")
    if (tags is None) == (entities is None):
        raise DataError("expected 'entities' or 'tags' in a record; give one", sample=base.uid)
    if tags is not None:
        if not isinstance(tags, Sequence) or isinstance(tags, str):
            raise DataError(f"expected a list of tags, found {shown(tags)}", sample=base.uid)
        if item.get("relations") is not None:
            raise DataError(
                "its relations are between entities, and it has 'tags'; give 'entities' instead",
                sample=base.uid,
            )
        return [
            Lesson(_checked(TaggingSample(str(base.uid), base.tokens, tuple(tags), base.visual)))
        ]
    spans = spans_of(item, base)
    made = [Lesson(_checked(_tagged(base, spans)))] if all(s.type for s in spans) else []
    if item.get("relations") is not None:
        made += _related(item["relations"], base, spans, negative)
    if not made:
        raise DataError("its entities have no types and it has no relations", sample=base.uid)
    return made


def _tagged(base: Document, spans: Sequence[Span]) -> TaggingSample:
    tags = ["O"] * len(base.tokens)
    for span in spans:
        if any(tag != "O" for tag in tags[span.start : span.end]):
            raise DataError(
                f"two entities share words of [{span.start}, {span.end}); a word has one tag: keep "
                "one of them",
                sample=base.uid,
            )
        inside = [f"I-{span.type}"] * (span.end - span.start - 1)
        tags[span.start : span.end] = [f"B-{span.type}", *inside]
    return TaggingSample(str(base.uid), base.tokens, tuple(tags), base.visual)


def _related(given: Any, base: Document, spans: Sequence[Span], negative: str) -> list[Lesson]:
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise DataError(f"expected a list of relations, found {shown(given)}", sample=base.uid)
    named: dict[tuple[int, int], str] = {}
    for relation in given:
        if isinstance(relation, Mapping):
            head, tail, kind = (relation.get(key) for key in ("head", "tail", "type"))
        else:
            listed = isinstance(relation, Sequence) and not isinstance(relation, str)
            head, tail, kind = (*(relation if listed else ()), None, None, None)[:3]
        places = all(type(end) is int and 0 <= end < len(spans) for end in (head, tail))
        if not places or head == tail or not is_name(kind):
            raise DataError(
                "expected a relation as head and tail (two places among the "
                f"{len(spans)} entities) and type, found {shown(relation)}; correct it",
                sample=base.uid,
            )
        named[cast(int, head), cast(int, tail)] = str(kind)
    near = map(sorted, near_pairs([(span.start, span.end) for span in spans]))
    without = [
        (head, tail)
        for head, tail in near
        if (head, tail) not in named and (tail, head) not in named
    ]
    found = []
    for (head, tail), kind in [*named.items(), *((pair, negative) for pair in without)]:
        one, other = spans[head], spans[tail]
        sample = RelationSample(
            f"{base.uid}/{head}-{tail}",
            base.tokens,
            (one.start, one.end),
            (other.start, other.end),
            kind,
            base.visual,
        )
        # words and spans were checked when they were read, once for all pairs
        found.append(Lesson(sample, (one.type, other.type)))
    return found


def _checked(sample: Sample) -> Sample:
    if isinstance(sample, RelationSample):
        check_form(sample)
        if not is_name(sample.relation):
            raise DataError(
                f"expected the name of a relation, found {shown(sample.relation)}; correct it",
                sample=sample.uid,
            )
        return sample
    for tag in sample.tags:
        if not isinstance(tag, str) or (
            tag != "O" and (tag[:2] not in ("B-", "I-") or not is_name(tag[2:]))
        ):
            raise DataError(
                f"expected O, B-TYPE or I-TYPE, found the tag {shown(tag)}; correct it",
                sample=sample.uid,
            )
    types = tuple(dict.fromkeys(tag[2:] for tag in sample.tags if tag != "O"))
    check_sample(sample, LabelSpace("ner", types))
    return sample
