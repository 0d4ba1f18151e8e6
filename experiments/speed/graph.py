"""What a knowledge graph costs as it grows: invented texts, until there are so many edges."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from mkgc_cl.experiments.speed.tables import line_of
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
    facts: list[tuple[str, str, str, str, str]] = []
    for count in itertools.count():
        entities: list[Entity] = []
        relations: list[Relation] = []
        words: list[str] = []
        model = f"model-{4 * len(known) // edges}"
        for _ in range(2):
            relation, of_head, of_tail = draw.choice(_RELATIONS)
            fact = (relation, of_head, of_tail, name(of_head), name(of_tail))
            if count % 8 == 7:
                fact = draw.choice(facts)
            elif len(facts) < 10_000:
                facts.append(fact)
            relation, of_head, of_tail, head, tail = fact
            known.add(hash((relation, head, tail)))
            place = len(entities)
            for kind, end in ((of_head, head), (of_tail, tail)):
                start, first = len(words), len("".join(f"{word} " for word in words))
                words += [*end.split(), relation.rpartition("/")[2]]
                chance = round(draw.uniform(0.3, 1), 6)
                where = (start, len(words) - 1, first, first + len(end))
                entities.append(Entity(end, kind, chance, *where, f"types of {kind}"))
            task = f"relations {_RELATIONS.index((relation, of_head, of_tail)) // 2}"
            chance = round(draw.uniform(0.3, 1), 6)
            relations.append(Relation(place, place + 1, relation, chance, task))
        text, _ = join_words(words)
        image = f"images/{count:07}.jpg" if count % 3 == 0 else None
        parts = (tuple(words), tuple(entities), tuple(relations))
        yield Extraction(text, *parts, f"text-{count:07}", image, model), len(known)
        if len(known) >= edges:
            return


def measure_graph(
    edges: int, folder: Path, *, tell: Callable[[str], None]
) -> dict[str, list[dict[str, Any]]]:
    """Build a graph and measure it, growing and grown.

    Returns:
        ``growth``, of each measurement: ``edges``, ``edges_per_s`` and ``edges_per_cpu_s`` since
        the one before, resident ``memory_mb`` and ``disk_mb``; and ``grown``, of everything that is
        done with the whole graph: ``what``, ``s``, ``cpu_s``, ``memory_mb``, ``disk_mb``.
    """
    graph = KnowledgeGraph(folder / "graph")
    report: dict[str, list[dict[str, Any]]] = {"growth": [], "grown": []}

    def note(where: str, **row: Any) -> None:
        report[where].append({**row, **sizes(folder)})
        tell(line_of(report[where][-1]))

    def growing() -> Iterator[Extraction]:
        done, start = 0, _clocks()
        for found, here in invented(edges):
            yield found
            if here >= edges or here - done >= EVERY:
                wall, cpu = _since(start)
                new = here - done
                note("growth", edges=here, edges_per_s=new / wall, edges_per_cpu_s=new / cpu)
                done, start = here, _clocks()

    def each_export(suffix: str) -> Callable[[], object]:
        return partial(export, graph, folder / f"graph.{suffix}")

    graph.add_all(growing())
    node = next(graph.each_node()).id
    acts: dict[str, Callable[[], object]] = {
        "ask for a node": lambda: graph.query(NODE % node),
        "remove a source": lambda: graph.remove("text-0000007"),
        "HTML": each_export("html"),
        "TriG": each_export("trig"),
        "Turtle": each_export("ttl"),
        "JSON-LD": each_export("jsonld"),
        "GraphML": each_export("graphml"),
        "CSV": lambda: export(graph, folder / "neo4j", format_="neo4j"),
        "diff of two models": lambda: diff(*(graph.view(model=f"model-{n}") for n in (0, 3))),
    }
    for what, act in acts.items():
        start = _clocks()
        act()
        wall, cpu = _since(start)
        note("grown", what=what, s=wall, cpu_s=cpu)
    graph.close()
    return report


def _clocks() -> tuple[float, float]:
    """The wall's clock, and the processor time of this process, in seconds."""
    return time.perf_counter(), time.process_time()


def _since(start: tuple[float, float]) -> tuple[float, float]:
    wall, cpu = _clocks()
    return wall - start[0], cpu - start[1]


def sizes(folder: Path) -> dict[str, float]:
    """Resident memory of this process, and the graph on disk, in MB."""
    memory = psutil.Process().memory_info().rss / 1e6
    disk = sum(file.stat().st_size for file in (folder / "graph").rglob("*") if file.is_file())
    return {"memory_mb": memory, "disk_mb": disk / 1e6}
