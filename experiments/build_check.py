"""The check that every system can be built, before the first of them trains."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from experiment_run import device_of

from mkgc_cl.errors import ConfigError


@dataclass(frozen=True)
class Trial:
    """A system to be built once.

    Args:
        system: its name.
        settings: an experiment's, with ``device`` and ``training.precision``.
        build: builds it with settings on a device.
    """

    system: str
    settings: Any
    build: Callable[[Any, str], object]


def check_builds(trials: Iterable[Trial]) -> None:
    """Build every system once, and forget it.

    Raises:
        ConfigError: naming every mistake of every system, and a device that does not work.
        Exception: what else a build raises; the first that does ends the check.
    """
    wrong: list[str] = []
    of_systems: dict[str, dict[str, None]] = {}  # problem -> systems that have it, in order
    devices: dict[str, str] = {}
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
            trial.build(settings, device)
        except ConfigError as error:
            for problem in error.problems:
                of_systems.setdefault(problem, {})[trial.system] = None
        gc.collect()  # parts of a strategy refer to each other: its weights go before the next
    wrong += [f"{', '.join(systems)}: {problem}" for problem, systems in of_systems.items()]
    if wrong:
        raise ConfigError(wrong)


def left_to_the_cell(build: Callable[[], object]) -> None:
    """Build; a failure that is no mistake in the settings (a download, memory) stays with the cell.

    Its record keeps the traceback, and the other cells have their turn.

    Raises:
        ConfigError: a setting or an option does not fit the system.
    """
    try:
        build()
    except ConfigError:
        raise
    except Exception:  # noqa: S110  # the cell will fail of it, and say so
        pass
