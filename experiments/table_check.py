"""Building the systems of a table, and the check that all of them can be built."""

from __future__ import annotations

import gc
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from experiment_run import device_of
from table_plan import Plan
from table_settings import TableSettings

from mkgc_cl.errors import ConfigError
from mkgc_cl.results import Cell


def built(settings: TableSettings, cell: Cell, labels: Any, *, device: str) -> Any:
    """Build the system of a cell, ready to train.

    Args:
        settings: of the cell's order.
        cell: names the system, its seed and its options.
        labels: classes of the stream.
        device: where it trains.

    Raises:
        ConfigError: a setting or an option does not fit the system.
    """
    from mkgc_cl.strategies.catalogue import build_system
    from mkgc_cl.strategies.recipe import Encoders, Training

    config: Mapping[str, Any] = cell.config
    return build_system(
        cell.system,
        labels,
        encoders=Encoders(**asdict(settings.encoders)),
        training=Training(**asdict(settings.training), device=device, seed=cell.seed),
        exemplars=settings.exemplars,
        options=config["options"],
    )


def check_systems(plans: Sequence[Plan]) -> None:
    """Build every system that still has a cell to run, once, as the cell would.

    So a mistake in the settings is told before the first cell trains, with all others, and not as
    one failed cell after the other. A failure of another kind (a download, memory) stays with the
    cell, whose record keeps its traceback.

    Raises:
        ConfigError: naming every mistake of every system, and a device that does not work.
    """
    wrong: list[str] = []
    of_systems: dict[str, dict[str, None]] = {}  # problem -> systems that have it, in order
    seen: set[str] = set()
    devices: dict[str, str] = {}
    for plan in plans:
        for cell in plan.waiting:
            if (trial := _trial(cell)) in seen:
                continue
            seen.add(trial)
            settings = plan.settings
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
                built(settings, cell, plan.labels, device=device)
            except ConfigError as error:
                for problem in error.problems:
                    of_systems.setdefault(problem, {})[cell.system] = None
            except Exception:  # noqa: S110  # the cell will fail of it, and say so
                pass
            gc.collect()  # parts of a strategy refer to each other: its weights go before the next
    wrong += [f"{', '.join(systems)}: {problem}" for problem, systems in of_systems.items()]
    if wrong:
        raise ConfigError(wrong)


def _trial(cell: Cell) -> str:
    """What a build depends on: not the seed, nor what the stream shows."""
    config = {key: value for key, value in cell.config.items() if not key.startswith("stream")}
    return json.dumps([cell.system, config], sort_keys=True)
