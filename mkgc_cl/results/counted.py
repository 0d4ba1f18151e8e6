"""Numbers of things, in words."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Write a number and its noun, in the plural where it is not one.

    >>> counted(1, "epoch"), counted(0, "seed"), counted(5, "run")
    ('1 epoch', '0 seeds', '5 runs')
    """
    return f"{number} {plural(number, noun)}"


def plural(number: int, noun: str) -> str:
    """Write the noun alone.

    >>> plural(1, "seed"), plural(3, "seed")
    ('seed', 'seeds')
    """
    return noun if number == 1 else f"{noun}s"
