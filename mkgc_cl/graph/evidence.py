"""What an extraction says, as quads: mentions and statements, and the triples they make true.

Evidence stands in the default graph, where the database keeps three orders of it, and plain triples
in the graphs of their tasks, which need six.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from mkgc_cl.graph.merging import MergeRule
from mkgc_cl.graph.terms import BASE, RDF, SCHEMA, SKOS, UNKNOWN_TASK, digest, iri
from mkgc_cl.inference.documents import split_words
from mkgc_cl.inference.extraction import Entity, Extraction


class Evidence:
    """Makes quads.

    Args:
        ox: the database's module.
        merge: which mentions are one node.

    Attributes:
        node: from an address to its named node; few addresses make most quads, and are kept.
    """

    def __init__(self, ox: Any, merge: MergeRule) -> None:
        self.ox = ox
        self.merge = merge
        self.node: Callable[[str], Any] = lru_cache(maxsize=4096)(ox.NamedNode)

    def term(self, name: str) -> Any:
        """A term of the schema."""
        return self.node(SCHEMA + name)

    def quads(self, extraction: Extraction, name: str) -> list[Any]:
        """Everything that one extraction says."""
        ox, lit = self.ox, self.ox.Literal
        source = self.node(iri("source", name))
        found = [
            ox.Quad(source, self.node(f"{RDF}type"), self.term("Source")),
            ox.Quad(source, self.term("text"), lit(extraction.text)),
        ]
        if extraction.image is not None:
            found.append(ox.Quad(source, self.term("image"), lit(extraction.image)))
        if extraction.tokens != split_words(extraction.text)[0]:
            plain = json.dumps(extraction.tokens, ensure_ascii=False)
            found.append(ox.Quad(source, self.term("tokens"), lit(plain)))
        mentions = []
        for entity in extraction.entities:
            quads, mention, node = self._mention(entity, extraction, name)
            found += quads
            mentions.append((mention, node))
        for relation in extraction.relations:
            head, tail = mentions[relation.head], mentions[relation.tail]
            task = relation.task or UNKNOWN_TASK
            kind = self.node(iri("relation", relation.type))
            key = (name, head[0].value, relation.type, tail[0].value, task, extraction.model)
            statement = self.node(f"{BASE}statement:{digest(*key)}")
            said = {
                f"{RDF}type": self.term("Statement"),
                f"{RDF}subject": head[1],
                f"{RDF}predicate": kind,
                f"{RDF}object": tail[1],
                f"{SCHEMA}headMention": head[0],
                f"{SCHEMA}tailMention": tail[0],
                **self._evidence(source, relation.score, task, extraction.model),
            }
            found += [ox.Quad(statement, self.node(p), o) for p, o in said.items()]
            found += self.derived(said)
        return found

    def _mention(
        self, entity: Entity, extraction: Extraction, name: str
    ) -> tuple[list[Any], Any, Any]:
        ox, lit = self.ox, self.ox.Literal
        task = entity.task or UNKNOWN_TASK
        node = self.node(f"{BASE}node:{digest(self.merge(entity.text, entity.type))}")
        place = (entity.char_start, entity.char_end)
        key = (name, place, entity.type, task, extraction.model)
        mention = self.node(f"{BASE}mention:{digest(*key)}")
        said = {
            f"{RDF}type": self.term("Mention"),
            f"{SCHEMA}of": node,
            f"{SCHEMA}text": lit(entity.text),
            f"{SCHEMA}start": lit(place[0]),
            f"{SCHEMA}end": lit(place[1]),
            **self._evidence(self.node(iri("source", name)), entity.score, task, extraction.model),
        }
        if extraction.image is not None:
            said[f"{SCHEMA}image"] = lit(extraction.image)
        if entity.type is not None:
            said[f"{SCHEMA}type"] = self.node(iri("type", entity.type))
        quads = [ox.Quad(mention, self.node(p), o) for p, o in said.items()]
        return [*quads, *self.derived(said)], mention, node

    def _evidence(self, source: Any, score: float, task: str, model: str | None) -> dict[str, Any]:
        found = {
            f"{SCHEMA}source": source,
            f"{SCHEMA}score": self.ox.Literal(float(score)),
            f"{SCHEMA}task": self.node(iri("task", task)),
        }
        if model is not None:
            found[f"{SCHEMA}model"] = self.ox.Literal(model)
        return found

    def derived(self, said: Mapping[str, Any]) -> list[Any]:
        """Plain triples of its task that a mention or a statement makes true."""
        ox, graph = self.ox, said[f"{SCHEMA}task"]
        if f"{RDF}subject" in said:
            parts = (said[f"{RDF}{part}"] for part in ("subject", "predicate", "object"))
            return [ox.Quad(*parts, graph)]
        node, kind = said[f"{SCHEMA}of"], said.get(f"{SCHEMA}type")
        a = self.node(f"{RDF}type")
        found = [
            ox.Quad(node, a, self.term("Entity"), graph),
            ox.Quad(node, self.node(f"{SKOS}altLabel"), said[f"{SCHEMA}text"], graph),
        ]
        return found if kind is None else [*found, ox.Quad(node, a, kind, graph)]
