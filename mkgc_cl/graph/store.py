"""The graph itself: evidence in an embedded database, one named graph per task."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mkgc_cl.errors import ConfigError, DataError, OutputError
from mkgc_cl.graph.evidence import Evidence
from mkgc_cl.graph.items import Edge, Node
from mkgc_cl.graph.merging import RULES, MergeRule, by_name_and_type
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
from mkgc_cl.graph.view import GraphView, oxigraph
from mkgc_cl.inference.extraction import Extraction

CHUNK = 2**16
"""Sources, entities and relations that are written in one step: not more than a million quads,
which the database writes as a whole. A graph that is killed while it grows has all of a step or
nothing of it."""
BULK = 2**11
"""From which on a step writes sorted files, which costs less than the log of transactions."""
PATIENCE = 30.0
"""Seconds after which a step is written, however small, where texts are read slowly."""


class KnowledgeGraph:
    """Entities and relations with every source, span, task and model that says so.

    What is stored is evidence: a mention of a node in a source, a statement in a source. Each has
    an identity made of what it says, so adding it twice, or in another order, changes nothing.
    Names, scores and support are read off the evidence. Contradictions and low scores are kept,
    and marked where they are read.

    Every task has a named graph (``urn:mkgc:task:NAME``) with the plain triple of each of its
    facts, so that "which task taught this" is a query, as is what one statement is made of::

        graph.query("SELECT ?task WHERE { GRAPH ?task { ?head relation:lives_in ?tail } }")
        graph.query("SELECT * WHERE { ?s rdf:predicate relation:lives_in ; mkgc:score ?score }")

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
        score = next(self._store.quads_for_pattern(None, self._term("score"), None, None), None)
        if score is not None and score.graph_name != self._ox.DefaultGraph():
            raise ConfigError(
                ["the graph was made by an earlier version of mkgc_cl; make a new one of its texts"]
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
        """Add what was found in many texts, in large steps; return how many.

        Where the extractions end in an error, those before it are in the graph.

        Raises:
            DataError: there is a source of this name with another text.
        """
        count = size = 0
        last = time.monotonic()
        waiting: dict[str, list[Extraction]] = {}
        try:
            for extraction in extractions:
                name = extraction.uid or f"text-{digest(extraction.text)}"
                same = waiting.get(name)
                if same is not None and same[0].text != extraction.text:
                    raise _other_text(name)
                self._check_source(name, extraction)
                waiting.setdefault(name, []).append(extraction)
                count += 1
                size += 1 + len(extraction.entities) + len(extraction.relations)
                if size >= CHUNK or time.monotonic() - last > PATIENCE:
                    full, waiting = waiting, {}
                    self._write(full, size)
                    size, last = 0, time.monotonic()
        finally:
            self._write(waiting, size)
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
        evidence = [
            quad.subject
            for quad in self._store.quads_for_pattern(None, self._term("source"), node, None)
        ]
        said = [list(self._store.quads_for_pattern(one, None, None, None)) for one in evidence]
        derived = {
            quad
            for one in said
            for quad in self._evidence.derived({q.predicate.value: q.object for q in one})
        }
        gone = " . ".join(
            " ".join(map(str, (quad.subject, quad.predicate, quad.object)))
            for quad in [*own, *itertools.chain(*said)]
        )
        # one update is one transaction: a graph that is killed has the source or has it not
        steps = [f"DELETE DATA {{ {gone} }}", *map(_unless_said, derived)]
        self._store.update(" ; ".join(steps), prefixes=PREFIXES)
        return len(evidence)

    def reread(self, extractor: Any) -> int:
        """Read every stored text with another model, whose findings join those of the ones before.

        ``diff(graph.view(model=old), graph.view(model=extractor.model))`` then tells what the newer
        one adds and what it has forgotten.

        Args:
            extractor: an :class:`~mkgc_cl.inference.Extractor`.

        Returns:
            How many texts were read.

        Raises:
            ConfigError: it reads captions, which a graph does not keep.
        """
        if any(part.processor.views.caption for part in extractor.parts.values()):
            raise ConfigError(
                [
                    "this extractor reads captions, and a graph keeps texts without them; add the "
                    "records again: mkgc graph add GRAPH FILES --extractor FOLDER"
                ]
            )
        given = (
            {
                "uid": name,
                "image": image,
                **({"text": text} if tokens is None else {"tokens": tokens}),
            }
            for name, text, tokens, image in self._texts()
        )
        return self.add_all(extractor.stream(given))

    # ---- reading -------------------------------------------------------------------------------

    def view(self, *, model: str | None = None, tasks: Iterable[str] | None = None) -> GraphView:
        """What some model, or some tasks, have to say."""
        return GraphView(self, model, None if tasks is None else frozenset(tasks))

    def nodes(self) -> dict[str, Node]:
        """Nodes by id, in the order of their ids."""
        return self.view().nodes()

    def edges(self) -> list[Edge]:
        """Edges, in the order of their keys."""
        return self.view().edges()

    def each_node(self, ids: Iterable[str] | None = None) -> Iterator[Node]:
        """Yield what :meth:`nodes` holds, or the nodes of some ids, one at a time.

        A graph of any size fits memory so, as it does in exports and in :func:`diff`.
        """
        return self.view().each_node(ids)

    def each_edge(self, heads: Iterable[str] | None = None) -> Iterator[Edge]:
        """Yield what :meth:`edges` holds, or the edges from some nodes, one at a time."""
        return self.view().each_edge(heads)

    def sources(self) -> dict[str, str]:
        """Texts by name of their source."""
        return {name: text for name, text, *_ in self._texts()}

    def tasks(self, first: Sequence[str] = ()) -> tuple[str, ...]:
        """Names of the tasks that have taught something, ``task 2`` before ``task 10``.

        Args:
            first: those to begin with, in this order; others have taught nothing.
        """
        some = self._store.quads_for_pattern
        found = {
            name_of(graph.value)
            for graph in self._store.named_graphs()
            if next(some(None, None, None, graph), None) is not None
        }
        rest = sorted(found.difference(first), key=_counting)
        return (*dict.fromkeys(task for task in first if task in found), *rest)

    def models(self) -> tuple[str, ...]:
        """Digests of the models that have found something, by alphabet."""
        found = self._store.query(
            "SELECT DISTINCT ?model WHERE { ?m mkgc:model ?model }", prefixes=PREFIXES
        )
        return tuple(sorted(row["model"].value for row in found))

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

    def _write(self, waiting: Mapping[str, Sequence[Extraction]], size: int) -> None:
        write = self._store.bulk_extend if size >= BULK else self._store.extend
        write(
            quad
            for name, some in waiting.items()
            for extraction in some
            for quad in self._evidence.quads(extraction, name)
        )

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


def _unless_said(quad: Any) -> str:
    """An update that removes a plain triple of a task, unless there is evidence for it."""
    node, what, value, task = map(str, (quad.subject, quad.predicate, quad.object, quad.graph_name))
    if quad.predicate.value == f"{SKOS}altLabel":
        said = f"mkgc:of {node} ; mkgc:text {value}"
    elif quad.predicate.value != f"{RDF}type":
        said = f"rdf:subject {node} ; rdf:predicate {what} ; rdf:object {value}"
    elif quad.object.value == f"{SCHEMA}Entity":
        said = f"mkgc:of {node}"
    else:
        said = f"mkgc:of {node} ; mkgc:type {value}"
    return (
        f"DELETE {{ GRAPH {task} {{ {node} {what} {value} }} }} "
        f"WHERE {{ FILTER NOT EXISTS {{ ?m {said} ; mkgc:task {task} }} }}"
    )


def _counting(name: str) -> tuple[tuple[int, str], ...]:
    """A key that puts a number where it is in counting."""
    return tuple((int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", name))


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
