"""Teach an extractor's readouts a task, and take samples out of them again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from mkgc_cl.data.samples import RelationSample, Sample, TaggingSample, TaskKind
from mkgc_cl.errors import DataError, gathered
from mkgc_cl.inference.documents import document
from mkgc_cl.inference.ledger import NOTHING, Entry, Ledger
from mkgc_cl.inference.parts import ClosedForm
from mkgc_cl.inference.prediction import predict
from mkgc_cl.inference.records import Lesson
from mkgc_cl.inference.report import bio_spans
from mkgc_cl.inference.scoring import in_batches, relation_readings, tag_readings
from mkgc_cl.models.gaussian import TaskLearning

if TYPE_CHECKING:
    from mkgc_cl.inference.extractor import Extractor

LEARNT_BEFORE = "learnt before"
OTHER_TYPE = "labels of other types"
TOO_FAR = "entities too far apart for the encoder"


class Learning:
    """One task of an extractor.

    Args:
        extractor: what learns.
        task: name of the task.

    Attributes:
        samples: how many samples taught something.
        added: mentions and relations that were learnt, by type.
        new: types that were not known before.
        ignored: what was left out, by reason.
    """

    def __init__(self, extractor: Extractor, *, task: str) -> None:
        self.extractor = extractor
        self.task = task
        self.samples = 0
        self.added: Counter[str] = Counter()
        self.ignored: Counter[str] = Counter()
        self.new: list[str] = []

    def take(self, given: Sequence[Lesson], wanted: set[str]) -> None:
        """Learn samples, of the ``wanted`` classes alone."""
        tagged = [lesson for lesson in given if isinstance(lesson.sample, TaggingSample)]
        related = [lesson for lesson in given if isinstance(lesson.sample, RelationSample)]
        self._check_names(tagged, related, wanted)
        if tagged:
            self._tags([cast(TaggingSample, lesson.sample) for lesson in tagged], wanted)
        if related:
            self._relations(related, wanted)

    def _check_names(
        self, tagged: Sequence[Lesson], related: Sequence[Lesson], wanted: set[str]
    ) -> None:
        """Check that no name is an entity type and a relation: provenance is by name."""
        types = {span[0] for lesson in tagged for span in bio_spans(_tags_of(lesson))} & wanted
        relations = {cast(RelationSample, lesson.sample).relation for lesson in related} & wanted
        parts = self.extractor.parts
        types |= set(parts["ner"].labels.classes) if "ner" in parts else set()
        relations |= set(parts["re"].labels.classes) if "re" in parts else set()
        if types & relations:
            raise DataError(
                f"{sorted(types & relations)} are entity types and relations at once; give one of "
                "the two another name"
            )

    def _tags(self, samples: Sequence[TaggingSample], wanted: set[str]) -> None:
        types = [span[0] for s in samples for span in bio_spans(s.tags) if span[0] in wanted]
        part = self._grow("ner", types)
        number = {name: place for place, name in enumerate(part.labels.outputs)}
        kept: list[tuple[TaggingSample, tuple[int, ...]]] = []
        ledger, seen = self.extractor.ledgers["ner"], set()
        for sample in samples:
            taught = tuple(
                number[tag] if tag == "O" or tag[2:] in wanted else NOTHING for tag in sample.tags
            )
            self.ignored[OTHER_TYPE] += sum(
                tag.startswith("B-") and tag[2:] not in wanted for tag in sample.tags
            )
            if (sample.tokens, taught) in seen or _taught_so(ledger.of(sample), taught):
                self.ignored[LEARNT_BEFORE] += 1
                continue
            seen.add((sample.tokens, taught))
            kept.append((sample, taught))
        annotated = [f"{prefix}-{name}" for name in wanted for prefix in "BI"]
        learning = TaskLearning(
            part.readout, background=self.extractor.background, annotated=annotated
        )
        written = [list(taught) for _, taught in kept]
        readings = tag_readings(part, [s.tokens for s, _ in kept], [s.visual for s, _ in kept])
        for group, batch in in_batches(part, readings):
            features = part.features(batch)
            rows, labels, places = [], [], []
            for row, index in enumerate(group):
                place = readings[index].place
                start, _, first, last = readings[index].window
                own = written[place][first:last]
                words = [w for w, output in enumerate(own) if output != NOTHING]
                rows.append(features[row, first - start : last - start][words])
                labels += [own[w] for w in words]
                places += [(place, first + w) for w in words]
            weights = learning.look(torch.cat(rows), torch.tensor(labels, dtype=torch.long))
            for (place, word), weight in zip(places, weights.tolist(), strict=True):
                if weight == 0:
                    written[place][word] = NOTHING
        learning.finish()
        for (sample, _), words in zip(kept, written, strict=True):
            ledger.add(sample, Entry(self.task, tuple(words)))
            self.added.update(s[0] for s in bio_spans(sample.tags) if s[0] in wanted)
        self._finish(len(kept))

    def _relations(self, given: Sequence[Lesson], wanted: set[str]) -> None:
        extractor = self.extractor
        ledger, seen = extractor.ledgers["re"], set()
        names = [cast(RelationSample, lesson.sample).relation for lesson in given]
        part = self._grow("re", [name for name in names if name in wanted])
        number = {name: place for place, name in enumerate(part.labels.outputs)}
        kept: list[Lesson] = []
        for lesson in given:
            sample = cast(RelationSample, lesson.sample)
            if sample.relation not in wanted and sample.relation != part.labels.na:
                self.ignored[OTHER_TYPE] += 1
                continue
            taught = (number[sample.relation],)
            key = (sample.tokens, sample.head, sample.tail, taught)
            if key in seen or _taught_so(ledger.of(sample), taught):
                self.ignored[LEARNT_BEFORE] += 1
                continue
            seen.add(key)
            kept.append(lesson)
        samples = [cast(RelationSample, lesson.sample) for lesson in kept]
        pairs = self._pairs(kept)
        learning = TaskLearning(part.readout)
        readings = relation_readings(part, samples)
        for group, batch in in_batches(part, readings):
            labels = [number[samples[readings[place].place].relation] for place in group]
            learning.look(part.features(batch), torch.tensor(labels))
        learning.finish()
        read = sorted(reading.place for reading in readings)
        self.ignored[TOO_FAR] += len(samples) - len(read)
        known = extractor.types
        for place in read:
            sample, pair = samples[place], pairs[place]
            ledger.add(sample, Entry(self.task, (number[sample.relation],), pair))
            self.added[sample.relation] += 1
            if sample.relation != part.labels.na:
                extractor.constraints.add(sample.relation, pair, known=known)
        self._finish(len(read))

    def _pairs(self, kept: Sequence[Lesson]) -> list[tuple[str | None, str | None]]:
        """Types of the entities of relations: as given, or as the tagger reads them."""
        found = [lesson.pair for lesson in kept]
        open_ = [i for i, pair in enumerate(found) if None in pair]
        if not open_ or not self.extractor.types:
            return found
        untyped = [document(list(kept[i].sample.tokens)) for i in open_]
        read = predict(self.extractor, untyped, constrain=False, relate=False)
        for i, extraction in zip(open_, read, strict=True):
            sample = cast(RelationSample, kept[i].sample)
            at = {
                word: entity.type
                for entity in extraction.entities
                for word in range(entity.start, entity.end)
            }
            one, other = (
                next((at[word] for word in range(*span) if word in at), None)
                for span in (sample.head, sample.tail)
            )
            found[i] = (found[i][0] or one, found[i][1] or other)
        return found

    def _grow(self, kind: TaskKind, names: Sequence[str]) -> ClosedForm:
        extractor = self.extractor
        part = cast(ClosedForm, extractor.parts[kind])
        new = [name for name in dict.fromkeys(names) if name not in part.labels.classes]
        if new:
            extractor._relabel(kind, (*part.labels.classes, *new))
        fresh = [name for name in dict.fromkeys(names) if name not in extractor._learnt(kind)]
        self.new += fresh
        for name in fresh:
            extractor.tasks[name] = self.task
        return part

    def _finish(self, samples: int) -> None:
        self.samples += samples
        self.ignored = +self.ignored


def forget_samples(extractor: Extractor, samples: Sequence[Sample]) -> int:
    """Unlearn samples; see :meth:`Extractor.forget`."""
    kinds: dict[TaskKind, list[Sample]] = {"ner": [], "re": []}
    problems = []
    seen: set[tuple[object, ...]] = set()
    for sample in samples:
        kind: TaskKind = "re" if isinstance(sample, RelationSample) else "ner"
        spans = (sample.head, sample.tail) if isinstance(sample, RelationSample) else ()
        if (sample.tokens, spans) in seen:
            continue
        seen.add((sample.tokens, spans))
        if extractor.ledgers[kind].of(sample):
            kinds[kind].append(sample)
        else:
            problems.append(
                DataError(
                    "it was never learnt, so it cannot be forgotten; take it out", sample=sample.uid
                )
            )
    if problems:
        raise gathered(problems)
    forgotten = 0
    for kind, mine in kinds.items():
        if mine:
            part = cast(ClosedForm, extractor.parts[kind])
            forgotten += _unlearn(extractor, part, extractor.ledgers[kind], mine)
    return forgotten


def _unlearn(
    extractor: Extractor, part: ClosedForm, ledger: Ledger, samples: Sequence[Sample]
) -> int:
    entries = [ledger.of(sample) for sample in samples]
    if part.kind == "ner":
        readings = tag_readings(part, [s.tokens for s in samples], [s.visual for s in samples])
    else:
        readings = relation_readings(part, [cast(RelationSample, s) for s in samples])
    for group, batch in in_batches(part, readings):
        features = part.features(batch)
        for row, index in enumerate(group):
            reading = readings[index]
            start, _, first, last = reading.window
            own: Tensor = features[row]
            own = own[first - start : last - start] if part.kind == "ner" else own[None]
            for entry in entries[reading.place]:
                taught = entry.taught[first:last] if part.kind == "ner" else entry.taught
                words = [w for w, output in enumerate(taught) if output != NOTHING]
                labels = torch.tensor([taught[w] for w in words], dtype=torch.long)
                part.readout.remove(own[words], labels)
    for sample, found in zip(samples, entries, strict=True):
        for entry in found:
            if part.kind == "re":
                name = part.labels.outputs[entry.taught[0]]
                extractor.constraints.remove(name, entry.pair)
        ledger.drop(sample)
    return sum(map(len, entries))


def _taught_so(entries: Sequence[Entry], taught: tuple[int, ...]) -> bool:
    """Whether a sample taught the same before, words that were left out then aside."""
    return any(
        all(
            one == other or (one == NOTHING and other == 0)
            for one, other in zip(entry.taught, taught, strict=True)
        )
        for entry in entries
    )


def _tags_of(lesson: Lesson) -> tuple[str, ...]:
    return cast(TaggingSample, lesson.sample).tags
