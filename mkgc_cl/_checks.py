"""What is wrong with options: one line for each, so that all can be told at once.

>>> require(one_of("axis", "depth", ("width", "height")), at_least("size", -1, 0))
Traceback (most recent call last):
...
mkgc_cl.errors.ConfigError: 2 mistake(s) in the configuration:
  - axis='depth'; choose one of ['width', 'height']
  - size=-1; give 0 or more
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence

from mkgc_cl.errors import ConfigError

Problems = list[str]


def require(*checks: Sequence[str]) -> None:
    """Raise what several checks found.

    Raises:
        ConfigError: any of them found something.
    """
    problems = [problem for check in checks for problem in check]
    if problems:
        raise ConfigError(problems)


def one_of(name: str, value: object, choices: Iterable[object]) -> Problems:
    """A value that is none of the choices."""
    known = list(choices)
    return [] if value in known else [f"{name}={value!r}; choose one of {known}"]


def at_least(name: str, value: float | None, least: float, *, none: str = "") -> Problems:
    """A number below ``least``, or that is not finite.

    Args:
        name: of the option.
        value: the number; ``None`` is fine where ``none`` says what it stands for.
        least: the smallest that is fine.
        none: what ``None`` stands for: ``"all"``.
    """
    if value is None and none:
        return []
    if value is not None and least <= value < math.inf:
        return []
    return [f"{name}={value}; give {least} or more" + (f", or None for {none}" if none else "")]


def above_zero(name: str, value: float | None, *, none: str = "") -> Problems:
    """A number that is not above 0, or not finite; ``none`` as in :func:`at_least`."""
    if value is None and none:
        return []
    if value is not None and 0 < value < math.inf:
        return []
    return [f"{name}={value}; give a number above 0" + (f", or None for {none}" if none else "")]


def unit_interval(name: str, value: float) -> Problems:
    """A number outside of [0, 1]."""
    return [] if 0 <= value <= 1 else [f"{name}={value}; give 0 to 1"]


def nearest(name: object, known: Iterable[str]) -> str | None:
    """The one of the known names that is spelled nearly alike, whatever its case."""
    names = {each.casefold(): each for each in known}
    near = difflib.get_close_matches(str(name).casefold(), names, n=1)
    return names[near[0]] if near else None


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """``"did you mean 'EWC'? "``, or nothing where no known name is near."""
    near = nearest(name, known)
    return f"did you mean {near!r}? " if near else ""
