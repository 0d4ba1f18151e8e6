"""Evidence of one node or edge, gathered row by row."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from mkgc_cl.graph.items import Edge, Node
from mkgc_cl.graph.terms import name_of


@dataclass(slots=True)
class Gathered:
    """Evidence of one node or edge."""

    names: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    sources: set[str] = field(default_factory=set)
    images: set[str] = field(default_factory=set)
    tasks: set[str] = field(default_factory=set)
    models: set[str] = field(default_factory=set)
    score: float = 0.0

    def take(self, row: Any, task: str, *, mention: bool) -> None:
        """Take a row of a query: a mention of a node, or a statement of an edge."""
        self.sources.add(name_of(row["source"].value))
        self.tasks.add(task)
        self.score = max(self.score, float(row["score"].value))
        if row["model"] is not None:
            self.models.add(row["model"].value)
        if not mention:
            return
        self.names[row["text"].value] += 1
        if row["type"] is not None:
            self.types[name_of(row["type"].value)] += 1
        if row["image"] is not None:
            self.images.add(row["image"].value)

    @property
    def name(self) -> str:
        """The canonical name."""
        return first_of(self.names) or ""

    def node(self, key: str, low: float, conflicts: list[str]) -> Node:
        """Return the node of this key."""
        return Node(
            key,
            self.name,
            first_of(self.types),
            tuple(sorted(self.names)),
            self.names.total(),
            tuple(sorted(self.sources)),
            tuple(sorted(self.images)),
            tuple(sorted(self.tasks)),
            tuple(sorted(self.models)),
            self.score,
            self.score < low,
            tuple(sorted(conflicts)),
        )

    def edge(self, key: tuple[str, str, str], low: float, between: set[str]) -> Edge:
        """Return the edge of this key, given all relations between its nodes."""
        return Edge(
            *key,
            self.score,
            len(self.sources),
            tuple(sorted(self.sources)),
            tuple(sorted(self.tasks)),
            tuple(sorted(self.models)),
            self.score < low,
            tuple(sorted(between - {key[1]})),
        )


def first_of(counts: Counter[str]) -> str | None:
    """The most frequent; of several the first by alphabet."""
    return min(counts, key=lambda name: (-counts[name], name)) if counts else None
