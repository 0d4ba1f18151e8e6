"""An extractor of entities and relations that learns a new type in seconds, without old samples."""

from __future__ import annotations

import copy
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

from mkgc_cl.data.images import FileImage
from mkgc_cl.data.samples import RelationSample, Sample, TaggingSample, TaskKind
from mkgc_cl.data.tokenizer import MarkerKind
from mkgc_cl.errors import ConfigError, DataError, gathered
from mkgc_cl.inference.constraints import TypeConstraints
from mkgc_cl.inference.documents import Document, document, is_name
from mkgc_cl.inference.encoder import FrozenEncoder
from mkgc_cl.inference.extraction import Extraction
from mkgc_cl.inference.learning import Learning, forget_samples
from mkgc_cl.inference.ledger import Ledger
from mkgc_cl.inference.parts import ClosedForm, Part, part_of
from mkgc_cl.inference.prediction import predict
from mkgc_cl.inference.records import Lesson, lessons
from mkgc_cl.inference.report import LearnReport, counts_by_type
from mkgc_cl.metrics.counts import spans
from mkgc_cl.models.base import ExtractionModel
from mkgc_cl.models.gaussian import Background, GaussianOptions
from mkgc_cl.models.gaussian.learning import check_background

CHUNK = 64
"""Texts of a stream that are read together."""


