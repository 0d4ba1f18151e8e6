"""From scores to entities and relations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mkgc_cl.data.samples import RelationSample, VisualInput
from mkgc_cl.errors import ConfigError
from mkgc_cl.inference.documents import Document
from mkgc_cl.inference.extraction import Entity, Extraction, Relation
from mkgc_cl.inference.pairing import near_pairs
from mkgc_cl.inference.parts import Part
from mkgc_cl.inference.report import bio_spans
from mkgc_cl.inference.scoring import relation_scores, tag_scores
from mkgc_cl.inference.seeing import visuals_of

if TYPE_CHECKING:
    from mkgc_cl.inference.extractor import Extractor

PAIRS = 512
"""Pairs that are scored together."""


@dataclass(frozen=True, slots=True)
class _Asked:
    place: int
    head: int
    tail: int
    sample: RelationSample


def predict(
    extractor: Extractor, documents: Sequence[Document], *, constrain: bool, relate: bool = True
) -> list[Extraction]:
    """Find entities, and relations between them.

    Args:
        extractor: what predicts.
        documents: the texts.
        constrain: leave out relations between types that they were never learnt between.
        relate: look for relations, if any were learnt.

    Raises:
        ConfigError: nothing was learnt yet, or relations alone and a text names no entities.
        DataError: a text without the image or the caption that a model reads.
    """
    tagger, relater = extractor.parts.get("ner"), extractor.parts.get("re")
    tags = tagger is not None and tagger.ready
    relations = relate and relater is not None and relater.ready
    if not tags and not relations:
        raise ConfigError(["nothing was learnt yet; call learn() with samples first"])
    if not tags and any(one.spans is None for one in documents):
        raise ConfigError(
            ["relations were learnt, and no entity type: learn one, or give texts with 'entities'"]
        )
    open_ = [place for place, one in enumerate(documents) if one.spans is None]
    entities = [_given(one) for one in documents]
    if tags and tagger is not None:
        for place, found in zip(
            open_, _tagged(extractor, tagger, [documents[p] for p in open_]), strict=True
        ):
            entities[place] = found
    edges: list[tuple[Relation, ...]] = [()] * len(documents)
    if relations and relater is not None:
        edges = _related(extractor, relater, documents, entities, constrain)
    model = extractor.model
    return [
        Extraction(one.text, one.tokens, found, between, one.uid, one.image, model)
        for one, found, between in zip(documents, entities, edges, strict=True)
    ]


def _given(one: Document) -> tuple[Entity, ...]:
    return tuple(
        _entity(one, span.start, span.end, span.type, 1.0, None) for span in one.spans or ()
    )


def _tagged(
    extractor: Extractor, part: Part, documents: Sequence[Document]
) -> list[tuple[Entity, ...]]:
    if not documents:
        return []
    scores = tag_scores(part, [one.tokens for one in documents], visuals_of(part, documents))
    tags = part.best_tags(scores)
    chosen = torch.tensor([tag for own in tags for tag in own], dtype=torch.long)[:, None]
    chances = part.posterior(torch.cat(scores)).gather(1, chosen).flatten().tolist()
    found: list[tuple[Entity, ...]] = []
    outputs, first = part.labels.outputs, 0
    for one, own in zip(documents, tags, strict=True):
        sure = chances[first : first + len(own)]
        first += len(own)
        spans = bio_spans([outputs[tag] for tag in own])
        found.append(
            tuple(
                _entity(one, start, end, kind, min(sure[start:end]), extractor.tasks.get(kind))
                for kind, start, end in spans
            )
        )
    return found


def _related(
    extractor: Extractor,
    part: Part,
    documents: Sequence[Document],
    entities: Sequence[tuple[Entity, ...]],
    constrain: bool,
) -> list[tuple[Relation, ...]]:
    visuals = visuals_of(part, documents)
    allow, names = extractor.constraints.allow, part.labels.outputs[1:]

    @cache
    def allowed(head: str | None, tail: str | None) -> bool:
        return any(allow(name, head, tail) for name in names)

    # one by one: a text of thousands of entities has a pair for each two that are near
    asked = (
        _Asked(place, head, tail, _pair_sample(part, one, found[head], found[tail], visual))
        for place, (one, found, visual) in enumerate(zip(documents, entities, visuals, strict=True))
        for head, tail in _pairs(one, found)
        # a pair of types that no relation holds between need not be read
        if not constrain or allowed(found[head].type, found[tail].type)
    )
    best: list[dict[tuple[int, int], Relation]] = [{} for _ in documents]
    while some := list(islice(asked, PAIRS)):
        for one, scores in zip(some, relation_scores(part, [a.sample for a in some]), strict=True):
            if scores is None:
                continue
            found = entities[one.place]
            relation = _best(extractor, part, scores, found, one, constrain)
            if relation is None:
                continue
            key = (min(one.head, one.tail), max(one.head, one.tail))
            other = best[one.place].get(key)
            if other is None or relation.score > other.score:
                best[one.place][key] = relation
    return [tuple(mine[key] for key in sorted(mine)) for mine in best]


def _best(
    extractor: Extractor,
    part: Part,
    scores: Tensor,
    found: Sequence[Entity],
    asked: _Asked,
    constrain: bool,
) -> Relation | None:
    """The likeliest relation of a pair, or ``None`` where that is none."""
    chances = part.posterior(scores).tolist()
    head, tail = found[asked.head].type, found[asked.tail].type
    outputs = part.labels.outputs
    order = sorted(range(len(outputs)), key=lambda output: -chances[output])
    for output in order:
        name = outputs[output]
        if output == 0 or chances[output] == 0:
            return None
        if not constrain or extractor.constraints.allow(name, head, tail):
            return Relation(
                asked.head, asked.tail, name, chances[output], extractor.tasks.get(name)
            )
    return None


def _pairs(one: Document, found: Sequence[Entity]) -> list[tuple[int, int]]:
    """Ordered pairs to be scored: those that are asked for, or all that are near."""
    if one.pairs is not None:
        return list(one.pairs)
    near = near_pairs([(entity.start, entity.end) for entity in found])
    return [ordered for one, other in near for ordered in ((one, other), (other, one))]


def _pair_sample(
    part: Part, one: Document, head: Entity, tail: Entity, visual: VisualInput
) -> RelationSample:
    spans = (head.start, head.end), (tail.start, tail.end)
    return RelationSample("", one.tokens, *spans, str(part.labels.na), visual)


def _entity(
    one: Document, start: int, end: int, kind: str | None, score: float, task: str | None
) -> Entity:
    first, last = one.offsets[start][0], one.offsets[end - 1][1]
    return Entity(one.text[first:last], kind, score, start, end, first, last, task)
