"""Nodes and edges, read off the evidence a few at a time, so that no size fills the memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mkgc_cl.graph.gathering import Gathered
from mkgc_cl.graph.items import Edge, Node
from mkgc_cl.graph.merging import plain_name
from mkgc_cl.graph.terms import BASE, PREFIXES, SKOS, name_of

TOGETHER = 256
"""Nodes, or heads of edges, whose evidence is asked for in one query."""
_NODE = f"{BASE}node:"


@dataclass(frozen=True)
class Reading:
    """Evidence of one model, of some tasks, or all of it.

    Args:
        ox: the database's module.
        store: the database.
        low: scores below this are low.
        model: digest of the model; ``None`` for all.
        tasks: names of the tasks; ``None`` for all.
    """

    ox: Any
    store: Any
    low: float
    model: str | None = None
    tasks: Collection[str] | None = None

    def nodes(self, ids: Iterable[str] | None = None) -> Iterator[Node]:
        """Yield nodes in the order of their ids: those of ``ids``, or all."""
        rivals = self._rivals()
        for key, found in self._gathered_nodes(self._ids("mkgc:of") if ids is None else ids):
            yield found.node(key, self.low, rivals.get(key, []))

    def edges(self, heads: Iterable[str] | None = None) -> Iterator[Edge]:
        """Yield edges in the order of their keys: those from ``heads``, or all."""
        wanted = self._ids("rdf:subject") if heads is None else heads
        pattern = "?m rdf:subject ?node ; rdf:predicate ?relation ; rdf:object ?tail"
        for rows in self._chunks(wanted, pattern, "?relation ?tail"):
            found: dict[tuple[str, str, str], Gathered] = defaultdict(Gathered)
            for row, task in rows:
                key = (id_of(row["node"]), name_of(row["relation"].value), id_of(row["tail"]))
                found[key].take(row, task, mention=False)
            between: dict[tuple[str, str], set[str]] = defaultdict(set)
            for head, relation, tail in found:
                between[head, tail].add(relation)
            for key in sorted(found):
                yield found[key].edge(key, self.low, between[key[0], key[2]])

    def _gathered_nodes(self, ids: Iterable[str]) -> Iterator[tuple[str, Gathered]]:
        for rows in self._chunks(ids, "?m mkgc:of ?node ; mkgc:text ?text", "?text ?type ?image"):
            found: dict[str, Gathered] = defaultdict(Gathered)
            for row, task in rows:
                found[id_of(row["node"])].take(row, task, mention=True)
            yield from sorted(found.items())

    def _rivals(self) -> dict[str, list[str]]:
        """Other nodes of the same name, of each node that has any.

        Names are counted for the few nodes alone that share one with another.
        """
        label = self.ox.NamedNode(f"{SKOS}altLabel")
        owners: dict[str, str] = {}
        shared: set[str] = set()
        for quad in self.store.quads_for_pattern(None, label, None, None):
            key = id_of(quad.subject)
            other = owners.setdefault(plain_name(quad.object.value), key)
            if other != key:
                shared |= {key, other}
        by_name: dict[str, list[str]] = defaultdict(list)
        for key, found in self._gathered_nodes(shared):
            by_name[plain_name(found.name)].append(key)
        return {
            key: [other for other in keys if other != key]
            for keys in by_name.values()
            for key in keys
            if len(keys) > 1
        }

    def _ids(self, way: str) -> set[str]:
        """Ids of nodes that mentions (``mkgc:of``) or statements (``rdf:subject``) lead to."""
        return {
            id_of(row["node"])
            for row in self._query(
                f"SELECT DISTINCT ?node WHERE {{ ?m {way} ?node {self._of_model()} }}"
            )
        }

    def _chunks(
        self, ids: Iterable[str], pattern: str, names: str
    ) -> Iterator[Iterator[tuple[Any, str]]]:
        """Yield rows of evidence with their tasks, some nodes at a time, in the order of ids."""
        optional = " ".join(
            f"OPTIONAL {{ ?m mkgc:{name} ?{name} }}" for name in ("type", "image") if name in names
        )
        asked = sorted(ids)
        for start in range(0, len(asked), TOGETHER):
            values = " ".join(
                str(self.ox.NamedNode(_NODE + key)) for key in asked[start : start + TOGETHER]
            )
            rows = self._query(
                f"SELECT ?node {names} ?score ?source ?task ?model WHERE {{ "
                f"VALUES ?node {{ {values} }} {pattern} ; mkgc:score ?score ; mkgc:source ?source "
                f"; mkgc:task ?task {self._of_model()} . {optional} "
                "OPTIONAL { ?m mkgc:model ?model } }"
            )
            told = ((row, name_of(row["task"].value)) for row in rows)
            yield (one for one in told if self.tasks is None or one[1] in self.tasks)

    def _of_model(self) -> str:
        return "" if self.model is None else f"; mkgc:model {self.ox.Literal(self.model)}"

    def _query(self, text: str) -> Any:
        return self.store.query(text, prefixes=PREFIXES)


def id_of(node: Any) -> str:
    """Id of a node of the database."""
    return str(node.value[len(_NODE) :])
