"""What a run could not measure: ``None``, in no mean, a dash in tables, and why in words."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from mkgc_cl.results.record import RunRecord

DASH = "-"
"""Stands where there is no number."""


def mean_defined(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are defined, ``None`` where none is.

    >>> mean_defined([80.0, None, 60.0]), mean_defined([None])
    (70.0, None)
    """
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def decimal(value: float | None) -> str:
    """Write with one decimal, as the paper does; a dash where there is no number.

    >>> decimal(12.34), decimal(-0.04), decimal(None)
    ('12.3', '0.0', '-')
    """
    if value is None or math.isnan(value):
        return DASH
    text = f"{value:.1f}"
    return "0.0" if text == "-0.0" else text


def per_cent(value: float | None) -> str:
    """Write with one decimal and its unit.

    >>> per_cent(12.34), per_cent(None)
    ('12.3 %', '-')
    """
    text = decimal(value)
    return text if text == DASH else f"{text} %"


def undefined_words(records: Sequence[RunRecord]) -> str:
    """Say for a caption which tasks cannot be measured, and why; empty where all can.

    Tasks go by their order where the records are of several.
    """
    found: dict[str, dict[str, None]] = {}
    for record in records:
        named = found.setdefault(record.order, {})
        named |= {t: None for t, f1 in zip(record.tasks, record.U, strict=True) if f1 is None}
    where = [
        ", ".join(tasks) + (f" of {order}" if len(found) > 1 else "")
        for order, tasks in found.items()
        if tasks
    ]
    if not where:
        return ""
    splits = {split for record in records for split in record.splits}
    what = "validation" if splits == {"valid"} else "test"
    return (
        f"No positive {what} sample in {'; '.join(where)}: what cannot be measured there is "
        f"shown as {DASH} and left out of means."
    )
