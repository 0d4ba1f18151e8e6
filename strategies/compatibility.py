"""Refuse parts of Avalanche that cannot work here, by name and with what to use instead."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from mkgc_cl.data.samples import TaskKind
from mkgc_cl.errors import ConfigError
from mkgc_cl.strategies.avalanche_parts import (
    BOTH,
    LOGGERS,
    METRICS,
    NEITHER,
    PLUGINS,
    STRATEGIES,
    Part,
)
from mkgc_cl.strategies.distributed import Ranks

PARTS = {
    path: part for part in (*PLUGINS, *METRICS, *LOGGERS, *STRATEGIES) for path in part.classes
}


def part_of(kind: type) -> Part | None:
    """The row of a class, or of the nearest class it derives from; ``None`` for others' classes."""
    paths = (f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__)
    return next((PARTS[path] for path in paths if path in PARTS), None)


def refusals(
    parts: Iterable[object], *, task: TaskKind | None = None, device: str | None = None
) -> list[str]:
    """What there is to say against parts of Avalanche: a line for each that cannot work.

    Args:
        parts: plugins, metrics, loggers; or classes of strategies.
        task: task of the model; ``None`` tells of what works for neither.
        device: type of the device; ``None`` tells of nothing for its sake.
    """
    problems = []
    for given in parts:
        part = getattr(given, "part", None)  # of a metric that measures for us already
        if not isinstance(part, Part):
            part = part_of(given if isinstance(given, type) else type(given))
        if part is None:
            continue
        on_task = part.works == NEITHER or task not in (None, *part.works)
        if on_task or (part.gpu_only and device == "cpu"):
            where = f" for {task!r}" if on_task and part.works else ""
            line = f"Avalanche's {part.name} does not work here{where}: it {part.reason}; "
            problems.append(f"{line}use {part.instead}".replace("`", ""))
    return problems


def unshared(parts: Iterable[object], ranks: Ranks) -> list[str]:
    """What there is to say against plugins and metrics in processes that share a training.

    There one sees a share of every batch, so that what it adds up or takes a mean of is another
    number. Those that go by this say ``supports_distributed=True`` in their class statement, which
    is Avalanche's word for it; Avalanche's own have other loaders or processes in mind.
    """
    if not ranks.shared:
        return []
    names = {
        type(part).__name__: None
        for part in parts
        if not getattr(part, "supports_distributed", False)
        or type(part).__module__.startswith("avalanche.")
    }
    return [
        f"{name} does not say that it works in processes that share a training; run it in one "
        "process, or see docs/distributed.md for what it must do"
        for name in names
    ]


def refuse(parts: Iterable[object]) -> None:
    """Refuse parts of Avalanche that work for neither task.

    Raises:
        ConfigError: there are some; names each, and what to use instead.
    """
    problems = refusals(parts)
    if problems:
        raise ConfigError(problems)


def table() -> str:
    """The table of the README, in Markdown; rows that say the same are one."""
    lines = []
    for title, parts in (
        ("plugin", PLUGINS),
        ("metric", METRICS),
        ("logger", LOGGERS),
        ("strategy", STRATEGIES),
    ):
        lines += [f"| {title} | relations | tags | |", "|---|---|---|---|"]
        for row, alike in groupby(parts, key=_row):
            lines.append(f"| {', '.join(f'`{part.name}`' for part in alike)} | {row} |")
        lines.append("")
    return "\n".join(lines)


def _row(part: Part) -> str:
    yes = "on a GPU" if part.gpu_only else "yes"
    cells = [yes if task in part.works else "no" for task in BOTH]
    where = "for tags " if part.works == ("re",) else ""
    instead = f"{where}{part.reason}; use {part.instead}" if part.reason else ""
    return " | ".join([*cells, "; ".join(text for text in (part.note, instead) if text)])
