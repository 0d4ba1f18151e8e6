"""Comparing the rows of a table with one of them, and what stands below it about that."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal

from mkgc_cl.results.record import RunRecord
from mkgc_cl.results.statistics import ALPHA, FEWEST, TOO_SMALL, Comparison, corrected, smallest_p
from mkgc_cl.results.statistics import compare as paired
from mkgc_cl.results.table import MARK, Row, Stat

Runs = Mapping[str, Mapping[int, Sequence[RunRecord]]]
"""By system, then by 0-based column, the records of all seeds."""
Number = Callable[[RunRecord], float | None]


def compared_rows(
    runs: Runs,
    numbers: Mapping[int, Number],
    reference: str | None,
    heads: Sequence[str],
    *,
    compare: Collection[int] | None = None,
    pairs: Literal["seed", "order and seed"] = "seed",
    where: str = "",
) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Return the rows of a table, and what stands below them about their comparisons.

    Args:
        runs: the records behind each cell.
        numbers: what each column shows of a record.
        reference: the system that the others are compared with; ``None`` compares nothing.
        heads: what to call each column in front of its result.
        compare: the columns that are compared, if they show any number; by default all.
        pairs: what the two runs of a pair share that another pair has not.
        where: words behind the name of a reference without a run, such as ``"at every value"``.
    """
    made: dict[tuple[str, int], Comparison] = {}
    if reference in runs:
        shown = [
            column
            for column in (numbers if compare is None else compare)
            if any(numbers[column](r) is not None for row in runs.values() for r in row[column])
        ]
        places = [(system, column) for system in runs if system != reference for column in shown]
        # one correction over all of them
        found = corrected(
            [
                paired(runs[system][column], runs[str(reference)][column], numbers[column])
                for system, column in places
            ]
        )
        made = dict(zip(places, found, strict=True))
    rows = tuple(
        Row(
            system,
            tuple(Stat.of(list(map(of, columns[n]))) for n, of in numbers.items()),
            comparisons={n: made[system, n] for n in numbers if (system, n) in made},
        )
        for system, columns in runs.items()
    )
    if reference is not None and reference not in runs and len(rows) > 1:
        behind = where and f" {where}"
        return rows, (f"Not compared: there is no run of {reference}{behind}.",)
    return rows, _footnotes(rows, heads, pairs)


def _footnotes(rows: Sequence[Row], columns: Sequence[str], pairs: str) -> tuple[str, ...]:
    """Say what was compared, how, what came out, and what so few pairs could show at all."""
    made = [comparison for row in rows for comparison in row.comparisons.values()]
    if not made:
        return ()
    tested = [comparison for comparison in made if comparison.p is not None]
    head = (
        f"Compared with {made[0].reference}, paired by {pairs}: mean difference "
        "[95 % interval, Student's t]"
    )
    if tested:
        methods = "; ".join(dict.fromkeys(comparison.method for comparison in tested))
        number = "one test" if len(tested) == 1 else f"{len(tested)} tests"
        head += (
            f"; two-sided p of that mean ({methods}); p corrected after Holm for the {number} "
            f"here; {MARK} where the corrected p is below {ALPHA}"
        )
    if len(tested) < len(made):
        head += f"; {TOO_SMALL}: fewer than {FEWEST} pairs are not tested"
    compared = [row for row in rows if row.comparisons]
    return (f"{head}.", *(_line(row, columns) for row in compared), *_limits(tested))


def _line(row: Row, columns: Sequence[str]) -> str:
    pairs = {column: _pairs(comparison) for column, comparison in row.comparisons.items()}
    same = len(set(pairs.values())) == 1
    results = "; ".join(
        f"{columns[column]} {'' if same else f'({pairs[column]}) '}{_result(comparison)}"
        for column, comparison in row.comparisons.items()
    )
    return f"- {row.system}{f' ({next(iter(pairs.values()))})' if same else ''}: {results}."


def _pairs(made: Comparison) -> str:
    return f"n = {made.n}" + (f", {made.left_out} without partner" if made.left_out else "")


def _result(made: Comparison) -> str:
    parts = []
    if made.difference is not None:
        interval = ", ".join(map(_signed, made.interval or ()))
        parts.append(_signed(made.difference) + (f" [{interval}]" if interval else ""))
    if made.p is None:
        parts.append(made.method)
    else:
        parts.append(f"p = {made.p:.3g}, corrected {made.p_corrected:.3g}")
    return ", ".join(parts)


def _signed(value: float) -> str:
    text = f"{value:+.1f}"
    return "+0.0" if text == "-0.0" else text


def _limits(tested: Sequence[Comparison]) -> tuple[str, ...]:
    """Say which marks so few pairs rule out, whatever the differences."""
    if not tested:
        return ()
    most = max(comparison.n for comparison in tested)
    # Holm multiplies the smallest p by the number of tests: below that no corrected p can be.
    least = min(1.0, len(tested) * smallest_p(most))
    if least >= ALPHA:
        enough = next(n for n in itertools.count(FEWEST) if len(tested) * 2 / 2**n < ALPHA)
        return (
            f"With n = {most} no p can be below 2/2^n = {smallest_p(most):.3g}, no corrected p "
            f"below {least:.3g}: nothing can be marked, however large a difference; that takes "
            f"{enough} pairs.",
        )
    if any(smallest_p(comparison.n) >= ALPHA for comparison in tested):
        return ("With n < 6 no p can be below 2/2^n > 0.05: such rows cannot be marked.",)
    return ()
