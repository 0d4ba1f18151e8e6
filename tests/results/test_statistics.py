"""Intervals, the paired test and Holm's correction against scipy, brute force and by hand."""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections.abc import Sequence

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mkgc_cl.errors import DataError
from mkgc_cl.results import Comparison, RunRecord, compare, confidence_interval, holm
from mkgc_cl.results.statistics import (
    EXACT_UP_TO,
    MEASURES,
    corrected,
    sign_flip_p_value,
    smallest_p,
)

POINTS = st.integers(-50, 50).map(float)
P_VALUES = st.lists(st.floats(0, 1), max_size=6)


def run(system: str, seed: int, value: float, *, order: str = "o") -> RunRecord:
    """A record of two tasks whose A_2 is ``value``, A_1 ``value`` + 4 and forgetting -``value``."""
    return RunRecord(
        system=system,
        scenario="s",
        order=order,
        seed=seed,
        tasks=("T1", "T2"),
        A=(value + 4, value),
        U=(value + 4, value),
        matrix=((value + 4, None), (value, value)),
        forgetting=-value,
        forgetting_per_task=(-value,),
        backward_transfer=value / 2,
        counts={},
        seconds=1.0,
        peak_memory_mb=None,
        config={},
        provenance={},
    )


def runs(system: str, values: Sequence[float]) -> list[RunRecord]:
    return [run(system, seed, value) for seed, value in enumerate(values)]


def against_zero(differences: Sequence[float]) -> Comparison:
    return compare(runs("ours", differences), runs("theirs", [0.0] * len(differences)), "final")


# Intervals


def test_interval_by_hand() -> None:
    # t(0.975; 2) = 4.30265, standard error 1 / sqrt(3): the mean 2 and 2.48414 to either side.
    assert confidence_interval([1.0, 2.0, 3.0]) == pytest.approx((-0.48414, 4.48414), abs=1e-5)
    # t(0.75; 1) = 1, standard error sqrt(2) / sqrt(2).
    assert confidence_interval([0.0, 2.0], level=0.5) == pytest.approx((0.0, 2.0))


@pytest.mark.parametrize("values", [[], [3.0]])
def test_one_value_has_no_interval(values: list[float]) -> None:
    assert confidence_interval(values) is None


@pytest.mark.slow
@given(st.lists(POINTS, min_size=2, max_size=12), st.floats(0.01, 0.999))
def test_interval_equals_scipy(values: list[float], level: float) -> None:
    found = confidence_interval(values, level)
    scale = stats.sem(values)
    if scale == 0:
        assert found == (values[0], values[0])
    else:
        mean = statistics.fmean(values)
        assert found == pytest.approx(
            stats.t.interval(level, len(values) - 1, loc=mean, scale=scale)
        )


@pytest.mark.slow
def test_intervals_cover_as_often_as_they_say() -> None:
    rng = numpy.random.default_rng(0)
    rows = rng.normal(size=(4000, 5)).tolist()
    covered = sum(low <= 0 <= high for low, high in map(confidence_interval, rows))
    assert covered / 4000 == pytest.approx(0.95, abs=0.015)  # over four standard errors


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_in_per_cent_is_refused(level: float) -> None:
    with pytest.raises(DataError, match="0 < level < 1"):
        confidence_interval([1.0, 2.0], level)


# The test


def test_p_by_hand() -> None:
    # Sums of (1, 2, 3) over the signs: 6, 4, 2, 0, 0, -2, -4, -6.
    assert sign_flip_p_value([1.0, 2.0, 3.0]) == 2 / 8
    assert sign_flip_p_value([1.0, -2.0, 3.0]) == 6 / 8  # |2| or more
    assert sign_flip_p_value([0.0, 0.0, 0.0]) == 1
    assert sign_flip_p_value([5.0]) == 1


@pytest.mark.slow
@given(st.lists(POINTS, min_size=1, max_size=8))
def test_p_equals_brute_force(differences: list[float]) -> None:
    patterns = list(itertools.product((-1, 1), repeat=len(differences)))
    seen = abs(sum(differences))
    as_far = sum(
        abs(sum(s * d for s, d in zip(signs, differences, strict=True))) >= seen
        for signs in patterns
    )
    assert sign_flip_p_value(differences) == as_far / len(patterns)


@pytest.mark.parametrize("n", [3, 6, 10])
def test_p_equals_scipy(n: int) -> None:
    differences = numpy.random.default_rng(n).normal(0.5, 1, n)
    oracle = stats.permutation_test(
        (differences,), numpy.mean, permutation_type="samples", n_resamples=numpy.inf
    )
    assert sign_flip_p_value(differences.tolist()) == pytest.approx(oracle.pvalue)


