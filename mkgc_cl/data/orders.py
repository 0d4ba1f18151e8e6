"""Names of orders, as command lines and records have them, and what builds the stream of each."""

from __future__ import annotations

import re
from typing import Any, Literal

from mkgc_cl.data.mner import TYPES
from mkgc_cl.data.splits_imre import RELEASED
from mkgc_cl.errors import ConfigError

_RELEASED = re.compile(r"sep(\d+)")
_DRAWN = re.compile(r"seed:(\d+)(?:/(\d+))?")


def order_arguments(scenario: Literal["imre", "imner"], order: str) -> dict[str, Any]:
    """Return the arguments by which a scenario's stream comes in the order of this name.

    ``sep10``, ``sep7`` and ``sep5`` are the released orders of relations; four types joined by
    ``-`` are an order of types; ``seed:3`` is drawn, of relations into ten tasks, ``seed:3/7`` into
    seven. Equal names are equal orders, on every machine.

    Args:
        scenario: which stream.
        order: the name.

    Returns:
        Keyword arguments of :func:`mkgc_cl.scenarios.imre` or :func:`mkgc_cl.scenarios.imner`.

    Raises:
        ConfigError: there is no such order.

    >>> order_arguments("imre", "sep7"), order_arguments("imre", "seed:3/7")
    ({'tasks': 7}, {'tasks': 7, 'seed': 3})
    >>> order_arguments("imner", "PER-LOC-ORG-MISC"), order_arguments("imner", "seed:3")
    ({'order': ('PER', 'LOC', 'ORG', 'MISC')}, {'tasks': 4, 'seed': 3})
    """
    if drawn := _DRAWN.fullmatch(order):
        usual = 10 if scenario == "imre" else len(TYPES)
        return {"tasks": int(drawn[2] or usual), "seed": int(drawn[1])}
    if scenario == "imre":
        released = _RELEASED.fullmatch(order)
        if released and int(released[1]) in RELEASED:
            return {"tasks": int(released[1])}
        known = ", ".join(f"sep{count}" for count in sorted(RELEASED, reverse=True))
        raise ConfigError([f"no order {order!r} of imre; give {known}, or seed:N for a drawn one"])
    types = tuple(order.split("-"))
    if sorted(types) != sorted(TYPES):
        raise ConfigError(
            [
                f"no order {order!r} of imner; give {', '.join(TYPES)} in any order, joined by -, "
                "or seed:N for a drawn one"
            ]
        )
    return {"order": types}
