"""A graph in other programs' formats: Turtle, TriG, JSON-LD, GraphML, Neo4j, SHACL.

Turtle, JSON-LD, GraphML and Neo4j get nodes and edges as they are read, with score, support and
provenance; TriG gets the evidence itself, graph by graph. All are written while they are read, so
the size of a graph needs disk and no memory.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

from mkgc_cl._files import atomic_file, write_atomic
from mkgc_cl.errors import ConfigError
from mkgc_cl.graph.items import Edge, Node
from mkgc_cl.graph.store import KnowledgeGraph
from mkgc_cl.graph.terms import BASE, PREFIXES, RDF, RDFS, SCHEMA, SKOS, XSD, iri
from mkgc_cl.graph.view import oxigraph

CONSTRAINTS = """CREATE CONSTRAINT entity_id IF NOT EXISTS
FOR (n:Entity) REQUIRE n.id IS UNIQUE;
CREATE INDEX entity_name IF NOT EXISTS
FOR (n:Entity) ON (n.name);
"""
_NODE_FIELDS = ("name", "type", "score", "mentions", "low", "tasks", "sources", "aliases")
_EDGE_FIELDS = ("score", "support", "low", "tasks", "sources", "models", "conflicts")


def export(
    graph: KnowledgeGraph,
    path: str | Path,
    *,
    format_: str | None = None,
    order: Sequence[str] | None = None,
) -> Path:
    """Write a graph.

    Args:
        graph: the graph.
        path: the file, or for ``"neo4j"`` the folder.
        format_: one of :data:`FORMATS`; by default what the path ends in.
        order: of the page alone: names of tasks, in the order in which they were learnt.

    Returns:
        The path.

    Raises:
        ConfigError: there is no such format, or an order that it cannot follow.
        OSError: it cannot be written.
    """
    path = Path(path)
    chosen = format_ or ENDINGS.get(path.suffix.lower())
    if chosen not in FORMATS:
        raise ConfigError(
            [
                f"no format is called {format_ or path.suffix!r}; choose one of {sorted(FORMATS)}, "
                f"or a file that ends in one of {sorted(ENDINGS)}"
            ]
        )
    if order is None:
        FORMATS[chosen](graph, path)
        return path
    known = graph.tasks()
    unknown = [task for task in order if task not in known]
    if chosen != "html" or unknown:
        wrong = f"there is no task {unknown}; there are {list(known)}"
        raise ConfigError([wrong if unknown else f"{chosen} has no order of tasks; html has one"])
    from mkgc_cl.graph.page import write_page

    write_page(graph, path, order=order)
    return path


def turtle(graph: KnowledgeGraph, path: Path) -> None:
    """Write nodes and edges as Turtle."""
    _write_rdf(graph, path, "TURTLE")


def json_ld(graph: KnowledgeGraph, path: Path) -> None:
    """Write nodes and edges as JSON-LD."""
    _write_rdf(graph, path, "JSON_LD")


def trig(graph: KnowledgeGraph, path: Path) -> None:
    """Write all evidence as TriG, one named graph per task."""
    with atomic_file(path) as file:
        graph.store.dump(file, oxigraph().RdfFormat.TRIG, prefixes=PREFIXES)


def graphml(graph: KnowledgeGraph, path: Path) -> None:
    """Write nodes and edges as GraphML; lists are joined by ``" | "``."""
    fields = [("node", name) for name in _NODE_FIELDS]
    fields += [("edge", name) for name in ("relation", *_EDGE_FIELDS)]
    with atomic_file(path) as file:
        xml = XMLGenerator(file, "utf-8", short_empty_elements=True)

        def start(name: str, **attributes: str) -> None:
            xml.startElement(name, AttributesImpl(attributes))

        xml.startDocument()
        start("graphml", xmlns="http://graphml.graphdrawing.org/xmlns")
        for kind, name in fields:
            key = {"id": f"{kind}-{name}", "for": kind, "attr.name": name}
            start("key", **key, **{"attr.type": _xml_type(name)})
            xml.endElement("key")
        start("graph", edgedefault="directed")
        for node in graph.each_node():
            start("node", id=node.id)
            _fill(xml, "node", node, _NODE_FIELDS)
            xml.endElement("node")
        for number, edge in enumerate(graph.each_edge()):
            start("edge", id=f"e{number}", source=edge.head, target=edge.tail)
            _fill(xml, "edge", edge, ("relation", *_EDGE_FIELDS))
            xml.endElement("edge")
        xml.endElement("graph")
        xml.endElement("graphml")
        xml.endDocument()


def neo4j(graph: KnowledgeGraph, folder: Path) -> None:
    """Write what ``neo4j-admin database import full`` reads, and the constraints.

    ``neo4j-admin database import full --nodes=nodes.csv --relationships=relationships.csv neo4j``
    """
    nodes = ["id:ID", "name", "type", ":LABEL", "score:float", "mentions:int", "low:boolean"]
    _write_csv(
        folder / "nodes.csv",
        [*nodes, "tasks:string[]", "sources:string[]", "aliases:string[]"],
        (
            [
                *(n.id, n.name, n.type or "", f"Entity;{n.type}" if n.type else "Entity"),
                *(repr(n.score), str(n.mentions), str(n.low).lower()),
                *map(_listed, (n.tasks, n.sources, n.aliases)),
            ]
            for n in graph.each_node()
        ),
    )
    edges = [":START_ID", ":END_ID", ":TYPE", "score:float", "support:int", "low:boolean"]
    _write_csv(
        folder / "relationships.csv",
        [*edges, "tasks:string[]", "sources:string[]", "models:string[]"],
        (
            [
                *(e.head, e.tail, e.relation, repr(e.score), str(e.support), str(e.low).lower()),
                *map(_listed, (e.tasks, e.sources, e.models)),
            ]
            for e in graph.each_edge()
        ),
    )
    write_atomic(folder / "constraints.cypher", CONSTRAINTS)


def _write_csv(path: Path, head: list[str], rows: Iterable[list[str]]) -> None:
    with atomic_file(path) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
        csv.writer(text, lineterminator="\n").writerows(itertools.chain([head], rows))
        text.detach()


def shapes(graph: KnowledgeGraph, path: Path) -> None:
    """Write the schema of the Turtle and JSON-LD exports as SHACL shapes."""
    found = graph.query("SELECT DISTINCT ?type WHERE { ?m mkgc:type ?type }")
    known = " ".join(sorted(f"<{row['type']}>" for row in cast(list[dict[str, Any]], found)))
    inside = f"sh:in ( mkgc:Entity {known} )"
    write_atomic(
        path,
        f"""@prefix sh: <http://www.w3.org/ns/shacl#> .
