"""What one model, or some tasks, have to say of a graph; and the database that it is read from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mkgc_cl.errors import ConfigError
from mkgc_cl.graph.items import Edge, Node
from mkgc_cl.graph.reading import Reading

if TYPE_CHECKING:
    from mkgc_cl.graph.store import KnowledgeGraph


def oxigraph() -> Any:
    """The database's module.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import pyoxigraph
    except ImportError as error:
        raise ConfigError(["a graph needs its database: pip install 'mkgc_cl[graph]'"]) from error
    return pyoxigraph


@dataclass(frozen=True)
class GraphView:
    """What one model, or some tasks, have to say of a graph."""

    graph: KnowledgeGraph
    model: str | None = None
    only: frozenset[str] | None = None

    def nodes(self) -> dict[str, Node]:
        """Nodes by id, in the order of their ids."""
        return {node.id: node for node in self.each_node()}

    def edges(self) -> list[Edge]:
        """Edges, in the order of their keys."""
        return list(self.each_edge())

    def each_node(self, ids: Iterable[str] | None = None) -> Iterator[Node]:
        """Yield nodes in the order of their ids, all or those of some ids, one at a time."""
        return self._reading().nodes(ids)

    def each_edge(self, heads: Iterable[str] | None = None) -> Iterator[Edge]:
        """Yield edges in the order of their keys, all or those from some nodes, one at a time."""
        return self._reading().edges(heads)

    def _reading(self) -> Reading:
        graph = self.graph
        return Reading(oxigraph(), graph.store, graph.low, self.model, self.only)
