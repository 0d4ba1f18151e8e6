r"""Micro-averaged precision, recall and F1 from counts that can be added up.

Everything this package measures is a triple of counts, because counts pool exactly and rates do
not: with true positives :math:`t`, predicted positives :math:`p` and gold positives :math:`g`,

.. math::

    P = \frac{t}{p}, \qquad R = \frac{t}{g}, \qquad F_1 = \frac{2PR}{P + R} = \frac{2t}{p + g}.

Without a gold positive there is nothing to find and no model could score above 0: recall and
:math:`F_1` are undefined. Undefined is NaN and never 0.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mkgc_cl.errors import DataError

Span = tuple[str, int, int]
"""One entity: ``(type, start, end)``, word positions, end excluded."""


@dataclass(frozen=True, slots=True)
class Counts:
    """True positives, predicted positives and gold positives of a set of samples.

    Adding two gives the counts of both sets together. Recall and F1 are NaN where there is no gold
    positive, whatever was predicted; precision is NaN where nothing was predicted. F1 is 0.0 where
    there is something to find and nothing was predicted. (seqeval and scikit-learn say 0.0 in all
    of these cases, with ``zero_division=0``.)

    >>> Counts(tp=2, predicted=4, gold=3) + Counts(tp=0, predicted=1, gold=2)
    Counts(tp=2, predicted=5, gold=5)
    >>> Counts(2, 5, 5).f1, Counts(0, 0, 5).f1, Counts(0, 5, 0).f1
    (0.4, 0.0, nan)

    Args:
        tp: predicted positives that are right; at most ``min(predicted, gold)``.
        predicted: predicted positives.
        gold: gold positives.

    Raises:
        DataError: if the counts contradict each other.
    """

    tp: int = 0
    predicted: int = 0
    gold: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.tp <= min(self.predicted, self.gold):
            raise DataError(
                f"counts must satisfy 0 <= tp <= min(predicted, gold), got tp={self.tp}, "
                f"predicted={self.predicted}, gold={self.gold}; count positives only"
            )

    def __add__(self, other: Counts) -> Counts:
        """Pool two sets of samples."""
        if not isinstance(other, Counts):
            return NotImplemented
        return Counts(self.tp + other.tp, self.predicted + other.predicted, self.gold + other.gold)

    @property
    def precision(self) -> float:
        """Share of the predicted positives that are right, in [0, 1]; NaN without any."""
        return self.tp / self.predicted if self.predicted else math.nan

    @property
    def recall(self) -> float:
        """Share of the gold positives that were found, in [0, 1]; NaN without any."""
        return self.tp / self.gold if self.gold else math.nan

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, in [0, 1]; NaN without a gold positive."""
        # 2t / (p + g) equals the harmonic mean and needs one division, so it rounds once.
        return 2 * self.tp / (self.predicted + self.gold) if self.gold else math.nan


def relation_counts(
    predicted: Sequence[int], gold: Sequence[int], *, ignore: Collection[int]
) -> Counts:
    """Count relations, leaving out the negative ones (N/A).

    A sample is a predicted positive if its predicted class is not in ``ignore``, a gold positive
    if its gold class is not, and a true positive if it is both and the classes agree. So N/A taken
    for a relation costs precision, a relation taken for N/A costs recall, and N/A found as N/A
    counts nowhere. A prediction of a class that no task has brought yet is a predicted positive
    like any other.

    >>> relation_counts([0, 1, 2, 2], [0, 1, 1, 0], ignore={0})
    Counts(tp=1, predicted=3, gold=2)

    Args:
        predicted: class ids, one per sample.
        gold: class ids, one per sample, same length.
        ignore: ids of the negative classes.

    Raises:
        DataError: if the lengths differ.
    """
    _check_lengths(len(predicted), len(gold), "predicted and gold relations")
    negative = frozenset(ignore)
    return Counts(
        tp=sum(p == g and g not in negative for p, g in zip(predicted, gold, strict=True)),
        predicted=sum(p not in negative for p in predicted),
        gold=sum(g not in negative for g in gold),
    )


def spans(tags: Sequence[str]) -> set[Span]:
    """Read the entities of one sentence, strict IOB2.

    An entity begins at ``B-X`` and goes on over the ``I-X`` that follow directly. An ``I-X`` after
    ``O``, at the start of the sentence or after a tag of another type ends whatever was open and
    begins nothing; the words after it stay outside too, until the next ``B-``. This is seqeval's
    ``mode="strict", scheme=IOB2``.

    >>> sorted(spans(["B-PER", "I-PER", "I-LOC", "O", "I-ORG", "B-LOC"]))
    [('LOC', 5, 6), ('PER', 0, 2)]

    Args:
        tags: one tag per word: ``O``, ``B-<type>`` or ``I-<type>``.

    Raises:
        DataError: if a tag has none of these forms.
    """
    found: set[Span] = set()
    open_type, start = "", 0
    for position, tag in enumerate(tags):
        prefix, dash, kind = tag.partition("-")
        if tag != "O" and (prefix not in ("B", "I") or not dash or not kind):
            raise DataError(
                f"tag {tag!r} of word {position} is not BIO; expected 'O', 'B-<type>' or 'I-<type>'"
            )
        if open_type and not (prefix == "I" and kind == open_type):
            found.add((open_type, start, position))
            open_type = ""
        if prefix == "B":
            open_type, start = kind, position
    if open_type:
        found.add((open_type, start, len(tags)))
    return found


def span_counts(
    predicted_tags: Sequence[Sequence[str]],
    gold_tags: Sequence[Sequence[str]],
    *,
    types: Collection[str] | None = None,
) -> Counts:
    """Count entities, sentence by sentence: a true positive has the gold type and both gold ends.

    >>> span_counts([["B-PER", "B-LOC"]], [["B-PER", "O"]])
    Counts(tp=1, predicted=2, gold=1)
    >>> span_counts([["B-PER", "B-LOC"]], [["B-PER", "O"]], types={"PER"})
    Counts(tp=1, predicted=1, gold=1)

    Args:
        predicted_tags: tags per sentence, one per word.
        gold_tags: tags per sentence, same shape.
        types: count only entities of these types (on both sides); ``None`` counts all. Counts of
            disjoint sets of types add up to the counts of their union.

    Raises:
        DataError: if the shapes differ or a tag is not BIO.
    """
    _check_lengths(len(predicted_tags), len(gold_tags), "predicted and gold sentences")
    tp = n_predicted = n_gold = 0
    for number, (ours, theirs) in enumerate(zip(predicted_tags, gold_tags, strict=True)):
        _check_lengths(len(ours), len(theirs), f"predicted and gold tags of sentence {number}")
        found, wanted = spans(ours), spans(theirs)
        if types is not None:
            found = {span for span in found if span[0] in types}
            wanted = {span for span in wanted if span[0] in types}
        tp += len(found & wanted)
        n_predicted += len(found)
        n_gold += len(wanted)
    return Counts(tp=tp, predicted=n_predicted, gold=n_gold)


def _check_lengths(predicted: int, gold: int, what: str) -> None:
    if predicted != gold:
        raise DataError(
            f"{what} must be equally many, got {predicted} and {gold}; score whole, aligned sets"
        )