@prefix xsd: <{XSD}> .
@prefix rdf: <{RDF}> .
@prefix rdfs: <{RDFS}> .
@prefix skos: <{SKOS}> .
@prefix mkgc: <{SCHEMA}> .

mkgc:EntityShape a sh:NodeShape ;
    sh:targetClass mkgc:Entity ;
    sh:property [ sh:path rdf:type ; {inside} ; sh:maxCount 2 ] ;
    sh:property [ sh:path rdfs:label ; sh:datatype xsd:string ; sh:minCount 1 ; sh:maxCount 1 ] ;
    sh:property [ sh:path skos:altLabel ; sh:datatype xsd:string ; sh:minCount 1 ] ;
    sh:property [ sh:path mkgc:mentions ; sh:datatype xsd:integer ; sh:minCount 1 ] ;
    sh:property [ sh:path mkgc:task ; sh:nodeKind sh:IRI ; sh:minCount 1 ] ;
    sh:property [ sh:path mkgc:source ; sh:nodeKind sh:IRI ; sh:minCount 1 ] .

mkgc:StatementShape a sh:NodeShape ;
    sh:targetClass mkgc:Statement ;
    sh:property [ sh:path rdf:subject ; sh:class mkgc:Entity ; sh:minCount 1 ; sh:maxCount 1 ] ;
    sh:property [ sh:path rdf:predicate ; sh:nodeKind sh:IRI ; sh:minCount 1 ; sh:maxCount 1 ] ;
    sh:property [ sh:path rdf:object ; sh:class mkgc:Entity ; sh:minCount 1 ; sh:maxCount 1 ] ;
    sh:property [ sh:path mkgc:score ; sh:datatype xsd:double ; sh:minInclusive 0.0 ;
        sh:maxInclusive 1.0 ; sh:minCount 1 ; sh:maxCount 1 ] ;
    sh:property [ sh:path mkgc:support ; sh:datatype xsd:integer ; sh:minInclusive 1 ;
        sh:minCount 1 ; sh:maxCount 1 ] ;
    sh:property [ sh:path mkgc:task ; sh:nodeKind sh:IRI ; sh:minCount 1 ] ;
    sh:property [ sh:path mkgc:source ; sh:nodeKind sh:IRI ; sh:minCount 1 ] .
