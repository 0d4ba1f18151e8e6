"""An extractor of entities and relations that learns a new type in seconds, without old samples."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Any

from mkgc_cl.data.samples import TaskKind
from mkgc_cl.data.tokenizer import MarkerKind
from mkgc_cl.errors import ConfigError, DataError, gathered
from mkgc_cl.inference import changes
from mkgc_cl.inference.documents import Document, document, is_name
from mkgc_cl.inference.encoder import FrozenEncoder
from mkgc_cl.inference.extraction import Extraction
from mkgc_cl.inference.forgetting import forget_samples
from mkgc_cl.inference.learning import learn_lessons
from mkgc_cl.inference.ledger import Ledger
from mkgc_cl.inference.measuring import f1_by_type
from mkgc_cl.inference.parts import ClosedForm, Part, part_of
from mkgc_cl.inference.prediction import predict
from mkgc_cl.inference.records import lessons
from mkgc_cl.inference.report import LearnReport
from mkgc_cl.inference.seeing import shown_with
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
        ledgers: what every sample taught, by kind.
        tasks: the task that taught each type.
        background: what words labelled ``O`` teach, see
            :class:`~mkgc_cl.models.gaussian.TaskLearning`.

    Attributes:
        constraints: which types relations were learnt between, as the ledger of samples says.
    """

    def __init__(
        self,
        parts: Mapping[TaskKind, Part],
        *,
        ledgers: Mapping[TaskKind, Ledger] | None = None,
        tasks: Mapping[str, str] | None = None,
        background: Background = "read-as-O",
    ) -> None:
        if not parts:
            raise ConfigError(["an extractor has at least one part; give one that tags or relates"])
        check_background(background)
        self.parts: dict[TaskKind, Part] = dict(parts)
        self.ledgers: dict[TaskKind, Ledger] = dict(ledgers or {})
        for kind, part in self.parts.items():
            captions = isinstance(part, ClosedForm) and part.captions
            self.ledgers.setdefault(kind, Ledger({}, captions))
        self.constraints = changes.constraints_of(self.parts, self.ledgers)
        self.tasks: dict[str, str] = dict(tasks or {})
        self.background: Background = background
        # the folder that holds it, and the description there: who saves must not lose a newer one
        self._kept: tuple[Path, Mapping[str, Any]] | None = None

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
        captions: bool = False,
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
            captions: read the caption of a text's image behind it; every text must have one then.
            max_length: most tokens of a window; 128 by default.
            seed: of weights that are drawn (``"tiny"``).

        Raises:
            ConfigError: the encoder cannot be loaded, or an option does not fit it.
        """
        frozen = FrozenEncoder.load(encoder, markers=markers, max_length=max_length, seed=seed)
        options = GaussianOptions(shrinkage=shrinkage)
        layers: dict[TaskKind, tuple[int, ...] | None] = {"ner": tag_layers, "re": relation_layers}
        parts: dict[TaskKind, Part] = {
            kind: ClosedForm(
                kind,
                frozen,
                negative=negative,
                layers=chosen,
                options=options,
                captions=captions,
            )
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
        return self.parts["ner"].learnt if "ner" in self.parts else ()

    @property
    def relations(self) -> tuple[str, ...]:
        """The relations that it has learnt."""
        return self.parts["re"].learnt if "re" in self.parts else ()

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

    # ---- use -----------------------------------------------------------------------------------

    def __call__(
        self,
        given: Any = None,
        *,
        tokens: Sequence[str] | None = None,
        image: str | Path | None = None,
        caption: str | None = None,
        constrain: bool = True,
    ) -> Any:
        """Find entities and relations.

        Args:
            given: a text; a record or a sample (see :func:`~mkgc_cl.inference.documents.document`),
                whose entities are taken where it has any; a list of any of these, or of lists of
                words; or an iterator of them.
            tokens: words, in place of a text.
            image: path of the image that belongs to a text.
            caption: what is written about that image, for a model that reads captions.
            constrain: leave out relations between types that they were never learnt between.

        Returns:
            An :class:`Extraction`, a list of them, or for an iterator an iterator of them.

        Raises:
            DataError: something else was given, a text that UTF-8 cannot write, or a text without
                the image or caption that a model reads.
            ConfigError: nothing was learnt yet, or relations alone and no entities are given.
        """
        if (given is None) == (tokens is None):
            raise DataError("expected one text, record, list or tokens=[...]; give one of these")
        if tokens is not None:
            given = {"tokens": tokens}
        if isinstance(given, list | Iterator):
            for name, one in (("image", image), ("caption", caption)):
                if one is not None:
                    raise DataError(f"one {name} for several texts; give records with {name!r}")
            if isinstance(given, Iterator):
                return self.stream(given, constrain=constrain)
            return self._all(given, constrain)
        shown = shown_with(document(given), image, caption, self.parts.values())
        return predict(self, [shown], constrain=constrain)[0]

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
        return f1_by_type(self, [one.sample for one in lessons(samples, negative=self.negative)])

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

        All of it is learnt or nothing: whatever raises, an interrupt too, leaves what was there.

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
        if task and not is_name(task):
            raise DataError(f"expected a task's name, text that UTF-8 can write, found {task!r}")
        given = lessons(samples, negative=self.negative)
        held = [lesson.sample for lesson in lessons(held_out, negative=self.negative)]
        return learn_lessons(self, given, types=types, task=task, held=held)

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
        return forget_samples(
            self, [one.sample for one in lessons(samples, negative=self.negative)]
        )

    def merge(self, other: Extractor) -> int:
        """Learn all that another extractor of the same encoder has learnt, without its samples.

        Returns:
            How many samples both had learnt; these count twice from now on.

        Raises:
            ConfigError: it reads another encoder, other layers, or has other options.
        """
        return changes.merge(self, other)

    def rename(self, old: str, new: str) -> None:
        """Give a type or relation another name; under a known one the two become one.

        Raises:
            ConfigError: there is no ``old``, or ``new`` is no name.
        """
        changes.rename(self, old, new)

    def remove(self, name: str) -> None:
        """Take a type or relation out: its samples teach ``O``, or no relation, from now on.

        The words of a type that is no longer wanted are still words that are no other type.

        Raises:
            ConfigError: there is none of that name.
        """
        changes.remove(self, name)

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

    def export_onnx(self, folder: str | Path) -> tuple[Path, ...]:
        """Write it as ONNX; see :func:`~mkgc_cl.inference.onnx_export.export_onnx`."""
        from mkgc_cl.inference.onnx_export import export_onnx

        return export_onnx(self, Path(folder))

    @classmethod
    def from_onnx(cls, folder: str | Path) -> Extractor:
        """Read what :meth:`export_onnx` wrote, to predict alone."""
        from mkgc_cl.inference.onnx_parts import load_onnx

        return load_onnx(Path(folder))

    @classmethod
    def editing(cls, folder: str | Path, **options: Any) -> AbstractContextManager[Extractor]:
        """Change a saved one, alone; see :func:`~mkgc_cl.inference.keeping.edit_extractor`."""
        from mkgc_cl.inference.keeping import edit_extractor

        return edit_extractor(Path(folder), **options)
