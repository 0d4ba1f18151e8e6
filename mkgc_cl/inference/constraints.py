"""Which types of entities a relation was learnt between: counts, and what they rule out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mkgc_cl.inference.ledger import Entry

TypePair = tuple[str, str]


@dataclass(slots=True)
class TypeConstraints:
    """Counts of the types of heads and tails, by relation.

    A pair of types is ruled out for a relation that was never seen between them, if both types were
    known when the relation was learnt: a type that came later rules nothing out.

    They say nothing that the ledger of samples does not say, and are counted from it (:meth:`of`)
    whenever it changes: a sample that is forgotten, or whose types are renamed, is so here too.

    Args:
        counts: how often each relation was seen between each pair of types.
        known: the types that were known when samples of a relation were learnt.

    >>> found = TypeConstraints()
    >>> found.add("works_for", ("PER", "ORG"), known=("PER", "ORG", "LOC"))
    >>> found.allow("works_for", "PER", "ORG"), found.allow("works_for", "LOC", "ORG")
    (True, False)
    >>> found.allow("works_for", "PER", "TEAM"), found.allow("born_in", "PER", "LOC")
    (True, True)
    """

    counts: dict[str, Counter[TypePair]] = field(default_factory=dict)
    known: dict[str, set[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, entries: Iterable[Entry], outputs: Sequence[str]) -> TypeConstraints:
        """Count the samples of relations, whose ``outputs`` they number; the first is none."""
        made = cls()
        for entry in entries:
            (output,) = entry.taught
            if output > 0:
                made.add(outputs[output], entry.pair, known=entry.known)
        return made

    def add(
        self, relation: str, pair: tuple[str | None, str | None], *, known: Iterable[str]
    ) -> None:
        """Count a sample; one whose entities have no known type says nothing."""
        head, tail = pair
        if head is None or tail is None:
            return
        self.counts.setdefault(relation, Counter())[head, tail] += 1
        self.known.setdefault(relation, set()).update((*known, head, tail))

    def allow(self, relation: str, head: str | None, tail: str | None) -> bool:
        """Whether a relation may hold between two types."""
        if relation not in self.counts or head is None or tail is None:
            return True
        known = self.known[relation]
        if head not in known or tail not in known:
            return True
        return self.counts[relation][head, tail] > 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for where there is no ledger to count them from."""
        return {
            relation: {
                "known": sorted(self.known[relation]),
                "counts": [[*pair, count] for pair, count in sorted(counted.items())],
            }
            for relation, counted in sorted(self.counts.items())
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> TypeConstraints:
        """Read what :meth:`to_dict` returned."""
        made = cls()
        for relation, found in plain.items():
            made.counts[relation] = Counter({(h, t): int(n) for h, t, n in found["counts"]})
            made.known[relation] = set(found["known"])
        return made
