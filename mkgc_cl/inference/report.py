"""What learning did: what was added, what was left out and why, what became of old types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mkgc_cl.metrics.counts import Counts, Span, spans


@dataclass(frozen=True, slots=True)
class LearnReport:
    """What one call of ``learn`` did.

    Args:
        task: name of the task.
        samples: how many samples taught something.
        added: mentions of each type, and samples of each relation, that were learnt.
        new: the types that were not known before.
        ignored: how many samples or labels were left out, by reason.
        before: F1 of each type on the samples held out, before; 0 to 1.
        after: the same, after.
    """

    task: str
    samples: int
    added: Mapping[str, int]
    new: tuple[str, ...]
    ignored: Mapping[str, int] = field(default_factory=dict)
    before: Mapping[str, float] = field(default_factory=dict)
    after: Mapping[str, float] = field(default_factory=dict)

    @property
    def changes(self) -> dict[str, float]:
        """Change of F1 of the types that were known before, in points (hundredths)."""
        return {
            name: 100 * (self.after[name] - old)
            for name, old in self.before.items()
            if name in self.after and name not in self.new
        }

    def __str__(self) -> str:
        noun = "sample" if self.samples == 1 else "samples"
        lines = [f"{self.task}: {self.samples:,} {noun} learnt"]
        lines += [
            f"  {name}: {count:,}{' (new)' if name in self.new else ''}"
            for name, count in sorted(self.added.items())
        ]
        lines += [f"  ignored, {reason}: {count:,}" for reason, count in self.ignored.items()]
        lines += [
            f"  F1 of {name}: {100 * self.before[name]:.1f} -> {100 * self.after[name]:.1f}"
            for name in self.changes
        ]
        lines += [
            f"  F1 of {name}: {100 * self.after[name]:.1f}"
            for name in self.new
            if name in self.after
        ]
        return "\n".join(lines)


def bio_spans(tags: Sequence[str]) -> list[Span]:
    """Entities of BIO tags by place, see :func:`~mkgc_cl.metrics.counts.spans`.

    >>> bio_spans(("B-PER", "I-PER", "O", "B-LOC"))
    [('PER', 0, 2), ('LOC', 3, 4)]
    """
    return sorted(spans(tags), key=lambda span: span[1])


def counts_by_type(pairs: Iterable[tuple[set[Span], set[Span]]]) -> dict[str, Counts]:
    """Counts of each type that occurs, of found and true spans of each sample."""
    total: dict[str, Counts] = {}
    for found, true in pairs:
        for name in sorted({span[0] for span in found | true}):
            mine = {span for span in found if span[0] == name}
            gold = {span for span in true if span[0] == name}
            counts = Counts(tp=len(mine & gold), predicted=len(mine), gold=len(gold))
            total[name] = total.get(name, Counts()) + counts
    return total
