"""The check of every system, and of what it is to read, before the first of them trains."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field, replace
from typing import Any

from mkgc_cl.data import TaskStream
from mkgc_cl.errors import ConfigError, DataError, gathered
from mkgc_cl.experiments.console import Tell

logger = logging.getLogger(__name__)

LOADING = "loading PyTorch and Avalanche, then building every system once"


@dataclass(frozen=True)
class Trial:
    """A system to be built once.

    Args:
        system: its name.
        settings: an experiment's, with ``device`` and ``training.precision``.
        build: builds it with settings on a device.
        encoders: those of the settings, on which it depends how a sample is read.
        streams: the streams that it is to run on, by fingerprint.
    """

    system: str
    settings: Any
    build: Callable[[Any, str], Any]
    encoders: Hashable = None
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
    devices: dict[str, str] = {}
    samples = Samples()
    for trial in trials:
        settings = trial.settings
        if settings.device not in devices:
            try:
                devices[settings.device] = device_of(settings.device)
            except ConfigError as error:
                wrong += error.problems
                devices[settings.device] = ""
        device = devices[settings.device]
        if not device:
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
            samples.look(trial, strategy)
            del strategy
        gc.collect()  # parts of a strategy refer to each other: its weights go before the next
    wrong += [f"{', '.join(systems)}: {problem}" for problem, systems in of_systems.items()]
    unread = gathered(samples.problems) if samples.problems else None
    if wrong:
        raise ConfigError([*wrong, str(unread)] if unread else wrong)
    if unread:
        raise unread


class Samples:
    """What is wrong with samples, for systems that read them in whatever way.

    Attributes:
        problems: one for each sample or image.
    """

    def __init__(self) -> None:
        self.problems: list[DataError] = []
        self._seen: set[Hashable] = set()

    def look(self, trial: Trial, strategy: Any) -> None:
        """Let a system read its streams, unless another one has read them in the same way."""
        from mkgc_cl.data.readiness import require_readable

        processor = strategy.network.processor
        for fingerprint, stream in trial.streams.items():
            way = (trial.encoders, processor.views, fingerprint)
            if way in self._seen:
                continue
            self._seen.add(way)
            try:
                require_readable(stream, processor)
            except DataError as error:
                self.problems += error.problems


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
