"""The check of every system, and of what it is to read, before the first of them trains."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field, replace
from typing import Any

from mkgc_cl.data import TaskStream
from mkgc_cl.errors import ConfigError, DataError, gathered
from mkgc_cl.experiments.pipeline.console import Tell

logger = logging.getLogger(__name__)

LOADING = "loading PyTorch and Avalanche, then building every system once"


@dataclass(frozen=True)
class Trial:
    """A system to be built once.

    Args:
        system: its name.
        settings: an experiment's: device, precision, encoders.
        build: builds it with settings on a device.
        streams: the streams that it is to run on, by fingerprint.
    """

    system: str
    settings: Any
    build: Callable[[Any, str], Any]
    streams: dict[str, TaskStream] = field(default_factory=dict)


def check_builds(trials: Collection[Trial], tell: Tell) -> None:
    """Build every system once, let it look at every sample of its streams, and forget it.

    A failure that is no mistake in the settings stays with the run: its record keeps the traceback,
    and the other runs have their turn.

    Raises:
        ConfigError: naming every mistake of every system, and a device that does not work.
        DataError: where nothing else is wrong, naming every sample that a system cannot read.
    """
    if trials:
        tell(LOADING)
    wrong: list[str] = []
    of_systems: dict[str, dict[str, None]] = {}  # problem -> systems that have it, in order
    unread: list[DataError] = []
    seen: set[Hashable] = set()
    for trial in trials:
        settings = trial.settings
        try:
            device = device_of(settings.device)
        except ConfigError as error:
            wrong += error.problems
            # build on, for the other mistakes; bf16 is a question to the device alone
            training = replace(settings.training, precision="fp32")
            settings, device = replace(settings, training=training), "cpu"
        try:
            strategy = trial.build(settings, device)
        except ConfigError as error:
            for problem in error.problems:
                of_systems.setdefault(problem, {})[trial.system] = None
        except Exception as error:  # a download, memory: the run will fail of it and keep the words
            logger.debug("%s cannot be built: %r", trial.system, error)
        else:
            unread += unreadable(trial, strategy, seen)
            del strategy
        gc.collect()  # parts of a strategy refer to each other: its weights go before the next
    wrong = list(dict.fromkeys(wrong))
    wrong += [f"{', '.join(systems)}: {problem}" for problem, systems in of_systems.items()]
    if wrong:
        raise ConfigError([*wrong, str(gathered(unread))] if unread else wrong)
    if unread:
        raise gathered(unread)


def unreadable(trial: Trial, strategy: Any, seen: set[Hashable]) -> list[DataError]:
    """Let a system read its streams; return what is wrong with single samples or images.

    ``seen`` has the ways in which a stream has been read, by this system or another.
    """
    from mkgc_cl.data.readiness import require_readable

    found: list[DataError] = []
    processor = strategy.network.processor
    for fingerprint, stream in trial.streams.items():
        way = (trial.settings.encoders, processor.views, fingerprint)
        if way not in seen:
            seen.add(way)
            try:
                require_readable(stream, processor)
            except DataError as error:
                found += error.problems
    return found


def device_of(name: str) -> str:
    """Return ``name``, or for ``"auto"`` a GPU where there is one and the CPU elsewhere.

    Raises:
        ConfigError: nothing can be computed on a device of this name here.
    """
    import torch

    from mkgc_cl.devices import usable_device

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    usable_device(name)
    return name
