"""What a knowledge graph costs as it grows: invented texts, until there are so many edges."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from mkgc_cl.graph import KnowledgeGraph, diff
from mkgc_cl.graph.exports import export
from mkgc_cl.inference.documents import join_words
from mkgc_cl.inference.extraction import Entity, Extraction, Relation
from mkgc_cl.seeds import derive

EVERY = 50_000
"""Edges between two measurements."""
NODE = "SELECT ?relation ?tail WHERE { GRAPH ?g { node:%s ?relation ?tail . ?tail a mkgc:Entity } }"
"""The query for what one node is connected with."""
_FIRST, _LAST = ("b d f g j k l m n p r s t v w z", "an el in or us")
_KINDS = {"PER": 2, "ORG": 6, "LOC": 15}
"""People, firms and places: one of each for so many edges."""
_RELATIONS = [
    (f"/{head}/{tail}/{name}".lower(), head, tail)
    for head, tail, names in (
        ("PER", "PER", ("peer", "parents", "siblings", "couple", "charges")),
        ("PER", "ORG", ("member_of", "founder", "works_for", "plays_for", "leads")),
        ("PER", "LOC", ("place_of_birth", "place_of_residence", "visits", "died_in", "rules")),
        ("ORG", "LOC", ("locate_at", "plays_in", "opens_in", "closes_in", "sells_in")),
    )
    for name in names
]


def invented(edges: int) -> Iterator[tuple[Extraction, int]]:
    """Extractions with two relations each, until they hold so many edges.

    Few names are in many texts and many in few, as in texts of people. One text in eight repeats
    edges that are known, and one in three has an image. Ten tasks taught the relations, three the
    entity types, and four models read the texts, one after the other.

    Yields:
        An extraction, and how many edges there are with it.
    """
    draw = random.Random(derive(0, "graph"))  # noqa: S311  # no secret
    syllables = [f + v for f in _FIRST.split() for v in _LAST.split()]

    def name(kind: str) -> str:
        number = int(draw.random() ** 2 * max(2, edges // _KINDS[kind]))
        parts = [syllables[number // 80**place % 80] for place in range(3)]
        family = (parts[0] + parts[1]).capitalize()
        plain = {"PER": f"{parts[2].capitalize()} {family}", "ORG": f"{family} {parts[2].upper()}"}
        return plain.get(kind, f"{family}{parts[2]}")

    known: set[int] = set()
    said: list[tuple[str, str, str, str, str]] = []
    count = 0
    while len(known) < edges:
        model = f"model-{4 * len(known) // edges}"
        entities: list[Entity] = []
        relations: list[Relation] = []
        words: list[str] = []
        for _ in range(2):
            relation, of_head, of_tail = draw.choice(_RELATIONS)
            head, tail = name(of_head), name(of_tail)
            if count % 8 == 7:
                relation, of_head, of_tail, head, tail = draw.choice(said)
            elif len(said) < 10_000:
                said.append((relation, of_head, of_tail, head, tail))
            known.add(hash((relation, head, tail)))
            place = len(entities)
            for kind, end in ((of_head, head), (of_tail, tail)):
                start = len(words)
                words += [*end.split(), relation.rpartition("/")[2]]
                stop = len(words) - 1
                chance = round(draw.uniform(0.3, 1), 6)
                first = len(" ".join(words[:start])) + bool(start)
                last = first + len(end)
                task = f"types of {kind}"
                entities.append(Entity(end, kind, chance, start, stop, first, last, task))
            task = f"relations {_RELATIONS.index((relation, of_head, of_tail)) // 2}"
            chance = round(draw.uniform(0.3, 1), 6)
            relations.append(Relation(place, place + 1, relation, chance, task))
        text, _ = join_words(words)
        image = f"images/{count:07}.jpg" if count % 3 == 0 else None
        found = Extraction(
            text, tuple(words), tuple(entities), tuple(relations), f"text-{count:07}", image, model
        )
        count += 1
        yield found, len(known)


def measure_graph(
    edges: int, folder: Path, *, every: int = EVERY, tell: Callable[[str], None]
) -> dict[str, list[dict[str, Any]]]:
    """Build a graph and measure it, growing and grown.

    Returns:
        ``growth``, of each measurement: ``edges``, ``edges_per_s`` and ``edges_per_cpu_s`` since
        the one before, resident ``memory_mb`` and ``disk_mb``; and ``grown``, of everything that is
        done with the whole graph: ``what``, ``s``, ``cpu_s``, ``memory_mb``, ``disk_mb``.
    """
    graph = KnowledgeGraph(folder / "graph")
    growth: list[dict[str, Any]] = []
    done, start = 0, clocks()

    def counted() -> Iterator[Extraction]:
        nonlocal done, start
        for found, here in invented(edges):
            yield found
            if here >= edges or here - done >= every:
                wall, cpu = (now - then for now, then in zip(clocks(), start, strict=True))
                new = here - done
                speeds = {"edges_per_s": new / wall, "edges_per_cpu_s": new / cpu}
                growth.append({"edges": here, **speeds, **sizes(folder)})
                tell(_line(growth[-1]))
                done, start = here, clocks()

    graph.add_all(counted())
    grown = measure_grown(graph, folder, tell=tell)
    graph.close()
    return {"growth": growth, "grown": grown}


def measure_grown(
    graph: KnowledgeGraph, folder: Path, *, tell: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Measure what is done with a whole graph of :func:`invented`."""
    grown: list[dict[str, Any]] = []

    def measure(what: str, act: Callable[[], object]) -> None:
        start = clocks()
        act()
        wall, cpu = (now - then for now, then in zip(clocks(), start, strict=True))
        grown.append({"what": what, "s": wall, "cpu_s": cpu, **sizes(folder)})
        tell(_line(grown[-1]))

    node = next(graph.each_node()).id
    measure("ask for a node", lambda: graph.query(NODE % node))
    measure("remove a source", lambda: graph.remove("text-0000007"))
    measure("HTML", lambda: export(graph, folder / "graph.html"))
    measure("TriG", lambda: export(graph, folder / "graph.trig"))
    measure("Turtle", lambda: export(graph, folder / "graph.ttl"))
    measure("JSON-LD", lambda: export(graph, folder / "graph.jsonld"))
    measure("GraphML", lambda: export(graph, folder / "graph.graphml"))
    measure("CSV", lambda: export(graph, folder / "neo4j", format_="neo4j"))
    old, new = (graph.view(model=f"model-{number}") for number in (0, 3))
    measure("diff of two models", lambda: diff(old, new))
    return grown


def graph_text(report: dict[str, list[dict[str, Any]]]) -> str:
    """The same as lines."""
    return "".join(f"{_line(row)}\n" for rows in report.values() for row in rows)


def clocks() -> tuple[float, float]:
    """The wall's clock, and the processor time of this process, in seconds."""
    return time.perf_counter(), time.process_time()


def _line(row: dict[str, Any]) -> str:
    form = {str: "{value}", int: "{key} {value:,}", float: "{key} {value:,.2f}"}
    return "  ".join(form[type(value)].format(key=key, value=value) for key, value in row.items())


def sizes(folder: Path) -> dict[str, float]:
    """Resident memory of this process, and the graph on disk, in MB."""
    memory = psutil.Process().memory_info().rss / 1e6
    disk = sum(file.stat().st_size for file in (folder / "graph").rglob("*") if file.is_file())
    return {"memory_mb": memory, "disk_mb": disk / 1e6}
