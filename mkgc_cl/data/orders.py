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

    ``sep10``, ``sep7`` and ``sep5`` are the released orders of relations; the types joined by
    ``-`` are an order of types, and those joined by ``+`` one task; ``seed:3`` is drawn, of
    relations into ten tasks, of types into one for each, ``seed:3/7`` into seven. Equal names are
    equal orders, on every machine. Whether the data have other types than the four is only known
    when they are read.

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
    ({'order': ('PER', 'LOC', 'ORG', 'MISC')}, {'tasks': None, 'seed': 3})
    """
    if drawn := drawn_order(order):
        seed, tasks = drawn
        return {"tasks": tasks or (10 if scenario == "imre" else None), "seed": seed}
    if scenario == "imre":
        released = _RELEASED.fullmatch(order)
        if released and int(released[1]) in RELEASED:
            return {"tasks": int(released[1])}
        known = ", ".join(f"sep{count}" for count in sorted(RELEASED, reverse=True))
        raise ConfigError([f"no order {order!r} of imre; give {known}, or seed:N for a drawn one"])
    groups = [tuple(part.split("+")) for part in order.split("-")]
    types = [name for group in groups for name in group]
    usual = set(types) <= {*TYPES} or _RELEASED.fullmatch(order) or order.startswith("seed:")
    if not all(types) or len({*types}) < len(types) or (usual and len(types) < len(TYPES)):
        raise ConfigError(
            [
                f"no order {order!r} of imner; give {', '.join(TYPES)} in any order, joined by - "
                "(or the other types that the data have), or seed:N for a drawn one"
            ]
        )
    return {"order": tuple(group[0] if len(group) == 1 else group for group in groups)}


def drawn_order(order: str) -> tuple[int, int | None] | None:
    """Return seed and number of tasks of ``seed:3`` or ``seed:3/7``; ``None`` of other names.

    >>> drawn_order("seed:3/7"), drawn_order("seed:3"), drawn_order("sep7")
    ((3, 7), (3, None), None)
    """
    drawn = _DRAWN.fullmatch(order)
    return drawn and (int(drawn[1]), int(drawn[2]) if drawn[2] else None)
