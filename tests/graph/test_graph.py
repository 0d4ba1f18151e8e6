"""A graph is what its evidence says: in any order, with sources taken out, task by task."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import networkx
import pytest
import rdflib
from hypothesis import given, settings
from hypothesis import strategies as st

from mkgc_cl.errors import ConfigError, DataError, OutputError
from mkgc_cl.graph import Edge, KnowledgeGraph, by_name, diff, page, reading, store
from mkgc_cl.graph.exports import ENDINGS, export
from mkgc_cl.graph.image import draw_diff, draw_tasks
from mkgc_cl.graph.page import write_page
from mkgc_cl.inference.documents import join_words
from mkgc_cl.inference.extraction import Entity, Extraction, Relation

RDFS = "http://www.w3.org/2000/01/rdf-schema#"
NS = rdflib.Namespace("urn:mkgc:schema:")


def said(
    uid: str,
    head: str,
    relation: str,
    tail: str,
    *,
    types: tuple[str | None, str | None] = ("PER", "LOC"),
    score: float = 0.9,
    task: str = "places",
    model: str = "m1",
) -> Extraction:
    """What a text of three words says."""
    text, offsets = join_words((head, relation, tail))
    ends = [
        Entity(word, kind, score, place, place + 1, *offsets[place], task=f"type {kind}")
        for word, kind, place in ((head, types[0], 0), (tail, types[1], 2))
    ]
    edge = Relation(0, 1, relation, score, task)
    return Extraction(text, (head, relation, tail), tuple(ends), (edge,), uid, None, model)


FACTS = [
    said("a", "Ann", "lives_in", "Rome"),
    said("b", "ANN", "lives_in", "#rome", score=0.7, task="later"),
    said("c", "Ann", "left", "Rome", score=0.3),
    said("d", "Jordan", "borders", "Rome", types=("LOC", "LOC")),
    said("e", "Jordan", "lives_in", "Oslo"),
]


def filled(facts: list[Extraction]) -> KnowledgeGraph:
    graph = KnowledgeGraph()
    for fact in facts:
        graph.add(fact)
    return graph


def test_nodes_and_edges_are_read_off_the_evidence() -> None:
    graph = filled(FACTS)
    nodes = {(node.name, node.type): node for node in graph.nodes().values()}
    ann, rome = nodes["Ann", "PER"], nodes["Rome", "LOC"]
    assert (ann.aliases, ann.mentions, ann.sources) == (("ANN", "Ann"), 3, ("a", "b", "c"))
    assert rome.aliases == ("#rome", "Rome")
    assert nodes["Jordan", "PER"].conflicts == (nodes["Jordan", "LOC"].id,)
    edges = {edge.key: edge for edge in graph.edges()}
    lives = edges[ann.id, "lives_in", rome.id]
    assert (lives.support, lives.score, lives.sources) == (2, 0.9, ("a", "b"))
    assert (lives.tasks, lives.conflicts, lives.low) == (("later", "places"), ("left",), False)
    left = edges[ann.id, "left", rome.id]
    assert (left.low, left.conflicts) == (True, ("lives_in",))
    assert graph.tasks() == ("later", "places", "type LOC", "type PER")
    assert graph.models() == ("m1",)
    assert graph.sources()["a"] == "Ann lives_in Rome"


def test_which_task_taught_a_fact_is_a_query() -> None:
    found = filled(FACTS).query(
        "SELECT DISTINCT ?task WHERE { GRAPH ?task { ?head relation:lives_in ?tail } } "
        "ORDER BY ?task"
    )
    assert found == [{"task": "urn:mkgc:task:later"}, {"task": "urn:mkgc:task:places"}]
    assert filled(FACTS).query("ASK { GRAPH ?g { ?s relation:left ?o } }") is True
    scores = filled(FACTS[2:3]).query(
        "SELECT ?x WHERE { ?s a mkgc:Statement ; mkgc:score ?x ; mkgc:task task:places }"
    )
    assert scores == [{"x": 0.3}]
    with pytest.raises(DataError, match="SPARQL"):
        filled([]).query("SELEC")


@pytest.mark.slow
@given(st.permutations(range(len(FACTS))), st.lists(st.integers(0, len(FACTS) - 1), max_size=4))
@settings(max_examples=30)
def test_no_order_and_no_repetition_changes_the_graph(order: list[int], again: list[int]) -> None:
    plain = filled(FACTS)
    other = filled([FACTS[i] for i in [*order, *again]])
    assert other.quads() == plain.quads()
    assert other.nodes() == plain.nodes()
    assert other.edges() == plain.edges()


@pytest.mark.parametrize("gone", range(len(FACTS)))
def test_a_removed_source_leaves_the_graph_as_if_it_had_never_come(gone: int) -> None:
    graph = filled(FACTS)
    assert graph.remove(str(FACTS[gone].uid)) == 3
    assert graph.quads() == filled(FACTS[:gone] + FACTS[gone + 1 :]).quads()
    with pytest.raises(DataError, match="no source"):
        graph.remove(str(FACTS[gone].uid))


@pytest.mark.parametrize(
    "name",
    [
        'quo"te',
        "back\\slash",
        "line\nend\r\t",
        "nul\0 \b\f\x1f",
        "\U0001f600 \uffff",
        "<a> } ; {",
        "?x $y",
    ],
)
def test_any_name_can_be_removed(name: str) -> None:
    odd = said(name, name, name, name, types=(name, None), task=name, model=name)
    graph = filled([*FACTS, odd])
    assert graph.remove(name) == 3
    assert graph.quads() == filled(FACTS).quads()
    assert name not in graph.tasks()


def test_all_sources_can_go_in_any_order() -> None:
    empty = KnowledgeGraph().quads()
    for order in list(permutations("abcde"))[::30]:
        graph = filled(FACTS)
        for source in order:
            graph.remove(source)
        assert graph.quads() == empty
        assert (graph.tasks(), graph.models(), graph.sources()) == ((), (), {})


@pytest.mark.slow
def test_many_are_added_as_one_by_one_and_kept_on_disk(tmp_path: Path) -> None:
    many = [said(f"s{i}", f"P{i % 40}", "lives_in", f"L{i % 7}") for i in range(600)]
    graph = KnowledgeGraph(tmp_path / "graph")
    assert graph.add_all(iter(many)) == 600
    assert graph.quads() == filled(many).quads()
    with pytest.raises(OutputError, match="another process"):
        KnowledgeGraph(tmp_path / "graph")
    before = graph.quads()
    graph.close()
    again = KnowledgeGraph(tmp_path / "graph")
    assert again.quads() == before
    again.close()
    with pytest.raises(ConfigError, match="merge=by_name_and_type"):
        KnowledgeGraph(tmp_path / "graph", merge=by_name)


def test_a_name_of_a_source_stands_for_one_text() -> None:
    graph = filled(FACTS[:1])
    with pytest.raises(DataError, match="another text"):
        graph.add(said("a", "Bo", "left", "Oslo"))
    with pytest.raises(DataError, match="another text"):
        KnowledgeGraph().add_all([FACTS[0], said("a", "Bo", "left", "Oslo")])
    nameless = said("x", "Bo", "left", "Oslo")
    name = graph.add(Extraction(nameless.text, nameless.tokens, nameless.entities))
    assert graph.add(Extraction(nameless.text, nameless.tokens, nameless.entities)) == name


def test_what_came_before_an_error_is_in_the_graph() -> None:
    def broken() -> Iterator[Extraction]:
        yield from FACTS[:3]
        raise RuntimeError("the encoder is gone")

    graph = KnowledgeGraph()
    with pytest.raises(RuntimeError):
        graph.add_all(broken())
    assert graph.quads() == filled(FACTS[:3]).quads()


def test_a_slow_stream_is_written_as_time_goes_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PATIENCE", -1.0)
    graph = KnowledgeGraph()
    seen = []

    def slow() -> Iterator[Extraction]:
        for fact in FACTS:
            seen.append(len(graph.sources()))
            yield fact

    graph.add_all(slow())
    assert seen == [0, 1, 2, 3, 4]
    assert graph.quads() == filled(FACTS).quads()


@pytest.mark.parametrize("together", [1, 2, 256])
def test_some_nodes_at_a_time_are_all_nodes(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "TOGETHER", together)
    graph = filled(FACTS)
    keys = [node.id for node in graph.each_node()]
    assert keys == sorted(keys)
    assert len(keys) == len(set(keys)) == 5  # Ann, Rome, Oslo and two called Jordan
    assert [edge.key for edge in graph.each_edge()] == sorted(
        {edge.key for edge in graph.each_edge()}
    )
    (jordan, other) = (node for node in graph.each_node() if node.name == "Jordan")
    assert (jordan.conflicts, other.conflicts) == ((other.id,), (jordan.id,))
    assert list(graph.each_node([other.id])) == [other]
    assert [e.relation for e in graph.each_edge([jordan.id, other.id])].count("borders") == 1
    assert graph.view(model="m1").nodes() == graph.nodes()
    assert graph.view(model="m2").nodes() == {}
    # of the tasks that taught places alone, no other Jordan is known
    (place,) = (n for n in graph.view(tasks=["type LOC"]).each_node() if n.name == "Jordan")
    assert (place.type, place.conflicts) == ("LOC", ())


def test_a_rule_of_ones_own_merges_mentions() -> None:
    graph = KnowledgeGraph(merge=by_name)
    for fact in FACTS:
        graph.add(fact)
    (jordan,) = (node for node in graph.nodes().values() if node.name == "Jordan")
    assert (jordan.type, jordan.mentions, jordan.conflicts) == ("LOC", 2, ())


class Newer:
    """An extractor that has forgotten one relation and found another."""

    parts: ClassVar[dict[str, Any]] = {}

    def stream(self, given: Iterable[dict[str, Any]]) -> Any:
        for one in given:
            head, relation, tail = one["tokens"] if "tokens" in one else one["text"].split()
            name = {"left": "fled", "borders": ""}.get(relation, relation)
            found = said(one["uid"], head, relation, tail, model="m2")
            edges = (Relation(0, 1, name, 0.9, "newest"),) if name else ()
            yield Extraction(
                found.text, found.tokens, found.entities, edges, one["uid"], None, "m2"
            )


def test_a_newer_model_adds_its_layer_and_what_it_forgot_is_told() -> None:
    graph = filled(FACTS)
    assert graph.reread(Newer()) == 5
    assert graph.models() == ("m1", "m2")
    found = diff(graph.view(model="m1"), graph.view(model="m2"))
    assert [edge.relation for edge in found.edges["forgotten"]] == ["borders", "left"] or [
        edge.relation for edge in found.edges["forgotten"]
    ] == ["left", "borders"]
    assert [edge.relation for edge in found.edges["added"]] == ["fled"]
    assert ("forgotten", "edge", "Ann --left--> Rome") in found.rows()
    assert "forgotten: 1 nodes, 2 edges" in str(found)  # Jordan was a place
    nothing = diff(graph, graph)
    assert nothing.rows() == []
    only = graph.view(tasks=["newest"])
    assert {edge.relation for edge in only.edges()} == {"fled", "lives_in"}
    assert diff(only, only).rows() == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of rdflib's own reader
def test_rdf_is_read_back_by_rdflib(tmp_path: Path) -> None:
    graph = filled(FACTS)
    nodes, edges = graph.nodes(), graph.edges()
    for name, kind in (("g.ttl", "turtle"), ("g.jsonld", "json-ld")):
        read = rdflib.Graph().parse(export(graph, tmp_path / name), format=kind)
        labels = {str(o) for o in read.objects(None, rdflib.URIRef(RDFS + "label"))}
        assert labels == {node.name for node in nodes.values()}
        assert len(list(read.subjects(rdflib.RDF.type, NS.Entity))) == len(nodes)
        supports = sorted(int(o) for o in read.objects(None, NS.support))
        assert supports == sorted(edge.support for edge in edges)
        for edge in edges:
            plain = [rdflib.URIRef(f"urn:mkgc:node:{key}") for key in (edge.head, edge.tail)]
            assert (plain[0], rdflib.URIRef(f"urn:mkgc:relation:{edge.relation}"), plain[1]) in read
    whole = rdflib.Dataset()
    whole.parse(export(graph, tmp_path / "g.trig"), format="trig")
    assert len(list(whole.quads((None, None, None, None)))) == len(graph)


def test_graphml_is_read_back_by_networkx(tmp_path: Path) -> None:
    graph = filled(FACTS)
    read = networkx.read_graphml(export(graph, tmp_path / "g.graphml"), force_multigraph=True)
    nodes = graph.nodes()
    assert set(read.nodes) == set(nodes)
    assert all(read.nodes[key]["name"] == node.name for key, node in nodes.items())
    found = {(h, d["relation"], t): d["support"] for h, t, d in read.edges(data=True)}
    assert found == {edge.key: edge.support for edge in graph.edges()}


def test_neo4j_gets_its_columns_and_constraints(tmp_path: Path) -> None:
    graph = filled(FACTS)
    folder = export(graph, tmp_path / "neo", format_="neo4j")
    with (folder / "nodes.csv").open(newline="") as file:
        nodes = list(csv.DictReader(file))
    assert {row["id:ID"]: row["name"] for row in nodes} == {
        key: node.name for key, node in graph.nodes().items()
    }
    assert {row[":LABEL"] for row in nodes} == {"Entity;PER", "Entity;LOC"}
    with (folder / "relationships.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(r[":START_ID"], r[":TYPE"], r[":END_ID"]) for r in rows} == {
        edge.key for edge in graph.edges()
    }
    assert "REQUIRE n.id IS UNIQUE" in (folder / "constraints.cypher").read_text()


@pytest.mark.slow
def test_the_shapes_are_those_of_the_turtle(tmp_path: Path) -> None:
    pyshacl = pytest.importorskip("pyshacl")
    graph = filled(FACTS)
    data = rdflib.Graph().parse(export(graph, tmp_path / "g.ttl"), format="turtle")
    shapes = rdflib.Graph().parse(export(graph, tmp_path / "g.shacl"), format="turtle")
    good, _, text = pyshacl.validate(data, shacl_graph=shapes)
    assert good, text
    data.remove((None, NS.support, None))
    assert not pyshacl.validate(data, shacl_graph=shapes)[0]


def test_every_ending_has_a_format(tmp_path: Path) -> None:
    for ending in ENDINGS:
        assert export(filled(FACTS), tmp_path / f"g{ending}").stat().st_size > 100
    with pytest.raises(ConfigError, match=r"no format is called '\.xls'"):
        export(filled(FACTS), tmp_path / "g.xls")


def test_tasks_are_in_the_order_of_counting_or_in_a_given_one(tmp_path: Path) -> None:
    graph = KnowledgeGraph()
    for number in (10, 2, 1):
        entity = Entity("Ann", "PER", 1.0, 0, 1, 0, 3, f"task {number}")
        graph.add(Extraction("Ann", ("Ann",), (entity,), uid=str(number)))
    assert graph.tasks() == ("task 1", "task 2", "task 10")
    export(graph, tmp_path / "g.html", order=["task 10", "task 1"])
    text = (tmp_path / "g.html").read_text(encoding="utf-8")
    data = json.loads(text.split('id="data">')[1].split("</script>")[0])
    assert data["tasks"] == ["task 10", "task 1", "task 2"]
    for name, order in (("g.html", ["task 3"]), ("g.ttl", ["task 1"])):
        with pytest.raises(ConfigError, match=r"there is no task|has no order"):
            export(graph, tmp_path / name, order=order)


def test_who_reads_captions_cannot_reread() -> None:
    plan = SimpleNamespace(views=SimpleNamespace(caption=16))
    extractor = SimpleNamespace(parts={"ner": SimpleNamespace(processor=plan)})
    with pytest.raises(ConfigError, match="a graph keeps texts without them"):
        filled(FACTS).reread(extractor)


def test_the_page_holds_the_graph_and_loads_nothing(tmp_path: Path) -> None:
    graph = filled([*FACTS, said("x", "</script><b>", "lives_in", "Rome")])
    path = tmp_path / "g.html"
    write_page(graph, path, order=("places", "later"), title="<Mine>")
    text = path.read_text(encoding="utf-8")
    plain = text.split('id="data">')[1].split("</script>")[0]
    data = json.loads(plain)
    assert data["tasks"][:2] == ["places", "later"]
    assert "</script><b>" in {node["name"] for node in data["nodes"]}
    assert len(data["edges"]) == len(graph.edges())
    assert "<title>&lt;Mine&gt;</title>" in text
    for outside in ("http://", "https://", "src=", "@import"):
        assert outside not in text.replace("http://www.w3.org/2000/svg", "")


def test_the_page_of_a_large_graph_says_what_it_leaves_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "MOST", 3)
    monkeypatch.setattr(page, "MOST_EDGES", 2)
    write_page(filled(FACTS), tmp_path / "g.html")
    text = (tmp_path / "g.html").read_text(encoding="utf-8")
    data = json.loads(text.split('id="data">')[1].split("</script>")[0])
    # Rome has three edges, Ann two; of those with one, the place that borders Rome and others
    assert [node["name"] for node in data["nodes"]][:2] == ["Rome", "Ann"]
    assert data["edges"][0]["support"] == 2  # what two texts say comes first
    assert data["left"] == [2, 4 - len(data["edges"])]


def test_an_export_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = filled(FACTS)
    for name in ("g.ttl", "g.graphml"):
        export(graph, tmp_path / name)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def broken(self: KnowledgeGraph) -> Iterator[Edge]:
        raise RuntimeError("in the middle of it")

    monkeypatch.setattr(KnowledgeGraph, "each_edge", broken)
    for path in before:
        with pytest.raises(RuntimeError):
            export(graph, path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.slow
def test_growth_and_difference_are_drawn(tmp_path: Path) -> None:
    graph = filled(FACTS)
    draw_tasks(graph, tmp_path / "tasks.png", order=("places",))
    draw_diff(diff(filled(FACTS[:2]), graph), tmp_path / "diff.png")
    for name in ("tasks.png", "diff.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
