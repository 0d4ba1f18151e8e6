"""One line for each option that is wrong."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mkgc_cl._checks import (
    above_zero,
    at_least,
    did_you_mean,
    nearest,
    one_of,
    require,
    unit_interval,
)
from mkgc_cl.errors import ConfigError


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (one_of("a", "x", ("y", "z")), "a='x'; choose one of ['y', 'z']"),
        (at_least("a", -1, 0), "a=-1; give 0 or more"),
        (at_least("a", math.nan, 0), "a=nan; give 0 or more"),
        (at_least("a", math.inf, 0), "a=inf; give 0 or more"),
        (at_least("a", None, 1), "a=None; give 1 or more"),
        (at_least("a", 0, 1, none="all"), "a=0; give 1 or more, or None for all"),
        (above_zero("a", 0.0), "a=0.0; give a number above 0"),
        (above_zero("a", math.nan, none="no bound"), "above 0, or None for no bound"),
        (unit_interval("a", 1.5), "a=1.5; give 0 to 1"),
        (unit_interval("a", math.nan), "a=nan; give 0 to 1"),
    ],
)
def test_what_is_wrong_is_a_line(found: list[str], line: str) -> None:
    assert len(found) == 1
    assert line in found[0]


@pytest.mark.parametrize(
    "found",
    [
        one_of("a", "y", ("y", "z")),
        at_least("a", 0, 0),
        at_least("a", None, 1, none="all"),
        above_zero("a", 1e-9),
        above_zero("a", None, none="no bound"),
        unit_interval("a", 0.0),
        unit_interval("a", 1),
    ],
)
def test_what_is_right_is_none(found: list[str]) -> None:
    assert found == []


def test_all_is_told_at_once() -> None:
    require([], [])
    with pytest.raises(ConfigError) as caught:
        require(at_least("a", 0, 1), [], one_of("b", 1, (2, 3)))
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("name", "near"), [("ewc", "EWC"), ("RPCRE", "RP-CRE"), ("Transformer", None), (3, None)]
)
def test_names_that_are_spelled_nearly_alike(name: Any, near: str | None) -> None:
    known = ("EWC", "RP-CRE", "MSPT")
    assert nearest(name, known) == near
    assert did_you_mean(name, known) == (f"did you mean {near!r}? " if near else "")
