"""JSON lines: one object a line, with words or raw text, entities or relations, and an image.

    {"tokens": ["Ann", "lives"], "entities": [{"start": 0, "end": 1, "type": "PER"}], "image": "a"}
    {"text": "Ann met Bo", "head": {"start": 0, "end": 3}, "tail": {...}, "relation": "met"}
    {"text": "...", "entities": [...], "relations": [{"head": 0, "tail": 1, "type": "met"}]}

Other keys are left alone; ``fields`` says where one of these goes by another name. An entity may
also be a list ``[start, end, type]``. Offsets are of words where there are words, of characters
where there is raw text; ends are exclusive unless said otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mkgc_cl.data.files.records import Account, Record, image_problem
from mkgc_cl.data.files.segments import cut_words, joined, span_of
from mkgc_cl.data.samples import Place, RelationSample, TaggingSample, TaskKind
from mkgc_cl.data.textfile import TextFile, is_text, shown
from mkgc_cl.errors import ConfigError, DataError

Offsets = Literal["auto", "word", "character"]
Ends = Literal["exclusive", "inclusive"]

#: The keys that are read, which ``fields`` may rename.
KEYS = (
    "id",
    "tokens",
    "text",
    "entities",
    "start",
    "end",
    "type",
    "head",
    "tail",
    "relation",
    "relations",
    "image",
    "grounding",
    "detected",
)

MAX_LINE = 1_000_000

_Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class JsonFields:
    """How the objects are written.

    Args:
        names: of the keys in :data:`KEYS`, those that go by another name.
        offsets: what ``start`` and ``end`` count: words, characters (of the raw text, or of the
            words joined by one space), or whichever is there.
        ends: whether ``end`` is the first one behind, or the last one of an entity.

    Raises:
        ConfigError: a key there is not, or a choice there is not.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    offsets: Offsets = "auto"
    ends: Ends = "exclusive"

    def __post_init__(self) -> None:
        wrong = [
            f"fields renames {name!r}, which is not read; it may rename {', '.join(KEYS)}"
            for name in self.names
            if name not in KEYS
        ]
        if self.offsets not in ("auto", "word", "character"):
            wrong.append(f"offsets must be auto, word or character; found {self.offsets!r}")
        if self.ends not in ("exclusive", "inclusive"):
            wrong.append(f"ends must be exclusive or inclusive; found {self.ends!r}")
        if wrong:
            raise ConfigError(wrong)

    def key(self, name: str) -> str:
        """What a key is called in the files."""
        return self.names.get(name, name)


class _WrongError(ValueError):
    """What is wrong with an object."""


def scan_json_lines(
    text: TextFile,
    fields: JsonFields,
    kind: TaskKind,
    prefix: str,
    account: Account,
    *,
    first: int = 0,
) -> list[Record]:
    """Read the samples of a file; lines that are wrong are noted in ``account``.

    Args:
        text: the file.
        fields: how its objects are written.
        kind: what is wanted: tagged entities or relations.
        prefix: of the uids: ``{prefix}/{id}``, or the line's number from ``first`` without ids.
        account: gets problems and counts.
        first: number of the first line.
    """
    records: list[Record] = []
    for number, line in enumerate(text.lines, 1):
        if not line.strip():
            continue
        place = Place(text.path, number)

        def problem(message: str, repair: str = "", place: Place = place) -> None:
            found = DataError(message, path=place.path, line=place.line)
            if repair:
                account.repair(repair, found)
            else:
                account.problems.append(found)

        try:
            reader = _Object(_parsed(line), fields, problem, account)
            uid = f"{prefix}/{reader.uid(first + number - 1)}"
            records += reader.tagged(uid, place) if kind == "ner" else reader.related(uid, place)
        except _WrongError as error:
            problem(f"{error}; correct or remove the line")
    return records


