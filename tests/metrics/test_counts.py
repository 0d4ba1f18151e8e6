"""Counts against scikit-learn, seqeval (strict, IOB2) and brute force."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.v1 import precision_recall_fscore_support
from seqeval.scheme import IOB2, Entities
from sklearn.metrics import f1_score

from mkgc_cl.errors import DataError
from mkgc_cl.metrics import Counts, relation_counts, span_counts, spans

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
relations = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)
sentences = st.lists(
    st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(TAGS)), min_size=1, max_size=9),
    min_size=1,
    max_size=6,
)


def seqeval_spans(tags: tuple[str, ...]) -> set[tuple[str, int, int]]:
    entities = Entities([list(tags)], IOB2).entities[0]
    return {(entity.tag, entity.start, entity.end) for entity in entities}


@pytest.mark.slow
@given(relations)
def test_relation_f1_is_sklearn_micro_f1_without_na(pairs: list[tuple[int, int]]) -> None:
    predicted, gold = [p for p, _ in pairs], [g for _, g in pairs]
    expected = f1_score(gold, predicted, labels=[1, 2, 3, 4], average="micro", zero_division=0)
    ours = relation_counts(predicted, gold, ignore={0}).f1
    if any(gold):
        assert ours == pytest.approx(expected)
    else:  # scikit-learn says 0 where a false alarm is all there is
        assert math.isnan(ours)


@pytest.mark.slow
@given(relations)
def test_relation_counts_equal_a_loop(pairs: list[tuple[int, int]]) -> None:
    tp = n_predicted = n_gold = 0
    for p, g in pairs:
        n_predicted += p not in (0, 3)
        n_gold += g not in (0, 3)
        tp += p == g and g not in (0, 3)
    counts = relation_counts([p for p, _ in pairs], [g for _, g in pairs], ignore=(0, 3))
    assert counts == Counts(tp, n_predicted, n_gold)


@pytest.mark.slow
@given(relations, st.integers(0, 40))
def test_counts_of_two_parts_add_up(pairs: list[tuple[int, int]], cut: int) -> None:
    predicted, gold = [p for p, _ in pairs], [g for _, g in pairs]
    whole = relation_counts(predicted, gold, ignore={0})
    first = relation_counts(predicted[:cut], gold[:cut], ignore={0})
    assert first + relation_counts(predicted[cut:], gold[cut:], ignore={0}) == whole


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5])
def test_spans_equal_seqeval_on_every_sequence(length: int) -> None:
    """All 5^length tag sequences, orphan and type-changing ``I-`` included."""
    for tags in itertools.product(TAGS, repeat=length):
        assert spans(tags) == seqeval_spans(tags), tags


@pytest.mark.slow
@given(sentences)
def test_span_rates_equal_seqeval(pairs: list[list[tuple[str, str]]]) -> None:
    predicted = [[p for p, _ in sentence] for sentence in pairs]
    gold = [[g for _, g in sentence] for sentence in pairs]
    ours = span_counts(predicted, gold)
    if not ours.gold:
        return  # undefined, which seqeval calls 0; it stops where there is no entity at all
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy deprecations inside seqeval
        precision, recall, f1, _ = precision_recall_fscore_support(
            gold, predicted, average="micro", mode="strict", scheme=IOB2, zero_division=0
        )
    assert (ours.recall, ours.f1) == pytest.approx((recall, f1))
    if ours.predicted:
        assert ours.precision == pytest.approx(precision)


@pytest.mark.slow
@given(sentences)
def test_counts_of_types_add_up_to_all(pairs: list[list[tuple[str, str]]]) -> None:
    predicted = [[p for p, _ in sentence] for sentence in pairs]
    gold = [[g for _, g in sentence] for sentence in pairs]
    parts = [span_counts(predicted, gold, types={kind}) for kind in ("PER", "LOC")]
    assert parts[0] + parts[1] == span_counts(predicted, gold)


def test_spans_never_cross_sentences() -> None:
    whole = span_counts([["B-PER"], ["I-PER"]], [["B-PER"], ["I-PER"]])
    assert whole == Counts(1, 1, 1)


@pytest.mark.parametrize(
    ("counts", "rates"),
    [
        (Counts(0, 0, 0), (math.nan, math.nan, math.nan)),
        (Counts(0, 3, 0), (0.0, math.nan, math.nan)),
        (Counts(0, 0, 3), (math.nan, 0.0, 0.0)),
        (Counts(3, 3, 3), (1.0, 1.0, 1.0)),
        (Counts(1, 2, 4), (0.5, 0.25, 1 / 3)),
    ],
)
def test_rates_by_hand(counts: Counts, rates: tuple[float, float, float]) -> None:
    found = (counts.precision, counts.recall, counts.f1)
    assert found == pytest.approx(rates, nan_ok=True)


@pytest.mark.parametrize("bad", [(3, 2, 5), (3, 5, 2), (-1, 2, 2)])
def test_contradicting_counts_are_refused(bad: tuple[int, int, int]) -> None:
    with pytest.raises(DataError, match=f"tp={bad[0]}, predicted={bad[1]}, gold={bad[2]}"):
        Counts(*bad)


@pytest.mark.parametrize("tag", ["", "PER", "B", "B-", "S-PER", "BPER", "o"])
def test_a_tag_that_is_not_bio_is_refused(tag: str) -> None:
    with pytest.raises(DataError, match="word 1 is not BIO"):
        spans(["O", tag])


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(DataError, match="got 2 and 1"):
        relation_counts([1, 2], [1], ignore={0})
    with pytest.raises(DataError, match="sentence 1 must be equally many, got 1 and 2"):
        span_counts([["O"], ["O"]], [["O"], ["O", "O"]])
    with pytest.raises(DataError, match="sentences must be equally many"):
        span_counts([["O"]], [])


def test_long_random_streams_equal_seqeval() -> None:
    tags = tuple(numpy.random.default_rng(0).choice(TAGS, size=3000).tolist())
    assert spans(tags) == seqeval_spans(tags)
