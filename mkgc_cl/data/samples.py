"""What a sample is to this package: words, an image or several, and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from mkgc_cl.data.images import ImageSource
from mkgc_cl.errors import DataError

TaskKind = Literal["re", "ner"]


class Place(NamedTuple):
    """Where a sample was read: a file, and its line from 1."""

    path: Path
    line: int


@dataclass(frozen=True, slots=True)
class VisualInput:
    """The images of one sample.

    Args:
        image: the whole image, ``None`` where there is none: an error for a model that looks at it.
            :data:`~mkgc_cl.data.images.BLANK` shows it a blank one.
        grounding: crops of noun phrases found by visual grounding (the released code uses three).
        detected: crops of detected objects (the released code uses three).
        caption: words in place of the image; ``""`` where there are none to be had, ``None`` where
            none are shown: an error for a model that reads captions.

    Raises:
        DataError: an image is given as text or path, or crops not as a tuple.
    """

    image: ImageSource | None = None
    grounding: tuple[ImageSource, ...] = ()
    detected: tuple[ImageSource, ...] = ()
    caption: str | None = None

    def __post_init__(self) -> None:
        _require_tuples(self, "grounding", "detected")
        for source in (self.image, *self.grounding, *self.detected):
            if isinstance(source, (str, Path)):
                raise DataError(
                    f"expected a source of pixels as image, found {source!r}; write "
                    f"FileImage(Path({str(source)!r}))"
                )

    @property
    def key(self) -> tuple[str, ...]:
        """Identity of the input: equal keys mean equal pixels and captions."""
        whole = () if self.image is None else (self.image.key,)
        return (
            *whole,
            "|",
            *(source.key for source in self.grounding),
            "|",
            *(source.key for source in self.detected),
            *(() if self.caption is None else ("|", self.caption)),
        )


@dataclass(frozen=True, slots=True)
class RelationSample:
    """A sample with two marked entities and the relation between them.

    Args:
        uid: identity of the sample, kept through every split (``mre/train/17`` is row 17, from 0,
            of the full training file).
        tokens: the words.
        head: ``(start, end)`` of the head entity, end excluded.
        tail: ``(start, end)`` of the tail entity, end excluded.
        relation: name of the relation; the stream's N/A name where there is none.
        visual: the images.
        place: where it was read, for errors to name; no part of its identity.

    Raises:
        DataError: ``uid`` is no text, or words and spans are no tuples.
    """

    uid: str
    tokens: tuple[str, ...]
    head: tuple[int, int]
    tail: tuple[int, int]
    relation: str
    visual: VisualInput = field(default_factory=VisualInput)
    place: Place | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        _require_uid(self.uid)
        _require_tuples(self, "tokens", "head", "tail", sample=self.uid)

    @property
    def identity(self) -> str:
        """Identity of sample and label."""
        return self.uid


@dataclass(frozen=True, slots=True)
class TaggingSample:
    """A sample whose entities are tagged in BIO.

    Args:
        uid: identity of the sample, kept through every split (``mner/train/17`` is sentence 17,
            from 0, of the full training file).
        tokens: the words.
        tags: one BIO tag per word (``O``, ``B-PER``, ``I-PER``, ...).
        visual: the images.
        place: where it was read, for errors to name; no part of its identity.

    Raises:
        DataError: ``uid`` is no text, or words and tags are no tuples.
    """

    uid: str
    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    visual: VisualInput = field(default_factory=VisualInput)
    place: Place | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        _require_uid(self.uid)
        _require_tuples(self, "tokens", "tags", sample=self.uid)

    @property
    def identity(self) -> str:
        """Identity of sample and labels: one sample may be tagged with other types in other tasks.

        >>> TaggingSample("mner/train/17", ("Jordan", "won"), ("B-PER", "O")).identity
        'mner/train/17#PER'
        """
        types = sorted({tag[2:] for tag in self.tags if tag.startswith("B-")})
        return f"{self.uid}#{'+'.join(types)}"


Sample = RelationSample | TaggingSample


def _require_uid(uid: object) -> None:
    if not isinstance(uid, str):
        raise DataError(f"expected a uid as text, found {uid!r}; write str({uid!r})")


def _require_tuples(owner: object, *names: str, sample: str | None = None) -> None:
    # What is compared and looked up must not change afterwards, as a list can.
    for name in names:
        value = getattr(owner, name)
        if not isinstance(value, tuple):
            raise DataError(
                f"expected {name} as a tuple, found {type(value).__name__}; write tuple({name})",
                sample=sample,
            )


@dataclass(frozen=True, slots=True)
class LabelSpace:
    """The classes of a stream in order of arrival.

    Args:
        kind: ``"re"`` (one relation per sample) or ``"ner"`` (BIO tags).
        classes: positive classes in order of arrival (relations or entity types), without N/A
            or ``O``.
        na: the recurring negative relation, for ``"re"`` only.
    """

    kind: TaskKind
    classes: tuple[str, ...]
    na: str | None = None

    def __post_init__(self) -> None:
        if len(set(self.classes)) != len(self.classes):
            raise DataError(f"a class is named twice in {self.classes}; name each class once")
        if (self.kind == "ner") != (self.na is None):
            raise DataError("a relation stream names its N/A relation; a tagging stream has none")

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the model's outputs: N/A and relations, or ``O`` and the BIO tags.

        >>> LabelSpace("ner", ("PER",)).outputs
        ('O', 'B-PER', 'I-PER')
        """
        if self.kind == "re":
            return (str(self.na), *self.classes)
        return ("O", *(f"{prefix}-{name}" for name in self.classes for prefix in "BI"))

    def output_ids(self, classes: Sequence[str]) -> tuple[int, ...]:
        """Ids of the outputs that ``classes`` own, the negative output (id 0) included.

        >>> LabelSpace("ner", ("PER", "LOC")).output_ids(["LOC"])
        (0, 3, 4)
        """
        unknown = [name for name in classes if name not in self.classes]
        if unknown:
            raise DataError(f"unknown classes {unknown}; this stream has {list(self.classes)}")
        if self.kind == "re":
            return (0, *(1 + self.classes.index(name) for name in classes))
        return (0, *(1 + 2 * self.classes.index(n) + step for n in classes for step in (0, 1)))


@dataclass(frozen=True, slots=True)
class Task:
    """One task of a stream.

    Args:
        name: short name, shown in tables.
        classes: the positive classes this task brings.
        train: training samples.
        valid: validation samples.
        test: what this task adds to the test set. For ``"ner"`` these are the stream's test
            sentences with the tags of this task's classes only, so pooled counts over tasks 1..k
            are the counts on the cumulative test set.
    """

    name: str
    classes: tuple[str, ...]
    train: tuple[Sample, ...]
    valid: tuple[Sample, ...]
    test: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class TaskStream:
    """A class-incremental stream, free of any training framework.

    Args:
        name: name of the scenario (``"imre"``, ``"imner"``, ``"demo-ner"``, ...).
        labels: every class, in order of arrival.
        tasks: the tasks in order.
        provenance: what made the stream: files and their fingerprints, image policy, how many
            images are blank, seed, ...; goes into every result record.
    """

    name: str
    labels: LabelSpace
    tasks: tuple[Task, ...]
    provenance: dict[str, object]
