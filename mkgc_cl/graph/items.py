"""What a graph is read as: nodes and edges, each with all that supports it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Node:
    """An entity: all mentions that the merge rule holds for one.

    Args:
        id: its identity, which the merge rule decides; no order of arrival changes it.
        name: its canonical name: the most frequent of its names, the first by alphabet of several.
        type: its type; ``None`` where it was given without one.
        aliases: all of its names, by alphabet.
        mentions: how often it was mentioned.
        sources: where, by alphabet.
        images: images that came with these.
        tasks: the tasks that taught to find it.
        models: digests of the models that found it.
        score: the highest of its mentions.
        low: whether that is low.
        conflicts: nodes of the same name and another type.
    """

    id: str
    name: str
    type: str | None
    aliases: tuple[str, ...]
    mentions: int
    sources: tuple[str, ...]
    images: tuple[str, ...]
    tasks: tuple[str, ...]
    models: tuple[str, ...]
    score: float
    low: bool
    conflicts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Edge:
    """A relation between two nodes.

    Args:
        head: id of a node.
        relation: its name.
        tail: id of a node.
        score: the highest with which it was found.
        support: how many sources say so.
        sources: which, by alphabet.
        tasks: the tasks that taught to find it.
        models: digests of the models that found it.
        low: whether the score is low.
        conflicts: other relations that were found from the same head to the same tail.
    """

    head: str
    relation: str
    tail: str
    score: float
    support: int
    sources: tuple[str, ...]
    tasks: tuple[str, ...]
    models: tuple[str, ...]
    low: bool
    conflicts: tuple[str, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        """Head, relation and tail."""
        return (self.head, self.relation, self.tail)
