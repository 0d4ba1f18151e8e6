"""Which types of entities a relation was learnt between: counts, and what they rule out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

TypePair = tuple[str, str]


@dataclass(slots=True)
class TypeConstraints:
    """Counts of the types of heads and tails, by relation.

    A pair of types is ruled out for a relation that was never seen between them, if both types were
    known when the relation was learnt: a type that came later rules nothing out.

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

    def add(
        self, relation: str, pair: tuple[str | None, str | None], *, known: Iterable[str]
    ) -> None:
        """Count a sample; one whose entities have no known type says nothing."""
        head, tail = pair
        if head is None or tail is None:
            return
        self.counts.setdefault(relation, Counter())[head, tail] += 1
        self.known.setdefault(relation, set()).update((*known, head, tail))

    def remove(self, relation: str, pair: tuple[str | None, str | None]) -> None:
        """Take a sample away again."""
        head, tail = pair
        counted = self.counts.get(relation)
        if counted is None or head is None or tail is None:
            return
        counted[head, tail] -= 1
        self.counts[relation] = +counted
        if not self.counts[relation]:
            del self.counts[relation], self.known[relation]

    def allow(self, relation: str, head: str | None, tail: str | None) -> bool:
        """Whether a relation may hold between two types."""
        if relation not in self.counts or head is None or tail is None:
            return True
        known = self.known[relation]
        if head not in known or tail not in known:
            return True
        return self.counts[relation][head, tail] > 0

    def merge(self, other: TypeConstraints) -> None:
        """Add the counts of another one."""
        for relation, counted in other.counts.items():
            self.counts.setdefault(relation, Counter()).update(counted)
            self.known.setdefault(relation, set()).update(other.known[relation])

    def renamed(
        self, relations: Mapping[str, str | None], types: Mapping[str, str | None]
    ) -> TypeConstraints:
        """Return it under other names; what is named ``None`` is left out."""
        made = TypeConstraints()
        for old, counted in self.counts.items():
            relation = relations.get(old, old)
            if relation is None:
                continue
            known = {types.get(name, name) for name in self.known[old]}
            for (head, tail), count in counted.items():
                pair = (types.get(head, head), types.get(tail, tail))
                if None not in pair:
                    mine = made.counts.setdefault(relation, Counter())
                    mine[pair] += count  # type: ignore[index]
                    made.known.setdefault(relation, set()).update(n for n in known if n)
        return made

    def to_dict(self) -> dict[str, Any]:
        """Plain values, in a fixed order."""
        return {
            relation: {
                "known": sorted(self.known[relation]),
                "counts": [[*pair, n] for pair, n in sorted(self.counts[relation].items())],
            }
            for relation in sorted(self.counts)
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> TypeConstraints:
        """Read what :meth:`to_dict` returned."""
        made = cls()
        for relation, found in plain.items():
            made.counts[relation] = Counter({(h, t): int(n) for h, t, n in found["counts"]})
            made.known[relation] = set(found["known"])
        return made
