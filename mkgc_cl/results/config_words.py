"""What the configurations of records say, in words for captions and notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mkgc_cl.results.counted import counted
from mkgc_cl.results.record import RunRecord

OPTIONS = "Options set for single systems."
"""How the note on options begins."""


def setting_words(records: Sequence[RunRecord]) -> list[str]:
    """Name encoders, epochs and the budget of exemplars; values that differ stand side by side.

    Reads records of both kinds of experiment: ``encoders`` and ``exemplars`` of a table of systems,
    ``model`` and ``method.memory_size`` of the ablation.
    """
    kinds = zip(*(_words(record.config) for record in records), strict=True)
    return [word for kind in kinds for word in dict.fromkeys(kind) if word is not None]


def option_notes(records: Sequence[RunRecord]) -> list[str]:
    """Say which options were set, of systems that have their own."""
    chosen = {record.system: dig(record.config, "options") for record in records}
    said = "; ".join(
        f"{name}: {', '.join(f'{key} {value}' for key, value in options.items())}"
        for name, options in chosen.items()
        if isinstance(options, Mapping) and options
    )
    return [f"{OPTIONS} {said}."] if said else []


def epochs_words(epochs: int, precision: str | None = None) -> str:
    """Say how often a task is passed over, and in what precision where it is not the usual one.

    >>> epochs_words(1), epochs_words(5, "bf16")
    ('1 epoch per task', '5 epochs per task in bf16')
    """
    words = f"{counted(epochs, 'epoch')} per task"
    return words if precision in (None, "fp32") else f"{words} in {precision}"


def dig(data: object, *path: str) -> Any:
    """Return ``data[path[0]][path[1]]...``, or ``None`` where the way ends."""
    for key in path:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data


def _words(config: Mapping[str, object]) -> tuple[str | None, str | None, str | None]:
    """Return words for encoders, epochs and budget, each ``None`` where nothing is said."""
    model = config.get("encoders") or config.get("model")
    text, vision = dig(model, "text"), dig(model, "vision")
    epochs = dig(config, "training", "epochs")
    budget = None
    size, scope = (dig(config, "method", key) for key in ("memory_size", "memory_scope"))
    if (exemplars := dig(config, "exemplars")) is not None:
        budget = f"{counted(exemplars, 'exemplar')} of every class and of N/A"
    elif size is not None:
        budget = f"{counted(size, 'exemplar')} of every {scope or 'slot'}"
    return (
        None if text is None else f"encoders {text} + {vision}",
        None if epochs is None else epochs_words(epochs, dig(config, "training", "precision")),
        budget,
    )
