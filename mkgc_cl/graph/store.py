"""The graph itself: evidence in an embedded database, one named graph per task."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mkgc_cl.errors import ConfigError, DataError, OutputError
from mkgc_cl.graph.evidence import Evidence
from mkgc_cl.graph.gathering import Gathered
from mkgc_cl.graph.items import Edge, Node
from mkgc_cl.graph.merging import RULES, MergeRule, by_name_and_type, plain_name
from mkgc_cl.graph.terms import (
    BASE,
    PREFIXES,
    RDF,
    SCHEMA,
    SKOS,
    digest,
    iri,
    name_of,
)
from mkgc_cl.inference.extraction import Extraction

CHUNK = 256
"""Extractions that are written in one transaction."""


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


class KnowledgeGraph:
    """Entities and relations with every source, span, task and model that says so.

    What is stored is evidence: a mention of a node in a source, a statement in a source. Each has
    an identity made of what it says, so adding it twice, or in another order, changes nothing.
    Names, scores and support are read off the evidence. Contradictions and low scores are kept,
    and marked where they are read.

    Every task has a named graph (``urn:mkgc:task:NAME``) in which the plain triple of each of its
    facts stands too, so that "which task taught this" is a query::

        graph.query("SELECT ?task WHERE { GRAPH ?task { ?head relation:lives_in ?tail } }")

    Args:
        folder: where the database is, made if it is not there; ``None`` keeps it in memory.
        merge: which mentions are one node; see :mod:`mkgc_cl.graph.merging`.
        low: scores below this are marked as low.
        read_only: open a database that another process may have open.

    Raises:
        ConfigError: the database is not installed, or was made with another merge rule.
        OutputError: the folder cannot be opened.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        merge: MergeRule = by_name_and_type,
        low: float = 0.5,
        read_only: bool = False,
    ) -> None:
        self._ox = oxigraph()
        self._evidence = Evidence(self._ox, merge)
        self.low = low
        self.folder = None if folder is None else Path(folder)
        try:
            if folder is None:
                self._store = self._ox.Store()
            elif read_only:
                self._store = self._ox.Store.read_only(str(folder))
            else:
                Path(folder).parent.mkdir(parents=True, exist_ok=True)
                self._store = self._ox.Store(str(folder))
        except OSError as error:
            raise OutputError(
                f"{folder}: cannot be opened as a graph ({error}); is another process writing it?"
            ) from error
        self._check_rule(read_only=read_only)

    def _check_rule(self, *, read_only: bool) -> None:
        merge = self._evidence.merge
        name = getattr(merge, "__name__", type(merge).__name__)
        me, rule = self._node(f"{BASE}graph"), self._node(f"{SCHEMA}mergeRule")
        kept = [quad.object.value for quad in self._store.quads_for_pattern(me, rule, None, None)]
        if kept and kept != [name]:
            known = f"merge={kept[0]}" if kept[0] in RULES else "the rule that it was made with"
            raise ConfigError(
                [f"the graph was made with the merge rule {kept[0]!r}, not {name!r}; give {known}"]
            )
        if not kept and not read_only:
            self._store.add(self._ox.Quad(me, rule, self._ox.Literal(name)))

    # ---- writing -------------------------------------------------------------------------------

    def add(self, extraction: Extraction, *, source: str | None = None) -> str:
        """Add what was found in one text; see :meth:`add_all`.

        Args:
            extraction: what was found.
            source: name of the text; by default its uid, or a digest of its characters.

        Returns:
            The name of the source.

        Raises:
            DataError: there is a source of this name with another text.
        """
        name = source or extraction.uid or f"text-{digest(extraction.text)}"
        self._check_source(name, extraction)
        self._store.extend(self._evidence.quads(extraction, name))
        return name

    def add_all(self, extractions: Iterable[Extraction]) -> int:
        """Add what was found in many texts, a few hundred in a transaction; return how many.

        Raises:
            DataError: there is a source of this name with another text.
        """
        count = 0
        waiting: list[Any] = []
        texts: dict[str, str] = {}
        for extraction in extractions:
            name = extraction.uid or f"text-{digest(extraction.text)}"
            if texts.setdefault(name, extraction.text) != extraction.text:
                raise _other_text(name)
            self._check_source(name, extraction)
            waiting += self._evidence.quads(extraction, name)
            count += 1
            if count % CHUNK == 0:
                self._store.extend(waiting)
                waiting, texts = [], {}
        self._store.extend(waiting)
        return count

    def remove(self, source: str) -> int:
        """Take a source out, and all that nothing else says: the graph as if it had never come.

        Returns:
            How many mentions and statements went.

        Raises:
            DataError: there is no such source.
        """
        node = self._node(iri("source", source))
        own = list(self._store.quads_for_pattern(node, None, None, self._ox.DefaultGraph()))
        if not own:
            raise DataError(f"there is no source {source!r} in the graph; sources() lists them")
        cited = self._store.quads_for_pattern(None, self._term("source"), node, None)
        evidence = [(quad.subject, quad.graph_name) for quad in cited]
        said: list[Any] = []
        for subject, task in evidence:
            said += self._store.quads_for_pattern(subject, None, None, task)
        derived = {quad for subject, task in evidence for quad in self._derived(subject, task)}
        for quad in [*own, *said]:
            self._store.remove(quad)
        for quad in derived:
            if not self._supported(quad):
                self._store.remove(quad)
        return len(evidence)

    def reread(self, extractor: Any) -> int:
        """Read every stored text with another model, whose findings join those of the ones before.

        ``diff(graph.view(model=old), graph.view(model=extractor.model))`` then tells what the newer
        one adds and what it has forgotten.

        Args:
            extractor: an :class:`~mkgc_cl.inference.Extractor`.

        Returns:
            How many texts were read.
        """
        given = [
            {
                "uid": name,
                "image": image,
                **({"text": text} if tokens is None else {"tokens": tokens}),
            }
            for name, text, tokens, image in self._texts()
        ]
        return self.add_all(extractor.stream(given))

    # ---- reading -------------------------------------------------------------------------------

    def view(self, *, model: str | None = None, tasks: Iterable[str] | None = None) -> GraphView:
        """What some model, or some tasks, have to say."""
        return GraphView(self, model, None if tasks is None else frozenset(tasks))

    def nodes(
        self, *, model: str | None = None, tasks: frozenset[str] | None = None
    ) -> dict[str, Node]:
        """Nodes by id, in the order of their ids."""
        found: dict[str, Gathered] = defaultdict(Gathered)
        for row in self._rows(
            "?m mkgc:of ?node ; mkgc:text ?text", "?m", "?node ?text ?type ?image"
        ):
            task = name_of(row["g"].value)
            if (model in (None, _plain(row["model"]))) and (tasks is None or task in tasks):
                found[row["node"].value.rpartition(":")[2]].take(row, task, mention=True)
        by_plain: dict[str, list[str]] = defaultdict(list)
        for key, one in found.items():
            by_plain[plain_name(one.name)].append(key)
        return {
            key: found[key].node(
                key, self.low, [k for k in by_plain[plain_name(found[key].name)] if k != key]
            )
            for key in sorted(found)
        }

    def edges(self, *, model: str | None = None, tasks: frozenset[str] | None = None) -> list[Edge]:
        """Edges, in the order of their keys."""
        found: dict[tuple[str, str, str], Gathered] = defaultdict(Gathered)
        pattern = "?m rdf:subject ?head ; rdf:predicate ?relation ; rdf:object ?tail"
        for row in self._rows(pattern, "?m", "?head ?relation ?tail"):
            task = name_of(row["g"].value)
            if (model in (None, _plain(row["model"]))) and (tasks is None or task in tasks):
                key = (
                    row["head"].value.rpartition(":")[2],
                    name_of(row["relation"].value),
                    row["tail"].value.rpartition(":")[2],
                )
                found[key].take(row, task, mention=False)
        between: dict[tuple[str, str], set[str]] = defaultdict(set)
        for head, relation, tail in found:
            between[head, tail].add(relation)
        return [found[key].edge(key, self.low, between[key[0], key[2]]) for key in sorted(found)]

    def sources(self) -> dict[str, str]:
        """Texts by name of their source."""
        return {name: text for name, text, *_ in self._texts()}

    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks that have taught something, by alphabet."""
        return tuple(sorted(name_of(graph.value) for graph in self._store.named_graphs()))

    def models(self) -> tuple[str, ...]:
        """Digests of the models that have found something, by alphabet."""
        found = self._store.quads_for_pattern(None, self._term("model"), None, None)
        return tuple(sorted({quad.object.value for quad in found}))

    def query(self, text: str) -> list[dict[str, Any]] | bool | list[tuple[str, str, str]]:
        """Ask in SPARQL 1.1; the prefixes of :data:`~mkgc_cl.graph.terms.PREFIXES` are known.

        Returns:
            Rows of a SELECT by variable (IRIs as text, literals as values), the answer of an ASK,
            or the triples of a CONSTRUCT.

        Raises:
            DataError: it is no query.
        """
        try:
            found = self._store.query(text, prefixes=PREFIXES)
        except (SyntaxError, ValueError, OSError) as error:
            raise DataError(f"expected a SPARQL query ({error})") from error
        if isinstance(found, self._ox.QueryBoolean):
            return bool(found)
        if isinstance(found, self._ox.QueryTriples):
            return [(t.subject.value, t.predicate.value, str(t.object)) for t in found]
        names = [variable.value for variable in found.variables]
        return [
            {name: _value(row[name], self._ox) for name in names if row[name] is not None}
            for row in found
        ]

    def __len__(self) -> int:
        return len(self._store)

    def quads(self) -> set[str]:
        """Every quad of the database, as text: equal sets are equal graphs."""
        return set(map(str, self._store))

    def close(self) -> None:
        """Write everything to disk and let go of the folder."""
        self._store.flush()
        del self._store

    # ---- inside --------------------------------------------------------------------------------

    @property
    def store(self) -> Any:
        """The ``pyoxigraph.Store``, for exports."""
        return self._store

    def _node(self, address: str) -> Any:
        return self._ox.NamedNode(address)

    def _term(self, name: str) -> Any:
        return self._ox.NamedNode(SCHEMA + name)

    def _texts(self) -> Iterator[tuple[str, str, list[str] | None, str | None]]:
        rows = self._store.query(
            "SELECT ?s ?text ?tokens ?image WHERE { ?s a mkgc:Source ; mkgc:text ?text . "
            "OPTIONAL { ?s mkgc:tokens ?tokens } OPTIONAL { ?s mkgc:image ?image } } ORDER BY ?s",
            prefixes=PREFIXES,
        )
        for row in rows:
            tokens = None if row["tokens"] is None else json.loads(row["tokens"].value)
            yield name_of(row["s"].value), row["text"].value, tokens, _plain(row["image"])

    def _check_source(self, name: str, extraction: Extraction) -> None:
        node = self._node(iri("source", name))
        for quad in self._store.quads_for_pattern(node, self._term("text"), None, None):
            if quad.object.value != extraction.text:
                raise _other_text(name)

    def _derived(self, subject: Any, task: Any) -> list[Any]:
        quads = self._store.quads_for_pattern(subject, None, None, task)
        return self._evidence.derived({q.predicate.value: q.object for q in quads}, task)

    def _supported(self, quad: Any) -> bool:
        """Whether any evidence is left for a plain triple of a task."""
        pattern = self._store.quads_for_pattern
        if quad.predicate.value not in (f"{RDF}type", f"{SKOS}altLabel"):
            said = pattern(None, self._node(f"{RDF}subject"), quad.subject, quad.graph_name)
            rest = {"predicate": quad.predicate, "object": quad.object}
            return any(
                all(
                    next(pattern(one.subject, self._node(RDF + part), value, quad.graph_name), None)
                    for part, value in rest.items()
                )
                for one in said
            )
        mentions = pattern(None, self._term("of"), quad.subject, quad.graph_name)
        if quad.object == self._term("Entity"):
            return next(mentions, None) is not None
        what = "text" if quad.predicate.value == f"{SKOS}altLabel" else "type"
        return any(
            next(pattern(one.subject, self._term(what), quad.object, quad.graph_name), None)
            for one in mentions
        )

    def _rows(self, pattern: str, subject: str, names: str) -> Iterator[Any]:
        optional = " ".join(
            f"OPTIONAL {{ {subject} mkgc:{name} ?{name} }}"
            for name in ("type", "image")
            if f"?{name}" in names
        )
        rows: Iterator[Any] = self._store.query(
            f"SELECT ?g {names} ?score ?source ?model WHERE {{ GRAPH ?g {{ {pattern} ; "
            f"mkgc:score ?score ; mkgc:source ?source . {optional} "
            f"OPTIONAL {{ {subject} mkgc:model ?model }} }} }}",
            prefixes=PREFIXES,
        )
        return rows


@dataclass(frozen=True)
class GraphView:
    """What one model, or some tasks, have to say of a graph."""

    graph: KnowledgeGraph
    model: str | None = None
    only: frozenset[str] | None = None

    def nodes(self) -> dict[str, Node]:
        """Nodes by id."""
        return self.graph.nodes(model=self.model, tasks=self.only)

    def edges(self) -> list[Edge]:
        """Edges."""
        return self.graph.edges(model=self.model, tasks=self.only)


def _plain(term: Any) -> str | None:
    return None if term is None else str(term.value)


def _value(term: Any, ox: Any) -> Any:
    if not isinstance(term, ox.Literal):
        return getattr(term, "value", str(term))
    kind = term.datatype.value.rpartition("#")[2]
    if kind in ("integer", "int", "long"):
        return int(term.value)
    return float(term.value) if kind in ("double", "decimal", "float") else term.value


def _other_text(name: str) -> DataError:
    return DataError(
        "the graph has another text under this name; give the text another uid, or remove the "
        "source first",
        sample=name,
    )
