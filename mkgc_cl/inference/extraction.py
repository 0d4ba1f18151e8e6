"""What is found in a text: entities and relations, with offsets, scores and tasks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from mkgc_cl.data.textfile import is_text
from mkgc_cl.errors import DataError


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity that was found, or given.

    Args:
        text: its characters.
        type: its type; ``None`` where it was given without one.
        score: probability of its least certain word, 0 to 1; 1 where it was given.
        start: first word, from 0.
        end: word behind the last one.
        char_start: first character, from 0.
        char_end: character behind the last one.
        task: the task that taught the type, where that is known.
    """

    text: str
    type: str | None
    score: float
    start: int
    end: int
    char_start: int
    char_end: int
    task: str | None = None


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation between two entities of one text.

    Args:
        head: index of the head among the entities of the text.
        tail: index of the tail.
        type: its name.
        score: its probability, 0 to 1.
        task: the task that taught it, where that is known.
    """

    head: int
    tail: int
    type: str
    score: float
    task: str | None = None


@dataclass(frozen=True, slots=True)
class Extraction:
    """What was found in one text.

    Args:
        text: the text.
        tokens: its words, which the positions of entities count.
        entities: in order of their place.
        relations: in order of their entities.
        uid: identity of the text, where it was given one.
        image: the image that was given with it, by name.
        model: digest of the extractor that found them: it changes with all that is learnt.
    """

    text: str
    tokens: tuple[str, ...]
    entities: tuple[Entity, ...] = ()
    relations: tuple[Relation, ...] = ()
    uid: str | None = None
    image: str | None = None
    model: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Extraction:
        """Take what :meth:`to_dict` returned.

        Raises:
            DataError: it is something else.
        """
        try:
            given = dict(plain)
            given["tokens"] = tuple(plain["tokens"])
            given["entities"] = tuple(Entity(**entity) for entity in plain.get("entities", ()))
            given["relations"] = tuple(Relation(**edge) for edge in plain.get("relations", ()))
            made = cls(**given)
            wrong = made._wrong()
        except (TypeError, KeyError) as error:
            wrong = repr(error)
        if wrong:
            raise DataError(
                f"expected what mkgc predict prints ({wrong}); give --extractor for texts",
                sample=str(plain.get("uid")),
            )
        return made

    def _wrong(self) -> str:
        """What cannot be, of what came from elsewhere."""
        said: list[Entity | Relation] = [*self.entities, *self.relations]
        names = [self.text, *self.tokens, *(e.text for e in self.entities)]
        names += [edge.type for edge in self.relations]
        open_ = [
            self.uid,
            self.image,
            self.model,
            *(name for o in said for name in (o.type, o.task)),
        ]
        names += [name for name in open_ if name is not None]
        if not all(isinstance(name, str) and is_text(name) for name in names):
            return "a name or a text is none"
        if not all(0 <= one.score <= 1 for one in said):
            return "a score is no probability"
        places = {place for e in self.entities for place in (e.char_start, e.char_end)}
        ends = {end for edge in self.relations for end in (edge.head, edge.tail)}
        if not all(type(place) is int and 0 <= place <= len(self.text) for place in places):
            return "an entity is outside of its text"
        if not all(type(end) is int and 0 <= end < len(self.entities) for end in ends):
            return "a relation is between entities that are not there"
        return ""