""",
    )


def page(graph: KnowledgeGraph, path: Path) -> None:
    """Write one HTML page that shows the graph."""
    from mkgc_cl.graph.page import write_page

    write_page(graph, path)


FORMATS: dict[str, Callable[[KnowledgeGraph, Path], None]] = {
    "turtle": turtle,
    "trig": trig,
    "json-ld": json_ld,
    "graphml": graphml,
    "neo4j": neo4j,
    "shacl": shapes,
    "html": page,
}
ENDINGS = {
    ".ttl": "turtle",
    ".trig": "trig",
    ".jsonld": "json-ld",
    ".graphml": "graphml",
    ".shacl": "shacl",
    ".html": "html",
}


def _write_rdf(graph: KnowledgeGraph, path: Path, name: str) -> None:
    ox = oxigraph()
    with atomic_file(path) as file:
        ox.serialize(_triples(graph, ox), file, getattr(ox.RdfFormat, name), prefixes=PREFIXES)


def _triples(graph: KnowledgeGraph, ox: Any) -> Iterator[Any]:
    named, lit = ox.NamedNode, ox.Literal

    def said(subject: Any, predicate: str, *values: Any) -> Iterator[Any]:
        for value in values:
            yield ox.Triple(subject, named(predicate), value)

    for node in graph.each_node():
        me = named(f"{BASE}node:{node.id}")
        yield from said(me, f"{RDF}type", named(f"{SCHEMA}Entity"))
        if node.type is not None:
            yield from said(me, f"{RDF}type", named(iri("type", node.type)))
        yield from said(me, f"{RDFS}label", lit(node.name))
        yield from said(me, f"{SKOS}altLabel", *map(lit, node.aliases))
        yield from said(me, f"{SCHEMA}mentions", lit(node.mentions))
        yield from said(me, f"{SCHEMA}image", *map(lit, node.images))
        yield from said(me, f"{SCHEMA}task", *(named(iri("task", t)) for t in node.tasks))
        yield from said(me, f"{SCHEMA}source", *(named(iri("source", s)) for s in node.sources))
        if node.low:
            yield from said(me, f"{SCHEMA}low", lit(True))
        others = (named(f"{BASE}node:{key}") for key in node.conflicts)
        yield from said(me, f"{SCHEMA}conflictsWith", *others)
    for edge in graph.each_edge():
        head, tail = (named(f"{BASE}node:{key}") for key in (edge.head, edge.tail))
        kind = named(iri("relation", edge.relation))
        me = ox.BlankNode()
        yield ox.Triple(head, kind, tail)
        yield from said(me, f"{RDF}type", named(f"{SCHEMA}Statement"))
        yield from said(me, f"{RDF}subject", head)
        yield from said(me, f"{RDF}predicate", kind)
        yield from said(me, f"{RDF}object", tail)
        yield from said(me, f"{SCHEMA}score", lit(edge.score))
        yield from said(me, f"{SCHEMA}support", lit(edge.support))
        yield from said(me, f"{SCHEMA}task", *(named(iri("task", t)) for t in edge.tasks))
        yield from said(me, f"{SCHEMA}source", *(named(iri("source", s)) for s in edge.sources))
        yield from said(me, f"{SCHEMA}model", *map(lit, edge.models))
        if edge.low:
            yield from said(me, f"{SCHEMA}low", lit(True))
        rivals = (named(iri("relation", name)) for name in edge.conflicts)
        yield from said(me, f"{SCHEMA}conflictsWith", *rivals)


def _xml_type(name: str) -> str:
    return {"score": "double", "mentions": "int", "support": "int", "low": "boolean"}.get(
        name, "string"
    )


def _fill(xml: XMLGenerator, kind: str, item: Node | Edge, names: tuple[str, ...]) -> None:
    for name in names:
        value = getattr(item, name)
        if value is None:
            continue
        text = " | ".join(value) if isinstance(value, tuple) else str(value)
        text = text.lower() if isinstance(value, bool) else text
        xml.startElement("data", AttributesImpl({"key": f"{kind}-{name}"}))
        # XML has no others
        xml.characters("".join(c for c in text if c in "\t\n\r" or " " <= c not in "\ufffe\uffff"))
        xml.endElement("data")


def _listed(values: tuple[str, ...]) -> str:
    """A list of Neo4j's importer, whose items are set apart by semicolons."""
    return ";".join(value.replace(";", ",") for value in values)
