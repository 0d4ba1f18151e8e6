"""Series that plugins publish: values per step, by name."""

from __future__ import annotations

from collections.abc import Iterable


def traces_of(plugins: Iterable[object]) -> dict[str, list[float]]:
    """Gather what plugins publish by a method ``traces()``, which returns lists by name.

    ``gamma``, ``coefficient_text``, ``coefficient_vision`` and ``boundaries`` (steps of ``gamma``
    at which tasks begin), ``distillation_loss``, ``token_distillation_loss``, ``ewc_penalty``, and
    those of plugins of one's own. A name that several plugins use is numbered from the second one
    on: ``ewc_penalty/2``.
    """
    found: dict[str, list[float]] = {}
    for plugin in plugins:
        for name, series in getattr(plugin, "traces", dict)().items():
            number = 1 + sum(known.partition("/")[0] == name for known in found)
            found[name if number == 1 else f"{name}/{number}"] = list(series)
    return found
