"""What the configurations of runs say, in words for captions and notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from mkgc_cl.results.counted import counted
from mkgc_cl.results.marks import dig

OWN = ("options", "exemplars")
"""Keys of configurations that belong to single systems: one has options, another no budget."""


class Configured(Protocol):
    """A run or its record."""

    @property
    def system(self) -> str:
        """Its system."""

    @property
    def config(self) -> Mapping[str, object]:
        """Its resolved configuration."""


def setting_words(runs: Sequence[Configured]) -> list[str]:
    """Name encoders, epochs and the budget of exemplars; values that differ stand side by side.

    Reads runs of both kinds of experiment: ``encoders`` and ``exemplars`` of a table of systems,
    ``model`` and ``method.memory_size`` of the ablation.
    """
    kinds = zip(*(_words(run.config) for run in runs), strict=True)
    return [word for kind in kinds for word in dict.fromkeys(kind) if word is not None]


def option_notes(runs: Sequence[Configured]) -> list[str]:
    """Say which options were set, of systems that have their own."""
    chosen = {run.system: dig(run.config, "options") for run in runs}
    said = "; ".join(
        f"{name}: {', '.join(f'{key} {value}' for key, value in options.items())}"
        for name, options in chosen.items()
        if isinstance(options, Mapping) and options
    )
    return [f"Options set for single systems. {said}."] if said else []


def epochs_words(epochs: int, precision: str | None = None) -> str:
    """Say how often a task is passed over, and in what precision where it is not the usual one.

    >>> epochs_words(1), epochs_words(5, "bf16")
    ('1 epoch per task', '5 epochs per task in bf16')
    """
    words = f"{counted(epochs, 'epoch')} per task"
    return words if precision in (None, "fp32") else f"{words} in {precision}"


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
