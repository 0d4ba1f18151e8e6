"""How sure a difference is: intervals of means, paired comparisons of systems, Holm's correction.

scipy and numpy are imported where they are first needed: a table of single seeds needs neither.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Mapping, Sequence

from mkgc_cl.errors import DataError
from mkgc_cl.results.record import RunRecord
from mkgc_cl.results.undefined import mean_defined
from mkgc_cl.seeds import derive

LEVEL = 0.95
"""Level of the intervals."""
ALPHA = 0.05
"""A corrected p-value below it counts as significant."""
FEWEST = 3
"""Pairs below which nothing is tested: the p-value of two pairs is 0.5 or more, always."""
EXACT_UP_TO = 16
"""Pairs up to which every pattern of signs is tried (65,536); beyond, patterns are drawn."""
DRAWS = 99_999
"""Patterns drawn where there are too many to try; with the observed one, p has steps of 1e-5."""

TOO_SMALL = "n too small"

MEASURES: Mapping[str, Callable[[RunRecord], float | None]] = {
    "AVG": lambda record: mean_defined(record.A),
    "final": lambda record: record.A[-1],
    "forgetting": lambda record: record.forgetting,
    "backward_transfer": lambda record: record.backward_transfer,
}
"""Measures that :func:`compare` knows by name: mean of A_k, the last A_k, and the record's own."""


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """One system against a reference, over the runs that both have.

    Args:
        reference: name of the system compared with.
        system: name of the system compared.
        n: number of pairs.
        left_out: records of either system without a partner, or whose pair has a side that could
            not be measured.
        difference: mean of system minus reference, in the unit of the measure; ``None`` without a
            pair.
        interval: 95 % Student t interval of that mean; ``None`` for fewer than two pairs.
        p: two-sided p-value of a mean difference of 0; ``None`` for fewer than three pairs.
        method: how ``p`` was found, or ``"n too small"``.
        p_corrected: ``p`` after the correction for all comparisons made together, by
            :func:`corrected`.
    """

    reference: str
    system: str
    n: int
    left_out: int
    difference: float | None
    interval: tuple[float, float] | None
    p: float | None
    method: str
    p_corrected: float | None = None

    @property
    def significant(self) -> bool:
        """Whether the corrected p-value is below 0.05; never without a correction or a test."""
        return self.p_corrected is not None and self.p_corrected < ALPHA


def confidence_interval(
    values: Sequence[float], level: float = LEVEL
) -> tuple[float, float] | None:
    """Return :func:`student_interval` of the mean of ``values``, ``None`` for fewer than two.

    It assumes that the values are independent and about normal. That of two values reaches nine
    standard deviations to either side, which is what two values tell.
    """
    if len(values) < 2:
        return None
    return student_interval(statistics.fmean(values), statistics.stdev(values), len(values), level)


