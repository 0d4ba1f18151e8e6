"""One HTML page that shows a graph, with a slider over tasks; it loads nothing from elsewhere."""

from __future__ import annotations

import heapq
import html
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mkgc_cl._files import write_atomic
from mkgc_cl.graph.reading import id_of
from mkgc_cl.graph.store import KnowledgeGraph
from mkgc_cl.graph.terms import PREFIXES

MOST = 600
"""Most nodes that are drawn, those with the most edges and mentions first."""
MOST_EDGES = 2000
"""Most edges between these that are drawn, those with the most support first."""
_TEMPLATE = Path(__file__).with_name("page.html")


def write_page(
    graph: KnowledgeGraph,
    path: str | Path,
    *,
    order: Sequence[str] | None = None,
    title: str = "",
) -> None:
    """Write the page; of a graph that no browser can show, the best connected part.

    The page says how many nodes and edges it leaves out.

    Args:
        graph: the graph.
        path: the file.
        order: names of tasks, in the order in which they were learnt; see
            :meth:`KnowledgeGraph.tasks`.
        title: of the page.

    Raises:
        OSError: it cannot be written.
    """
    tasks = graph.tasks(order or ())
    place = {task: number for number, task in enumerate(tasks)}
    mentions, degree, all_edges = _counts(graph)
    drawn = heapq.nsmallest(MOST, mentions, key=lambda key: (-degree[key], -mentions[key], key))
    nodes = {node.id: node for node in graph.each_node(drawn)}
    index = {key: number for number, key in enumerate(drawn)}
    between = (edge for edge in graph.each_edge(drawn) if edge.tail in index)
    edges = heapq.nsmallest(MOST_EDGES, between, key=lambda edge: (-edge.support, edge.key))
    data = {
        "tasks": tasks,
        "left": [len(mentions) - len(drawn), all_edges - len(edges)],
        "nodes": [
            {
                "name": nodes[key].name,
                "type": nodes[key].type or "",
                "aliases": nodes[key].aliases,
                "mentions": nodes[key].mentions,
                "sources": nodes[key].sources[:20],
                "task": min(place[task] for task in nodes[key].tasks),
                "score": round(nodes[key].score, 3),
                "low": nodes[key].low,
                "conflict": bool(nodes[key].conflicts),
            }
            for key in drawn
        ],
        "edges": [
            {
                "head": index[edge.head],
                "tail": index[edge.tail],
                "relation": edge.relation,
                "support": edge.support,
                "sources": edge.sources[:20],
                "task": min(place[task] for task in edge.tasks),
                "score": round(edge.score, 3),
                "low": edge.low,
                "conflict": bool(edge.conflicts),
            }
            for edge in edges
        ],
    }
    # "<" cannot close the script element that the data stands in
    plain = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    text = _TEMPLATE.read_text(encoding="utf-8")
    text = text.replace("@TITLE@", html.escape(title or "Knowledge graph")).replace("@DATA@", plain)
    write_atomic(Path(path), text)


def _counts(graph: KnowledgeGraph) -> tuple[dict[str, int], Counter[str], int]:
    """Mentions and edges of every node, and how many edges there are."""
    found = graph.store.query(
        "SELECT ?node (COUNT(?m) AS ?n) WHERE { ?m mkgc:of ?node } GROUP BY ?node",
        prefixes=PREFIXES,
    )
    mentions = {id_of(row["node"]): int(row["n"].value) for row in found}
    degree: Counter[str] = Counter()
    count = 0
    for row in graph.store.query(
        "SELECT DISTINCT ?head ?kind ?tail WHERE { ?m rdf:subject ?head ; rdf:predicate ?kind ; "
        "rdf:object ?tail }",
        prefixes=PREFIXES,
    ):
        degree.update((id_of(row["head"]), id_of(row["tail"])))
        count += 1
    return mentions, degree, count