class Extractor:
    """Find entities and relations in text; learn new types of both when they come.

    Made by :meth:`from_encoder` it holds a frozen encoder and, in closed form, what it has learnt:
    counts, means and one covariance (:class:`~mkgc_cl.models.GaussianReadout`). Learning adds to
    these, so old samples are not needed again, and nothing but digests of samples is kept.

    Made by :meth:`from_strategy` it predicts what a trained model predicts. It goes on learning
    where the model's readout is in closed form.

    Args:
        parts: what tags and what relates, by kind.
        constraints: which types relations were learnt between.
        ledgers: what every sample taught, by kind.
        tasks: the task that taught each type.
        background: what words labelled ``O`` teach, see
            :class:`~mkgc_cl.models.gaussian.TaskLearning`.
    """

    def __init__(
        self,
        parts: Mapping[TaskKind, Part],
        *,
        constraints: TypeConstraints | None = None,
        ledgers: Mapping[TaskKind, Ledger] | None = None,
        tasks: Mapping[str, str] | None = None,
        background: Background = "read-as-O",
    ) -> None:
        if not parts:
            raise ConfigError(["an extractor has at least one part; give one that tags or relates"])
        check_background(background)
        self.parts: dict[TaskKind, Part] = dict(parts)
        self.constraints = constraints or TypeConstraints()
        self.ledgers: dict[TaskKind, Ledger] = dict(ledgers or {})
        for kind in self.parts:
            self.ledgers.setdefault(kind, Ledger({}))
        self.tasks: dict[str, str] = dict(tasks or {})
        self.background: Background = background

    @classmethod
    def from_encoder(
        cls,
        encoder: str,
        *,
        shrinkage: float = 0.1,
        negative: str = "None",
        tag_layers: tuple[int, ...] | None = None,
        relation_layers: tuple[int, ...] | None = None,
        markers: MarkerKind = "punctuation",
        background: Background = "read-as-O",
        max_length: int | None = None,
        seed: int = 0,
    ) -> Extractor:
        """Make one that has learnt nothing yet.

        Args:
            encoder: ``"minilm"``, ``"tiny"``, a local folder of a BERT-family model or of MPNet, or
                a name on the Hugging Face hub.
            shrinkage: of the covariance, see :class:`~mkgc_cl.models.GaussianOptions`.
            negative: what samples call no relation.
            tag_layers: layers that tags are read from; see
                :func:`~mkgc_cl.models.layer_features.default_layers`.
            relation_layers: layers that relations are read from.
            markers: round both entities of a relation.
            background: see the class.
            max_length: most tokens of a window; 128 by default.
            seed: of weights that are drawn (``"tiny"``).

        Raises:
            ConfigError: the encoder cannot be loaded, or an option does not fit it.
        """
        frozen = FrozenEncoder.load(encoder, markers=markers, max_length=max_length, seed=seed)
        options = GaussianOptions(shrinkage=shrinkage)
        layers: dict[TaskKind, tuple[int, ...] | None] = {"ner": tag_layers, "re": relation_layers}
        parts: dict[TaskKind, Part] = {
            kind: ClosedForm(kind, frozen, negative=negative, layers=chosen, options=options)
            for kind, chosen in layers.items()
        }
        return cls(parts, background=background)

    @classmethod
    def from_model(
        cls,
        *models: ExtractionModel,
        tasks: Mapping[str, str] | None = None,
        background: Background = "read-as-O",
    ) -> Extractor:
        """Use trained models: one that tags, one that relates, or both.

        A model is read through its own readout (:meth:`ExtractionModel.read_out`).

        Args:
            models: the models; they are put into evaluation mode.
            tasks: the task that taught each type.
            background: see the class.

        Raises:
            ConfigError: two models of one kind.
        """
        parts: dict[TaskKind, Part] = {}
        for model in models:
            if model.labels.kind in parts:
                raise ConfigError([f"two models of the kind {model.labels.kind!r}; give one"])
            parts[model.labels.kind] = part_of(model)
        return cls(parts, tasks=tasks, background=background)

    @classmethod
    def from_strategy(cls, *strategies: Any, tasks: Mapping[str, str] | None = None) -> Extractor:
        """Keep what systems have learnt so far, see :meth:`from_model`.

        Their models are copied: the systems may train on, and change nothing here.

        Args:
            strategies: what recipes return, one or one of each kind of task.
            tasks: the task that taught each type: ``{name: task.name for task in tasks for name in
                task.classes}``.
        """
        models = [copy.deepcopy(strategy.network) for strategy in strategies]
        return cls.from_model(*models, tasks=tasks)

    # ---- what it knows -------------------------------------------------------------------------

    @property
    def types(self) -> tuple[str, ...]:
        """The entity types that it has learnt."""
        return self._learnt("ner")

    @property
    def relations(self) -> tuple[str, ...]:
        """The relations that it has learnt."""
        return self._learnt("re")

    @property
    def negative(self) -> str:
        """What samples call no relation."""
        part = self.parts.get("re")
        return (part.labels.na if part else None) or "None"

    @property
    def model(self) -> str:
        """Digest of all that it has learnt, which extractions and graphs name."""
        parts = ((kind, part.fingerprint) for kind, part in sorted(self.parts.items()))
        return hashlib.sha256(repr(tuple(parts)).encode()).hexdigest()[:12]

    def _learnt(self, kind: TaskKind) -> tuple[str, ...]:
        part = self.parts.get(kind)
        if part is None:
            return ()
        if not isinstance(part, ClosedForm):
            seen = cast(Any, part).model.seen.tolist()
            return tuple(n for n in part.labels.classes if seen[part.labels.output_ids([n])[1]])
        known = part.readout.statistics.known.tolist()
        return tuple(n for n in part.labels.classes if known[part.labels.output_ids([n])[1]])

    # ---- use -----------------------------------------------------------------------------------

    def __call__(
        self,
        given: Any = None,
        *,
        tokens: Sequence[str] | None = None,
        image: str | Path | None = None,
        constrain: bool = True,
    ) -> Any:
        """Find entities and relations.

        Args:
            given: a text; a record or a sample (see :func:`~mkgc_cl.inference.documents.document`),
                whose entities are taken where it has any; a list of any of these, or of lists of
                words; or an iterator of them.
            tokens: words, in place of a text.
            image: path of the image that belongs to a text.
            constrain: leave out relations between types that they were never learnt between.

        Returns:
            An :class:`Extraction`, a list of them, or for an iterator an iterator of them.

        Raises:
            DataError: something else was given, or a text that UTF-8 cannot write.
            ConfigError: nothing was learnt yet, or relations alone and no entities are given.
        """
        if (given is None) == (tokens is None):
            raise DataError("expected one text, record, list or tokens=[...]; give one of these")
        if tokens is not None:
            given = {"tokens": tokens}
        if isinstance(given, list):
            if image is not None:
                raise DataError("one image for a list of texts; give records with 'image'")
            return self._all(given, constrain)
        if isinstance(given, Iterator):
            if image is not None:
                raise DataError("one image for a stream of texts; give records with 'image'")
            return self.stream(given, constrain=constrain)
        base = document(given)
        return predict(self, [_with_image(base, image)], constrain=constrain)[0]

    def stream(self, given: Iterable[Any], *, constrain: bool = True) -> Iterator[Extraction]:
        """Yield what is found in each of any number of texts, a few dozens of them at a time."""
        source = iter(given)
        while chunk := list(islice(source, CHUNK)):
            yield from self._all(chunk, constrain)

    def _all(self, given: Sequence[Any], constrain: bool) -> list[Extraction]:
        documents: list[Document] = []
        problems: list[DataError] = []
        for number, item in enumerate(given):
            try:
                documents.append(document(item, uid=None))
            except DataError as error:
                named = (
                    error if error.sample else DataError(error.message, sample=f"number {number}")
                )
                problems.append(named)
        if problems:
            raise gathered(problems)
        return predict(self, documents, constrain=constrain)

    def score(self, samples: Iterable[Any]) -> dict[str, float]:
        """F1 of each type and relation on labelled samples, 0 to 1.

        Entities count where type and both ends are right; relations are asked for between the
        entities that a sample names.

        Raises:
            DataError: what is wrong with the samples.
        """
        found: dict[str, float] = {}
        given = [lesson.sample for lesson in lessons(samples, negative=self.negative)]
        tagged = [sample for sample in given if isinstance(sample, TaggingSample)]
        related = [sample for sample in given if isinstance(sample, RelationSample)]
        if tagged and self.types:
            read = predict(self, [document(s) for s in tagged], constrain=False, relate=False)
            pairs = (
                ({(str(e.type), e.start, e.end) for e in one.entities}, spans(sample.tags))
                for one, sample in zip(read, tagged, strict=True)
            )
            found.update({name: counts.f1 for name, counts in counts_by_type(pairs).items()})
        if related and self.relations:
            read = predict(self, [document(s) for s in related], constrain=False)
            marks = (
                (
                    {(r.type, 0, 1) for r in one.relations},
                    {(s.relation, 0, 1)} - {(self.negative, 0, 1)},
                )
                for one, s in zip(read, related, strict=True)
            )
            found.update({name: counts.f1 for name, counts in counts_by_type(marks).items()})
        return {name: f1 for name, f1 in found.items() if f1 == f1}

    # ---- learning ------------------------------------------------------------------------------

    def learn(
        self,
        samples: Iterable[Any],
        *,
        types: Sequence[str] | None = None,
        task: str | None = None,
        held_out: Iterable[Any] = (),
    ) -> LearnReport:
        """Learn new types, or more samples of known ones; old samples are not needed.

        Nothing is learnt where anything is wrong.

        Args:
            samples: samples of this package, or records; see
                :func:`~mkgc_cl.inference.records.lessons`.
            types: the entity types and relations that they teach, and are annotated with; other
                labels in them are left out. By default all that occur.
            task: name of the task, for provenance; ``"task 1"`` and so on by default.
            held_out: labelled samples, on which every type is measured before and after.

        Returns:
            What was learnt, what was left out and why, and F1 before and after.

        Raises:
            DataError: all that is wrong with the samples, or none of them has one of ``types``.
            ConfigError: a trained model does not learn like this.
        """
        given = lessons(samples, negative=self.negative)
        held = [lesson.sample for lesson in lessons(held_out, negative=self.negative)]
        wanted = _wanted(given, types, negative=self.negative)
        self._require_closed_form({_kind(lesson.sample) for lesson in given})
        before = self._score_known(held)
        learning = Learning(self, task=task or self._next_task())
        learning.take(given, wanted)
        after = self._score_known(held)
        return LearnReport(
            task=learning.task,
            samples=learning.samples,
            added=dict(learning.added),
            new=tuple(learning.new),
            ignored=dict(learning.ignored),
            before=before,
            after=after,
        )

    def forget(self, samples: Iterable[Any]) -> int:
        """Unlearn samples, as if they had never been seen; labels are not looked at.

        Args:
            samples: the words, and of relations the spans, that were learnt.

        Returns:
            How many samples were unlearnt; learnt in two tasks, one counts twice.

        Raises:
            DataError: naming every sample that was never learnt. Nothing is unlearnt then.
            ConfigError: a trained model does not unlearn.
        """
        given = [lesson.sample for lesson in lessons(samples, negative=self.negative)]
        self._require_closed_form({_kind(sample) for sample in given})
        return forget_samples(self, given)

    def merge(self, other: Extractor) -> int:
        """Learn all that another extractor of the same encoder has learnt, without its samples.

        Returns:
            How many samples both had learnt; these count twice from now on.

        Raises:
            ConfigError: it reads another encoder, other layers, or has other options.
        """
        self._require_closed_form(set(other.parts))
        other._require_closed_form(set(other.parts))
        pairs = [
            (kind, cast(ClosedForm, self.parts[kind]), cast(ClosedForm, part))
            for kind, part in other.parts.items()
        ]
        wrong = []
        types, relations = ({*getattr(self, n), *getattr(other, n)} for n in ("types", "relations"))
        if types & relations:
            wrong.append(f"{sorted(types & relations)} are entity types and relations at once")
        for kind, mine, theirs in pairs:
            if mine.encoder.fingerprint != theirs.encoder.fingerprint:
                wrong.append(f"{kind}: it reads another encoder ({theirs.encoder.name})")
            if mine.layers != theirs.layers:
                wrong.append(f"{kind}: it reads layers {theirs.layers}, this one {mine.layers}")
            if mine.labels.na != theirs.labels.na:
                wrong.append(f"{kind}: it calls no relation {theirs.labels.na!r}")
        if wrong:
            raise ConfigError([f"the other extractor does not fit: {problem}" for problem in wrong])
        both = 0
        for kind, mine, theirs in pairs:
            classes = tuple(dict.fromkeys((*mine.labels.classes, *theirs.labels.classes)))
            self._relabel(kind, classes)
            mine.readout.merge(theirs.readout)
            places = _places(theirs.labels.outputs, mine.labels.outputs)
            both += self.ledgers[kind].merge(other.ledgers[kind].relabel(places))
        self.constraints.merge(other.constraints)
        self.tasks = {**other.tasks, **self.tasks}
        return both

    def rename(self, old: str, new: str) -> None:
        """Give a type or relation another name; under a known one the two become one.

        Raises:
            ConfigError: there is no ``old``, or ``new`` is no name.
        """
        kind = self._kind_of(old)
        others = {n for k, part in self.parts.items() if k != kind for n in part.labels.classes}
        # a name is a type or a relation, not both: provenance is by name
        if not is_name(new) or new in {old, *others} or (kind == "re" and new == self.negative):
            raise ConfigError([f"cannot rename {old!r} to {new!r}; give another name"])
        classes = tuple(
            dict.fromkeys(new if n == old else n for n in self.parts[kind].labels.classes)
        )
        self._relabel(kind, classes, {old: new})
        task = self.tasks.pop(old, None)
        if task is not None:
            self.tasks.setdefault(new, task)

    def remove(self, name: str) -> None:
        """Take a type or relation out: its samples teach ``O``, or no relation, from now on.

        The words of a type that is no longer wanted are still words that are no other type.

        Raises:
            ConfigError: there is none of that name.
        """
        kind = self._kind_of(name)
        classes = tuple(n for n in self.parts[kind].labels.classes if n != name)
        self._relabel(kind, classes, {name: None})
        self.tasks.pop(name, None)

    # ---- keeping -------------------------------------------------------------------------------

    def save(self, folder: str | Path, **facts: Any) -> None:
        """Write it into a folder; see :func:`~mkgc_cl.inference.keeping.save_extractor`."""
        from mkgc_cl.inference.keeping import save_extractor

        save_extractor(self, Path(folder), **facts)

    @classmethod
    def load(cls, folder: str | Path) -> Extractor:
        """Read what :meth:`save` wrote; see :func:`~mkgc_cl.inference.keeping.load_extractor`."""
        from mkgc_cl.inference.keeping import load_extractor

        return load_extractor(Path(folder))

    # ---- inside --------------------------------------------------------------------------------

    def _score_known(self, held: Sequence[Sample]) -> dict[str, float]:
        known = {*self.types, *self.relations}
        scored = self.score(held) if held and known else {}
        return {name: f1 for name, f1 in scored.items() if name in known}

    def _relabel(
        self,
        kind: TaskKind,
        classes: Sequence[str],
        names: Mapping[str, str | None] | None = None,
    ) -> None:
        """Change the classes of a part, and whatever names or numbers them."""
        part = cast(ClosedForm, self.parts[kind])
        before = part.labels.outputs
        renamed = dict(_renamed_outputs(before, names or {}))
        part.relabel(classes, renamed)
        places = _places([renamed.get(n, n) for n in before], part.labels.outputs)
        if names or places != {i: i for i in places}:
            self.ledgers[kind] = self.ledgers[kind].relabel(places)
        if not names:
            return
        if kind == "ner" and "re" in self.ledgers:
            same = {i: i for i in range(len(self.parts["re"].labels.outputs))}
            self.ledgers["re"] = self.ledgers["re"].relabel(same, names)
            self.constraints = self.constraints.renamed({}, names)
        elif kind == "re":
            self.constraints = self.constraints.renamed(names, {})

    def _kind_of(self, name: str) -> TaskKind:
        kinds = [kind for kind, part in self.parts.items() if name in part.labels.classes]
        if not kinds:
            raise ConfigError(
                [f"there is no {name!r}; there are {list(self.types + self.relations)}"]
            )
        self._require_closed_form(set(kinds))
        return kinds[0]

    def _require_closed_form(self, kinds: set[TaskKind]) -> None:
        trained = [kind for kind in kinds if not isinstance(self.parts.get(kind), ClosedForm)]
        if trained:
            raise ConfigError(
                [
                    f"what this extractor has for {kind!r} was trained by gradient and learns no "
                    "more; train its strategy on, or start with Extractor.from_encoder"
                    for kind in trained
                ]
            )

    def _next_task(self) -> str:
        used = set(self.tasks.values()).union(*(ledger.tasks for ledger in self.ledgers.values()))
        number = len(used) + 1
        while f"task {number}" in used:
            number += 1
        return f"task {number}"


