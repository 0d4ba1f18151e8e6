"""Pictures of a graph's growth: what each task added, and what became of it from model to model."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

from mkgc_cl._files import write_atomic
from mkgc_cl.graph.difference import GraphDiff
from mkgc_cl.graph.store import KnowledgeGraph


def draw_tasks(
    graph: KnowledgeGraph, path: str | Path, *, order: Sequence[str] | None = None
) -> None:
    """Draw how many nodes and edges each task was the first to bring.

    Args:
        graph: the graph.
        path: a PNG file.
        order: names of tasks, in the order in which they were learnt; see
            :meth:`KnowledgeGraph.tasks`.
    """
    tasks = graph.tasks(order or ())
    place = {task: number for number, task in enumerate(tasks)}
    nodes, edges = [0] * len(tasks), [0] * len(tasks)
    for node in graph.each_node():
        nodes[min(place[task] for task in node.tasks)] += 1
    for edge in graph.each_edge():
        edges[min(place[task] for task in edge.tasks)] += 1
    _bars(path, list(tasks), {"nodes": nodes, "edges": edges}, title="Added by each task")


def draw_diff(found: GraphDiff, path: str | Path) -> None:
    """Draw how much was added, changed and forgotten, as a PNG file."""
    kinds = list(found.nodes)
    numbers = {
        "nodes": [len(found.nodes[kind]) for kind in kinds],
        "edges": [len(found.edges[kind]) for kind in kinds],
    }
    _bars(path, kinds, numbers, title="From one graph to the other")


def _bars(path: str | Path, labels: list[str], series: dict[str, list[int]], *, title: str) -> None:
    from matplotlib.figure import Figure

    # names of tasks may be long: lying bars leave them a line each
    figure = Figure(figsize=(7.0, 0.5 * len(labels) + 1.3), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(series)
    for number, (name, lengths) in enumerate(series.items()):
        at = [place + (number - (len(series) - 1) / 2) * width for place in range(len(labels))]
        bars = axes.barh(at, lengths, width, label=name, color=("#2563eb", "#d97706")[number % 2])
        axes.bar_label(bars, [str(length) if length else "" for length in lengths], fontsize=8)
    axes.set_yticks(range(len(labels)), [textwrap.shorten(label, 48) for label in labels])
    axes.invert_yaxis()
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=150)
    write_atomic(Path(path), data.getvalue())