def student_interval(mean: float, sd: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Return the t interval of a mean of ``n`` >= 2 values with sample deviation ``sd``.

    Raises:
        DataError: if ``level`` is not between 0 and 1, or ``n`` is below 2.
    """
    if not 0 < level < 1 or n < 2:
        raise DataError(f"an interval needs 0 < level < 1 and n >= 2, got level {level} and n {n}")
    from scipy.special import stdtrit  # the quantile alone; scipy.stats takes a second to import

    half = float(stdtrit(n - 1, (1 + level) / 2)) * sd / math.sqrt(n)
    return mean - half, mean + half


def compare(
    ours: Sequence[RunRecord],
    theirs: Sequence[RunRecord],
    value: Callable[[RunRecord], float | None] | str = "AVG",
) -> Comparison:
    """Compare one system with a reference over pairs of one scenario, order and seed.

    A pair shares its stream and its seed, so the difference within it is free of what these do to
    both systems alike. Records without a partner are ignored and counted, and so are pairs of which
    one side or both could not be measured.

    Args:
        ours: records of the system.
        theirs: records of the reference.
        value: the number to compare: a function of a record, ``None`` where it is undefined, or a
            name in :data:`MEASURES`.

    Raises:
        DataError: if a side is empty, mixes systems or has two records of one scenario, order and
            seed; if a pair has different tasks; if the measure is unknown or not finite.
    """
    measure = MEASURES.get(value) if isinstance(value, str) else value
    if measure is None:
        raise DataError(f"unknown measure {value!r}, expected one of {sorted(MEASURES)}")
    system, our = _by_run(ours)
    reference, their = _by_run(theirs)
    differences = []
    for run in sorted(our.keys() & their.keys()):
        if our[run].tasks != their[run].tasks:
            raise DataError(
                f"{system!r} and {reference!r} have different tasks in {run}: {our[run].tasks} and "
                f"{their[run].tasks}; compare runs on one stream"
            )
        mine, other = measure(our[run]), measure(their[run])
        if mine is not None and other is not None:
            differences.append(mine - other)
            if not math.isfinite(differences[-1]):
                raise DataError(f"{system!r} minus {reference!r} is {mine - other} in {run}")
    n = len(differences)
    how = f"exact, all 2^{n} patterns" if n <= EXACT_UP_TO else f"{DRAWS} patterns drawn"
    return Comparison(
        reference=reference,
        system=system,
        n=n,
        left_out=len(our) + len(their) - 2 * n,
        difference=statistics.fmean(differences) if differences else None,
        interval=confidence_interval(differences),
        p=None if n < FEWEST else sign_flip_p_value(differences),
        method=TOO_SMALL if n < FEWEST else f"sign-flip permutation test, {how}",
    )


def sign_flip_p_value(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of the sign-flip permutation test of a mean of 0.

    If the systems are alike, each difference might as well have had the other sign. p is the share
    of sign patterns whose mean is as far from 0 as the observed one; no distribution is assumed.
    All 2^n patterns are tried for n <= 16 (exact). Beyond, 99,999 are drawn from a generator of a
    fixed seed and the observed one is added to them, which keeps p valid (Phipson and Smyth 2010).

    The observed pattern and its mirror image always count, so p is at least :func:`smallest_p`.

    Raises:
        DataError: if there is no difference.
    """
    n = len(differences)
    if n == 0:
        raise DataError("a test needs at least one difference")
    # A pattern that ties with the observed one may come out an ulp below it. Rates are rounded to
    # four decimals, so sums that truly differ do so by far more than this.
    bar = abs(math.fsum(differences)) - 1e-9 * math.fsum(map(abs, differences))
    if n <= EXACT_UP_TO:
        sums = [0.0]
        for difference in differences:
            sums = [total + signed for total in sums for signed in (difference, -difference)]
        return sum(abs(total) >= bar for total in sums) / len(sums)
    import numpy

    rng = numpy.random.default_rng(derive(0, "results/sign-flips"))
    drawn = numpy.zeros(DRAWS)
    for difference in differences:
        drawn += difference * rng.choice((-1.0, 1.0), DRAWS)
    return (int((abs(drawn) >= bar).sum()) + 1) / (DRAWS + 1)


def smallest_p(n: int) -> float:
    """Return the smallest p-value that ``n`` pairs can have.

    It is 2 / 2^n as long as the test is exact: 0.25 for three pairs and 0.0625 for five, so fewer
    than six cannot reach 0.05 however large the differences are.

    >>> smallest_p(5), smallest_p(6)
    (0.0625, 0.03125)
    """
    return min(1.0, 2 / 2**n) if n <= EXACT_UP_TO else 1 / (DRAWS + 1)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Correct p-values for being several, in their order (Holm 1979).

    The chance of one or more false alarms among all of them is then at most the level at which the
    corrected values are read, whatever the dependence between the tests.

    >>> holm([0.04, 0.01])
    (0.04, 0.02)

    Raises:
        DataError: if a value is not between 0 and 1.
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise DataError(f"p-values lie between 0 and 1, got {list(p_values)}")
    places = sorted(range(len(p_values)), key=p_values.__getitem__)
    found, least = [0.0] * len(p_values), 0.0
    for done, place in enumerate(places):
        least = max(least, min(1.0, (len(places) - done) * p_values[place]))
        found[place] = least
    return tuple(found)


def corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Return ``comparisons`` with Holm's correction for those of them that were tested."""
    values = iter(holm([made.p for made in comparisons if made.p is not None]))
    return [
        made if made.p is None else dataclasses.replace(made, p_corrected=next(values))
        for made in comparisons
    ]


def _by_run(records: Sequence[RunRecord]) -> tuple[str, dict[tuple[str, str, int], RunRecord]]:
    """Return the one system of ``records`` and its records by scenario, order and seed."""
    systems = sorted({record.system for record in records})
    if len(systems) != 1:
        raise DataError(f"a comparison needs records of one system on each side, got {systems}")
    found: dict[tuple[str, str, int], RunRecord] = {}
    for record in records:
        run = (record.scenario, record.order, record.seed)
        if run in found:
            raise DataError(
                f"two records of {record.system!r} for {run}; keep those of one configuration"
            )
        found[run] = record
    return systems[0], found
