"""One HTML page that shows a graph, with a slider over tasks; it loads nothing from elsewhere."""

from __future__ import annotations

import html
import json
from collections import Counter
from pathlib import Path

from mkgc_cl._files import write_atomic
from mkgc_cl.graph.store import KnowledgeGraph

MOST = 600
"""Most nodes that are drawn, those with the most edges and mentions first."""
_TEMPLATE = Path(__file__).with_name("page.html")


def write_page(
    graph: KnowledgeGraph, path: Path, *, order: tuple[str, ...] | None = None, title: str = ""
) -> None:
    """Write the page.

    Args:
        graph: the graph.
        path: the file.
        order: names of tasks, in the order in which they were learnt; by default by alphabet.
        title: of the page.

    Raises:
        OSError: it cannot be written.
    """
    nodes, edges = graph.nodes(), graph.edges()
    tasks = [task for task in order or () if task in graph.tasks()]
    tasks += [task for task in graph.tasks() if task not in tasks]
    place = {task: number for number, task in enumerate(tasks)}
    degree = Counter(key for edge in edges for key in (edge.head, edge.tail))
    drawn = sorted(nodes, key=lambda key: (-degree[key], -nodes[key].mentions, key))[:MOST]
    index = {key: number for number, key in enumerate(drawn)}
    data = {
        "tasks": tasks,
        "left": len(nodes) - len(drawn),
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
            if edge.head in index and edge.tail in index
        ],
    }
    # "<" cannot close the script element that the data stands in
    plain = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    text = _TEMPLATE.read_text(encoding="utf-8")
    text = text.replace("@TITLE@", html.escape(title or "Knowledge graph")).replace("@DATA@", plain)
    write_atomic(path, text)