def test_ties_count_in_spite_of_rounding() -> None:
    # 0.1 + 0.2 - 0.3 is 5.6e-17 in floating point: both of its signs are as far as the other.
    assert sign_flip_p_value([0.1, 0.2, -0.3]) == 1
    # Every sign of 0.3 - 0.1 - 0.1 - 0.1 that ends at 0 ties with the observed one.
    assert sign_flip_p_value([0.3, -0.1, -0.1, -0.1]) == 1


@pytest.mark.slow
@given(st.lists(POINTS, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_p_depends_on_no_order_sign_or_unit(differences: list[float], random) -> None:
    p = sign_flip_p_value(differences)
    shuffled = random.sample(differences, len(differences))
    assert sign_flip_p_value(shuffled) == p
    assert sign_flip_p_value([-d for d in differences]) == p
    assert sign_flip_p_value([d / 100 for d in differences]) == p
    assert smallest_p(len(differences)) <= p <= 1


@pytest.mark.parametrize("n", range(1, EXACT_UP_TO + 1))
def test_the_smallest_p_is_reached_by_equal_differences(n: int) -> None:
    assert sign_flip_p_value([1.0] * n) == smallest_p(n) == 2 / 2**n
    assert (smallest_p(n) < 0.05) == (n >= 6)


def test_drawn_patterns_agree_with_all_of_them() -> None:
    # A zero changes no sum, so 17 differences of which some are zero have the exact p of the rest.
    some = numpy.random.default_rng(3).normal(0.4, 1, 10).tolist()
    exact = sign_flip_p_value(some)
    error = math.sqrt(exact * (1 - exact) / 99_999)
    drawn = sign_flip_p_value(some + [0.0] * 7)
    assert drawn == pytest.approx(exact, abs=4 * error)
    assert drawn == sign_flip_p_value(some + [0.0] * 7)


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = numpy.random.get_state()[1].tolist()
    assert sign_flip_p_value([1.0] * 40) == smallest_p(40) == 1e-5
    assert numpy.random.get_state()[1].tolist() == before


def test_the_test_keeps_its_level() -> None:
    # Of systems that are alike, at most one in twenty is said to differ at n = 6 (1/32 exactly).
    rows = numpy.random.default_rng(1).normal(size=(2000, 6)).tolist()
    rejected = sum(sign_flip_p_value(row) < 0.05 for row in rows) / 2000
    assert rejected == pytest.approx(1 / 32, abs=0.016)  # four standard errors


def test_nothing_cannot_be_tested() -> None:
    with pytest.raises(DataError, match="at least one difference"):
        sign_flip_p_value([])


# Holm's correction


def test_holm_by_hand() -> None:
    # 4 * 0.005; 3 * 0.01; 2 * 0.03 = 0.06; 0.04 is not below 0.06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.6, 0.7]) == (1.0, 1.0)
    assert holm([0.2]) == (0.2,)
    assert holm([]) == ()


@given(P_VALUES)
def test_holm_is_the_closed_test_of_bonferroni(values: list[float]) -> None:
    """A hypothesis falls when every set of hypotheses with it does (Marcus et al. 1976)."""
    places = range(len(values))
    sets = [s for k in range(1, len(values) + 1) for s in itertools.combinations(places, k)]
    oracle = [
        max(min(1.0, len(s) * min(values[i] for i in s)) for s in sets if place in s)
        for place in places
    ]
    assert holm(values) == pytest.approx(oracle)


@given(P_VALUES)
def test_holm_lies_between_no_correction_and_bonferroni(values: list[float]) -> None:
    for p, after in zip(values, holm(values), strict=True):
        assert p <= after <= min(1.0, len(values) * p) or after == pytest.approx(len(values) * p)


@pytest.mark.parametrize("values", [[-0.1], [0.5, 1.1], [math.nan]])
def test_what_is_no_p_value_is_refused(values: list[float]) -> None:
    with pytest.raises(DataError, match="between 0 and 1"):
        holm(values)


def test_only_what_was_tested_is_corrected_for() -> None:
    made = [against_zero([1.0] * n) for n in (8, 2, 7)]
    assert [c.p for c in made] == [2 / 256, None, 2 / 128]
    found = corrected(made)
    assert [c.p_corrected for c in found] == [4 / 256, None, 2 / 128]
    assert [c.significant for c in found] == [True, False, True]
    assert not any(c.significant for c in made)  # not before they are corrected
    assert [dataclasses.replace(c, p_corrected=None) for c in found] == made


# Pairs


def test_a_comparison_by_hand() -> None:
    ours = [run("ours", 2, 53.0), run("ours", 0, 51.0), run("ours", 1, 52.0), run("ours", 7, 0.0)]
    theirs = [run("theirs", seed, 50.0) for seed in (0, 1, 2, 3, 4)]
    found = compare(ours, theirs, "final")
    assert found == Comparison(
        reference="theirs",
        system="ours",
        n=3,
        left_out=3,
        difference=2.0,
        interval=confidence_interval([1.0, 2.0, 3.0]),
        p=0.25,
        method="sign-flip permutation test, exact, all 2^3 patterns",
    )


def test_pairs_share_order_and_seed() -> None:
    ours = [run("a", 0, 10.0, order="x"), run("a", 0, 20.0, order="y"), run("a", 1, 99.0)]
    theirs = [run("b", 0, 5.0, order="y"), run("b", 0, 7.0, order="x"), run("b", 1, 0.0, order="x")]
    found = compare(ours, theirs)
    assert (found.n, found.left_out, found.difference) == (2, 2, 9.0)


def test_measures_by_name_and_by_function() -> None:
    ours, theirs = runs("a", [1.0, 3.0]), runs("b", [0.0, 0.0])
    differences = {name: compare(ours, theirs, name).difference for name in MEASURES}
    assert differences == {"AVG": 2.0, "final": 2.0, "forgetting": -2.0, "backward_transfer": 1.0}
    squares = compare(ours, theirs, lambda record: record.A[0] ** 2)
    assert squares.difference == (5**2 + 7**2) / 2 - 4**2
    with pytest.raises(DataError, match=r"unknown measure 'avg', expected one of \['AVG'"):
        compare(ours, theirs, "avg")


def test_a_pair_of_which_one_side_is_undefined_is_none() -> None:
    ours, theirs = runs("a", [9.0, 8.0, 7.0, 6.0]), runs("b", [1.0, 1.0, 1.0, 1.0])
    ours[0] = dataclasses.replace(ours[0], forgetting=None)
    theirs[1] = dataclasses.replace(theirs[1], forgetting=None)
    found = compare(ours, theirs, "forgetting")
    # seeds 2 and 3: -7 + 1 and -6 + 1; the four records of seeds 0 and 1 are in no pair
    assert (found.n, found.left_out, found.difference) == (2, 4, -5.5)
    nothing = [dataclasses.replace(r, A=(r.A[0], None)) for r in runs("a", [9.0])]
    assert compare(nothing, runs("b", [1.0]), "final").difference is None
    assert compare(nothing, runs("b", [1.0]), "AVG").difference == 13.0 - 3.0


@pytest.mark.parametrize("n", [0, 1, 2])
def test_fewer_than_three_pairs_are_not_tested(n: int) -> None:
    found = compare([*runs("a", [9.0] * n), run("a", 77, 0.0)], runs("b", [0.0] * n + [1.0]))
    assert (found.n, found.left_out, found.p, found.method) == (n, 2, None, "n too small")
    assert found.difference == (9.0 if n else None)
    assert found.interval == ((9.0, 9.0) if n == 2 else None)


def test_beyond_sixteen_pairs_patterns_are_drawn() -> None:
    found = against_zero([1.0] * 17)
    assert found.method == "sign-flip permutation test, 99999 patterns drawn"
    assert found.p == pytest.approx(2 / 2**17, abs=4e-5)


@pytest.mark.slow
@given(st.lists(st.tuples(POINTS, POINTS), min_size=1, max_size=8), POINTS)
def test_a_comparison_turned_round_and_shifted(pairs: list, shift: float) -> None:
    ours, theirs = ([pair[side] for pair in pairs] for side in (0, 1))
    found = compare(runs("a", ours), runs("b", theirs))
    turned = compare(runs("b", theirs), runs("a", ours))
    assert (turned.system, turned.reference) == (found.reference, found.system)
    assert turned.difference == pytest.approx(-found.difference)
    assert (turned.p, turned.n) == (found.p, found.n)
    if found.interval is not None:
        low, high = found.interval
        assert turned.interval == pytest.approx((-high, -low))
    both = compare(runs("a", [v + shift for v in ours]), runs("b", [v + shift for v in theirs]))
    assert both == found  # what moves both systems alike is no difference


@pytest.mark.slow
@given(st.lists(POINTS, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_records_come_in_any_order(values: list[float], random) -> None:
    ours, theirs = runs("a", values), runs("b", [0.0] * len(values))
    assert compare(random.sample(ours, len(ours)), theirs) == compare(ours, theirs)


def test_what_cannot_be_paired_is_refused() -> None:
    ours, theirs = runs("a", [1.0]), runs("b", [0.0])
    with pytest.raises(DataError, match=r"two records of 'a' for \('s', 'o', 0\)"):
        compare([*ours, run("a", 0, 2.0)], theirs)
    with pytest.raises(DataError, match=r"two records of 'b'"):
        compare(ours, theirs * 2)
    with pytest.raises(DataError, match=r"one system on each side, got \['a', 'b'\]"):
        compare([*ours, run("b", 1, 2.0)], theirs)
    with pytest.raises(DataError, match=r"one system on each side, got \[\]"):
        compare(ours, [])
    with pytest.raises(DataError, match="different tasks"):
        compare(ours, [dataclasses.replace(theirs[0], tasks=("T1", "T9"))])
    with pytest.raises(DataError, match="'a' minus 'b' is nan"):
        compare(ours, theirs, lambda _: math.nan)
