"""IRIs of the graph: the schema, and what is named in it."""

from __future__ import annotations

import hashlib
from urllib.parse import quote, unquote

BASE = "urn:mkgc:"
SCHEMA = f"{BASE}schema:"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
RDFS = "http://www.w3.org/2000/01/rdf-schema#"
SKOS = "http://www.w3.org/2004/02/skos/core#"
XSD = "http://www.w3.org/2001/XMLSchema#"
PREFIXES = {
    "mkgc": SCHEMA,
    "rdf": RDF,
    "rdfs": RDFS,
    "skos": SKOS,
    "type": f"{BASE}type:",
    "relation": f"{BASE}relation:",
    "node": f"{BASE}node:",
    "task": f"{BASE}task:",
    "source": f"{BASE}source:",
}
"""Prefixes of exports, and of queries."""

UNKNOWN_TASK = "unknown"
"""The graph of what no task is known for."""


def iri(kind: str, name: str) -> str:
    """IRI of a type, relation, task or source by name.

    >>> iri("relation", "/per/org/member_of")
    'urn:mkgc:relation:%2Fper%2Forg%2Fmember_of'
    """
    return f"{BASE}{kind}:{quote(name, safe='')}"


def name_of(address: str) -> str:
    """The name in an IRI of :func:`iri`.

    >>> name_of("urn:mkgc:relation:%2Fper%2Forg%2Fmember_of")
    '/per/org/member_of'
    """
    return unquote(address.split(":", 3)[3])


def digest(*parts: object) -> str:
    """Identity of what is made of these parts: 20 hexadecimal digits."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:20]
