"""Teach an extractor's readouts a task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch

from mkgc_cl.data.samples import RelationSample, Sample, TaggingSample, TaskKind
from mkgc_cl.errors import ConfigError, DataError
from mkgc_cl.inference.changes import draft, relabel, require_closed_form
from mkgc_cl.inference.documents import document
from mkgc_cl.inference.ledger import NOTHING, Entry
from mkgc_cl.inference.measuring import f1_of_known
from mkgc_cl.inference.parts import ClosedForm
from mkgc_cl.inference.prediction import predict
from mkgc_cl.inference.records import Lesson
from mkgc_cl.inference.report import LearnReport, bio_spans
from mkgc_cl.inference.scoring import in_batches, relation_readings, tag_readings
from mkgc_cl.inference.seeing import require_captions
from mkgc_cl.models.gaussian import TaskLearning

if TYPE_CHECKING:
    from mkgc_cl.inference.extractor import Extractor

LEARNT_BEFORE = "learnt before"
OTHER_TYPE = "labels of other types"
TOO_FAR = "entities too far apart for the encoder"


def learn_lessons(
    extractor: Extractor,
    given: Sequence[Lesson],
    *,
    types: Sequence[str] | None,
    task: str | None,
    held: Sequence[Sample],
) -> LearnReport:
    """Learn samples, all of them or none; see :meth:`Extractor.learn`."""
    wanted = _wanted(given, types, negative=extractor.negative)
    kinds: set[TaskKind] = {_kind(lesson.sample) for lesson in given}
    require_closed_form(extractor, kinds)
    before = f1_of_known(extractor, held)
    with draft(extractor, kinds) as made:
        learning = Learning(made, task=task or _next_task(extractor))
        learning.take(given, wanted)
        return LearnReport(
            task=learning.task,
            samples=learning.samples,
            added=dict(learning.added),
            new=tuple(learning.new),
            ignored=dict(learning.ignored),
            before=before,
            after=f1_of_known(made, held),
        )


class Learning:
    """One task of an extractor.

    Args:
        extractor: what learns: a draft, as one that raises is left half learnt.
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
        require_captions(part, samples)
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
            key = (ledger.digest(sample), taught)
            if key in seen or _taught_so(ledger.of(sample), taught):
                self.ignored[LEARNT_BEFORE] += 1
                continue
            seen.add(key)
            kept.append((sample, taught))
        annotated = [f"{prefix}-{name}" for name in wanted for prefix in "BI"]
        learning = TaskLearning(
            part.readout, background=self.extractor.background, annotated=annotated
        )
        written = [list(taught) for _, taught in kept]
        scales = [[1.0] * len(taught) for _, taught in kept]
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
                scales[place][word] = weight
                if weight == 0:
                    written[place][word] = NOTHING
        learning.finish()
        for (sample, _), words, scale in zip(kept, written, scales, strict=True):
            # as a rule a word teaches all or nothing
            soft = tuple(scale) if any(0 < weight < 1 for weight in scale) else ()
            ledger.add(sample, Entry(self.task, tuple(words), weights=soft))
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
            key = (ledger.digest(sample), taught)
            if key in seen or _taught_so(ledger.of(sample), taught):
                self.ignored[LEARNT_BEFORE] += 1
                continue
            seen.add(key)
            kept.append(lesson)
        samples = [cast(RelationSample, lesson.sample) for lesson in kept]
        require_captions(part, samples)
        pairs = self._pairs(kept)
        learning = TaskLearning(part.readout)
        readings = relation_readings(part, samples)
        for group, batch in in_batches(part, readings):
            labels = [number[samples[readings[place].place].relation] for place in group]
            learning.look(part.features(batch), torch.tensor(labels))
        learning.finish()
        read = sorted(reading.place for reading in readings)
        self.ignored[TOO_FAR] += len(samples) - len(read)
        types, shared = set(extractor.types), dict[object, tuple[str, ...]]()
        for place in read:
            sample, pair = samples[place], pairs[place]
            known: tuple[str, ...] = ()
            if None not in pair:
                # one tuple for all samples of a pair of types
                known = shared.setdefault(pair, tuple(sorted({*types, *map(str, pair)})))
            ledger.add(sample, Entry(self.task, (number[sample.relation],), pair, known))
            self.added[sample.relation] += 1
        self._finish(len(read))

    def _pairs(self, kept: Sequence[Lesson]) -> list[tuple[str | None, str | None]]:
        """Types of the entities of relations: as given, or as the tagger reads them."""
        found = [lesson.pair for lesson in kept]
        open_ = [i for i, pair in enumerate(found) if None in pair]
        if not open_ or not self.extractor.types:
            return found
        untyped = [document(kept[i].sample) for i in open_]
        untyped = [replace(one, spans=None, pairs=None) for one in untyped]
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
            relabel(extractor, kind, (*part.labels.classes, *new))
        fresh = [name for name in dict.fromkeys(names) if name not in extractor.parts[kind].learnt]
        self.new += fresh
        for name in fresh:
            extractor.tasks[name] = self.task
        return part

    def _finish(self, samples: int) -> None:
        self.samples += samples
        self.ignored = +self.ignored


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


def _kind(sample: Sample) -> TaskKind:
    return "re" if isinstance(sample, RelationSample) else "ner"


def _wanted(given: Sequence[Lesson], types: Sequence[str] | None, *, negative: str) -> set[str]:
    """The classes that samples are to teach."""
    there: Counter[str] = Counter()
    for lesson in given:
        if isinstance(lesson.sample, RelationSample):
            there[lesson.sample.relation] += 1
        else:
            there.update(span[0] for span in bio_spans(lesson.sample.tags))
    if isinstance(types, str):
        raise ConfigError([f"types={types!r}; give a list, [{types!r}]"])
    if types is None:
        return set(there) - {negative}
    absent = [name for name in types if name not in there]
    if absent:
        raise DataError(
            f"no sample has one of {absent}; the samples have {sorted(there) or 'no label'}: "
            "correct types, or the samples"
        )
    return set(types) - {negative}


def _next_task(extractor: Extractor) -> str:
    ledgers = extractor.ledgers.values()
    used = set(extractor.tasks.values()).union(*(ledger.tasks for ledger in ledgers))
    number = len(used) + 1
    while f"task {number}" in used:
        number += 1
    return f"task {number}"