def _kind(sample: Sample) -> TaskKind:
    return "re" if isinstance(sample, RelationSample) else "ner"


def _wanted(given: Sequence[Lesson], types: Sequence[str] | None, *, negative: str) -> set[str]:
    """The classes that samples are to teach."""
    there: Counter[str] = Counter()
    for lesson in given:
        if isinstance(lesson.sample, RelationSample):
            there[lesson.sample.relation] += 1
        else:
            there.update(span[0] for span in spans(lesson.sample.tags))
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


def _renamed_outputs(
    outputs: Sequence[str], names: Mapping[str, str | None]
) -> Iterator[tuple[str, str]]:
    """New names of outputs, where their classes change: of a tag with its prefix."""
    for output in outputs:
        prefix, name = output[:2], output[2:]
        if outputs[0] == "O" and prefix in ("B-", "I-") and name in names:
            new = names[name]
            yield output, "O" if new is None else prefix + new
        elif outputs[0] != "O" and output in names and output != outputs[0]:
            yield output, names[output] or outputs[0]


def _places(old: Sequence[str], new: Sequence[str]) -> dict[int, int]:
    return {i: new.index(name) for i, name in enumerate(old) if name in new}


def _with_image(base: Document, image: str | Path | None) -> Document:
    if image is None:
        return base
    # of a sample, which has an image of its own, too
    seen = replace(base.visual, image=FileImage(Path(image)))
    return replace(base, image=str(image), visual=seen)
