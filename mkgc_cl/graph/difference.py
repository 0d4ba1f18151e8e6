"""What one graph has that another lacks: added, changed, forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from mkgc_cl.graph.items import Edge, Node

CHANGE = 0.05
"""Least difference of two scores that counts as a change."""


class Readable(Protocol):
    """A graph, or a view of one."""

    def nodes(self) -> dict[str, Node]:
        """Nodes by id."""
        ...

    def edges(self) -> list[Edge]:
        """Edges."""
        ...


@dataclass(frozen=True, slots=True)
class GraphDiff:
    """From one graph to another.

    Args:
        nodes: nodes that were added, changed and forgotten.
        edges: edges that were added, changed and forgotten.
        names: names of all nodes of both.
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
    old, new = before.nodes(), after.nodes()
    edges, later = ({e.key: e for e in one.edges()} for one in (before, after))
    names = {key: node.name for key, node in {**old, **new}.items()}
    for key in {end for e in (*edges, *later) for end in (e[0], e[2])} - names.keys():
        names[key] = key  # a view of tasks that did not teach its type
    return GraphDiff(
        nodes={
            "added": tuple(new[key] for key in sorted(new.keys() - old.keys())),
            "changed": tuple(
                new[key]
                for key in sorted(new.keys() & old.keys())
                if (new[key].name, new[key].type, new[key].aliases)
                != (old[key].name, old[key].type, old[key].aliases)
            ),
            "forgotten": tuple(old[key] for key in sorted(old.keys() - new.keys())),
        },
        edges={
            "added": tuple(later[key] for key in sorted(later.keys() - edges.keys())),
            "changed": tuple(
                later[key]
                for key in sorted(later.keys() & edges.keys())
                if later[key].support != edges[key].support
                or abs(later[key].score - edges[key].score) > CHANGE
            ),
            "forgotten": tuple(edges[key] for key in sorted(edges.keys() - later.keys())),
        },
        names=names,
    )
