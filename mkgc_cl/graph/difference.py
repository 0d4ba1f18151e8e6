"""What one graph has that another lacks: added, changed, forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

from mkgc_cl.graph.items import Edge, Node

CHANGE = 0.05
"""Least difference of two scores that counts as a change."""


class Readable(Protocol):
    """A graph, or a view of one."""

    def each_node(self, ids: Iterable[str] | None = None) -> Iterator[Node]:
        """Nodes in the order of their ids."""
        ...

    def each_edge(self, heads: Iterable[str] | None = None) -> Iterator[Edge]:
        """Edges in the order of their keys."""
        ...


@dataclass(frozen=True, slots=True)
class GraphDiff:
    """From one graph to another.

    Args:
        nodes: nodes that were added, changed and forgotten.
        edges: edges that were added, changed and forgotten.
        names: names of these nodes, and of the ends of these edges.
    """

    nodes: Mapping[str, tuple[Node, ...]]
    edges: Mapping[str, tuple[Edge, ...]]
    names: Mapping[str, str]

    def rows(self) -> list[tuple[str, str, str]]:
        """One row for each difference: what happened, to what kind of thing, to which."""
        found = [
            (what, "node", f"{n.name} ({n.type})") for what in _KINDS for n in self.nodes[what]
        ]
        return found + [
            (what, "edge", f"{self.names[e.head]} --{e.relation}--> {self.names[e.tail]}")
            for what in _KINDS
            for e in self.edges[what]
        ]

    def __str__(self) -> str:
        counts = [
            f"{what}: {len(self.nodes[what])} nodes, {len(self.edges[what])} edges"
            for what in _KINDS
        ]
        lines = [f"  {what:<9} {kind}  {text}" for what, kind, text in self.rows()]
        return "\n".join([*counts, *lines])


_KINDS = ("added", "changed", "forgotten")


def diff(before: Readable, after: Readable) -> GraphDiff:
    """Compare two graphs, or two views of one.

    A node is changed where its name, type or set of names is another one; an edge where its support
    is, or its score by more than :data:`CHANGE`.

    Args:
        before: the earlier one.
        after: the later one.
    """
    edges = _compared(before.each_edge(), after.each_edge(), lambda edge: edge.key, _other_edge)
    ends = {end for some in edges.values() for e in some for end in (e.head, e.tail)}
    names = [{key: key for key in ends}, {}]  # where no task of a view taught its type
    old, new = (
        _noted(graph.each_node(), ends, noted)
        for graph, noted in zip((before, after), names, strict=True)
    )
    nodes = _compared(old, new, lambda node: node.id, _other_node)
    differing = {node.id: node.name for some in nodes.values() for node in some}
    return GraphDiff(nodes, edges, names[0] | names[1] | differing)


def _noted(nodes: Iterable[Node], ends: set[str], names: dict[str, str]) -> Iterator[Node]:
    """Pass nodes on, and note the names of some."""
    for node in nodes:
        if node.id in ends:
            names[node.id] = node.name
        yield node


T = TypeVar("T", Node, Edge)


def _compared(
    before: Iterator[T],
    after: Iterator[T],
    key: Callable[[T], Any],
    differ: Callable[[T, T], bool],
) -> dict[str, tuple[T, ...]]:
    """Go through both in their order; only what differs is kept."""
    found: dict[str, list[T]] = {kind: [] for kind in _KINDS}
    old, new = next(before, None), next(after, None)
    while old is not None or new is not None:
        if new is None or (old is not None and key(old) < key(new)):
            found["forgotten"].append(cast(T, old))
            old = next(before, None)
        elif old is None or key(new) < key(old):
            found["added"].append(new)
            new = next(after, None)
        else:
            if differ(old, new):
                found["changed"].append(new)
            old, new = next(before, None), next(after, None)
    return {kind: tuple(some) for kind, some in found.items()}


def _other_node(old: Node, new: Node) -> bool:
    return (new.name, new.type, new.aliases) != (old.name, old.type, old.aliases)


def _other_edge(old: Edge, new: Edge) -> bool:
    return new.support != old.support or abs(new.score - old.score) > CHANGE
