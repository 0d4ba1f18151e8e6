"""The cost of a graph is measured on a graph of as many edges as are asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mkgc_cl.experiments.speed.cli import main
from mkgc_cl.experiments.speed.graph import invented
from mkgc_cl.graph import KnowledgeGraph


@pytest.mark.slow
def test_as_many_edges_as_are_asked_for() -> None:
    made = list(invented(300))
    assert all(
        found.text[e.char_start : e.char_end] == e.text == " ".join(found.tokens[e.start : e.end])
        for found, _ in made
        for e in found.entities
    )
    graph = KnowledgeGraph()
    assert graph.add_all(found for found, _ in made) == len(made)
    edges = graph.edges()
    assert len(edges) == made[-1][1] >= 300
    assert max(edge.support for edge in edges) > 1
    assert len(graph.models()) == 4


@pytest.mark.slow
def test_growing_and_grown_are_measured(tmp_path: Path) -> None:
    assert main(["--graph", "60", "--quiet", "--json", str(tmp_path / "speed.json")]) == 0
    report = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))
    assert report["growth"][-1]["edges"] >= 60
    assert [row["what"] for row in report["grown"]][1:3] == ["remove a source", "HTML"]
    assert all(row["memory_mb"] > 0 and row["disk_mb"] > 0 for row in report["growth"])
