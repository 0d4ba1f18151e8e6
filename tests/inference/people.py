"""Records of people and places, which an encoder of hashed words learns in milliseconds."""

from __future__ import annotations

from typing import Any

NAMES = ("Ann", "Bo", "Cy", "Dee", "Eve", "Flo")
PLACES = ("Rome", "Oslo", "Bonn", "Lima", "Kiev", "Riga")


def record(name: str, place: str, verb: str = "lives") -> dict[str, Any]:
    """A person in a place: two entities and the relation between them."""
    relation = {"lives": "lives_in", "dies": "dies_in", "avoids": None}[verb]
    return {
        "uid": f"{name}/{verb}/{place}",
        "tokens": [name, verb, "in", place, "today"],
        "entities": [(0, 1, "PER"), (3, 4, "LOC")],
        "relations": [] if relation is None else [(0, 1, relation)],
    }


RECORDS = [record(name, place) for name, place in zip(NAMES, PLACES, strict=True)]
OTHERS = [record(n, p, "dies") for n, p in zip(NAMES, reversed(PLACES), strict=True)]
NEGATIVES = [record(n, p, "avoids") for n, p in zip(NAMES, PLACES[1:], strict=False)]
