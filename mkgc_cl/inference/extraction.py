"""What is found in a text: entities and relations, with offsets, scores and tasks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


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
        """Take what :meth:`to_dict` returned."""
        given = dict(plain)
        given["tokens"] = tuple(plain["tokens"])
        given["entities"] = tuple(Entity(**entity) for entity in plain.get("entities", ()))
        given["relations"] = tuple(Relation(**edge) for edge in plain.get("relations", ()))
        return cls(**given)