def _parsed(line: str) -> Mapping[str, Any]:
    try:
        if len(line) > MAX_LINE:
            raise ValueError(f"a line of {len(line):,} characters")
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _WrongError(f"expected one JSON object, found {shown(line)}") from error
    if not isinstance(value, dict):
        raise _WrongError(f"expected one JSON object, found {shown(value)}")
    return value


class _Object:
    """One object, read as a sample."""

    def __init__(
        self,
        value: Mapping[str, Any],
        fields: JsonFields,
        problem: Callable[..., None],
        account: Account,
    ) -> None:
        self._value = value
        self._fields = fields
        self._problem = problem
        self._account = account
        tokens, raw = self._get("tokens"), self._get("text")
        if isinstance(tokens, list):
            if not tokens or not all(isinstance(t, str) and t and is_text(t) for t in tokens):
                raise _WrongError(f"expected words in {self._key('tokens')}, found {shown(tokens)}")
            self.tokens = tuple(tokens)
            self._edges = joined(self.tokens)
            self._characters = fields.offsets == "character"
        elif isinstance(raw, str):
            self._edges = cut_words(raw)
            self.tokens = tuple(raw[start:end] for start, end in self._edges)
            if not self.tokens or not is_text(raw):
                raise _WrongError(f"expected words in {self._key('text')}, found {shown(raw)}")
            self._characters = fields.offsets != "word"
        else:
            raise _WrongError(
                f"expected a list of words in {self._key('tokens')} or text in "
                f"{self._key('text')}, found the keys {shown(list(value), 120)} "
                "(fields= says where a key goes by another name)"
            )
        self._image = self._name("image", self._get("image"))
        self._crops = [self._names(key) for key in ("grounding", "detected")]

    def uid(self, number: int) -> str:
        """What tells this object from others: its id, or its number in the file."""
        found = self._get("id")
        if found is None:
            return str(number)
        if isinstance(found, bool) or not isinstance(found, (str, int)) or not is_text(str(found)):
            raise _WrongError(
                f"expected text or a number in {self._key('id')}, found {shown(found)}"
            )
        return str(found)

    def tagged(self, uid: str, place: Place) -> list[Record]:
        """Read it as a sample of tags."""
        if self._get("entities") is None:
            raise _WrongError(f"expected {self._key('entities')}, a list (empty without entities)")
        entities = [(*self._span(e), self._type(e)) for e in self._list("entities")]
        tags = ["O"] * len(self.tokens)
        # the longest first, so that of those that overlap it is the one that stays
        for start, end, kind in sorted(entities, key=lambda e: (e[0] - e[1], e[0])):
            if any(tag != "O" for tag in tags[start:end]):
                message = (
                    f"expected entities apart from one another, found {self._words(start, end)} "
                    f"({kind}) inside or across another: tags hold one"
                )
                self._problem(message, "outermost")
                continue
            tags[start:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - start - 1)]
        return [self._record(TaggingSample(uid, self.tokens, tuple(tags), place=place))]

    def related(self, uid: str, place: Place) -> list[Record]:
        """Read it as one sample for each of its relations."""
        if self._get("relations") is None:
            pairs = [(self._get("head"), self._get("tail"), self._get("relation"))]
            uids = [uid]
        else:
            # an entity may be named by its place in the list of them
            entities = self._list("entities") if self._get("entities") is not None else []
            pairs = []
            for item in self._list("relations"):
                if not isinstance(item, dict):
                    raise _WrongError(
                        f"expected objects in {self._key('relations')}, found {shown(item)}"
                    )
                get = {k: item.get(self._fields.key(k)) for k in ("head", "tail", "type")}
                head, tail = (_entity(get[side], entities) for side in ("head", "tail"))
                pairs.append((head, tail, get["type"]))
            uids = [f"{uid}#{number}" for number in range(len(pairs))]
            if not pairs:
                self._account.left_out["lines without a relation"] += 1
        records = []
        for own, (head, tail, relation) in zip(uids, pairs, strict=True):
            if not isinstance(relation, str) or not relation or not is_text(relation):
                raise _WrongError(
                    f"expected the name of a relation, found {shown(relation)} "
                    f"(key {self._key('relation')})"
                )
            spans = self._span(head, "head"), self._span(tail, "tail")
            sample = RelationSample(own, self.tokens, *spans, relation=relation, place=place)
            records.append(self._record(sample))
        return records

    def _record(self, sample: TaggingSample | RelationSample) -> Record:
        grounding, detected = self._crops
        return Record(sample, self._image, grounding, detected)

    def _span(self, entity: object, what: str = "entity") -> _Span:
        """Return the words of an entity."""
        if isinstance(entity, dict):
            edges = [entity.get(self._fields.key(side)) for side in ("start", "end")]
        elif isinstance(entity, list) and len(entity) >= 2:
            edges = entity[:2]
        else:
            raise _WrongError(
                f"expected {self._key('start')} and {self._key('end')} of the {what}, found "
                f"{shown(entity)}"
            )
        size = self._edges[-1][1] if self._characters else len(self.tokens)
        start, end = edges
        if type(start) is not int or type(end) is not int:
            raise _WrongError(f"expected whole numbers as offsets of the {what}, found {edges}")
        end += self._fields.ends == "inclusive"
        if not 0 <= start < end <= max(size, self._length()):
            unit = "characters" if self._characters else "words"
            raise _WrongError(
                f"expected offsets of the {what} inside the {size:,} {unit} and not empty, found "
                f"[{shown(start)}, {shown(end)})"
            )
        if not self._characters:
            return start, end
        first, last, exact = span_of(self._edges, start, end)
        if first >= last:
            raise _WrongError(
                f"expected words at the offsets of the {what}, found white space at "
                f"[{start}, {end})"
            )
        if not exact:
            self._problem(
                f"expected the {what} to begin and end with words, found [{start}, {end}) within "
                f"{self._words(first, last)}",
                "widen",
            )
        return first, last

    def _length(self) -> int:
        """Most that an offset may be."""
        raw = self._get("text")
        return len(raw) if self._characters and isinstance(raw, str) else 0

    def _type(self, entity: Any) -> str:
        if isinstance(entity, dict):
            kind = entity.get(self._fields.key("type"))
        else:
            kind = entity[2] if len(entity) > 2 else None
        if not isinstance(kind, str) or not kind or not is_text(kind):
            raise _WrongError(
                f"expected the {self._key('type')} of an entity, found {shown(entity)}"
            )
        return kind

    def _words(self, start: int, end: int) -> str:
        return shown(" ".join(self.tokens[start:end]))

    def _names(self, name: str) -> tuple[str, ...]:
        found = [] if self._get(name) is None else self._list(name)
        names = [self._name(name, item) for item in found]
        return tuple(item for item in names if item is not None)

    def _name(self, key: str, value: object) -> str | None:
        if value is None or value == "":
            return None
        if isinstance(value, bool) or not isinstance(value, (str, int)) or not is_text(str(value)):
            raise _WrongError(
                f"expected the name of an image in {self._key(key)}, found {shown(value)}"
            )
        if wrong := image_problem(str(value)):
            raise _WrongError(wrong)
        return str(value)

    def _list(self, name: str) -> list[Any]:
        value = self._get(name)
        if not isinstance(value, list):
            raise _WrongError(f"expected a list in {self._key(name)}, found {shown(value)}")
        return value

    def _get(self, name: str) -> Any:
        return self._value.get(self._fields.key(name))

    def _key(self, name: str) -> str:
        return repr(self._fields.key(name))


def _entity(value: object, entities: list[Any]) -> object:
    """An entity, by its place in the list of entities or as it is."""
    if type(value) is int:
        if not 0 <= value < len(entities):
            raise _WrongError(
                f"expected the number of one of {len(entities)} entities (from 0), found {value}"
            )
        return entities[value]
    return value
