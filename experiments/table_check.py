"""Building the systems of a table, and the check that all of them can be built."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from mkgc_cl.experiments.build_check import Trial, check_builds, rehearse_build
from mkgc_cl.experiments.command_line import Tell
from mkgc_cl.experiments.table_plan import Plan
from mkgc_cl.experiments.table_settings import TableSettings
from mkgc_cl.results import Run


def built(settings: TableSettings, run: Run, labels: Any, *, device: str) -> Any:
    """Build the system of a run, ready to train.

    Args:
        settings: of the run's order.
        run: names the system, its seed and its options.
        labels: classes of the stream.
        device: where it trains.

    Raises:
        ConfigError: a setting or an option does not fit the system.
    """
    from mkgc_cl.strategies.catalogue import build_system
    from mkgc_cl.strategies.recipe import Encoders, Training

    config: Mapping[str, Any] = run.config
    return build_system(
        run.system,
        labels,
        encoders=Encoders(**asdict(settings.encoders)),
        training=Training(**asdict(settings.training), device=device, seed=run.seed),
        exemplars=settings.exemplars,
        options=config["options"],
    )


def check_systems(plans: Sequence[Plan], tell: Tell) -> None:
    """Build every system that still has a run to run, once, as the run would.

    So a mistake in the settings or in a sample is told before the first run trains, with all
    others, and not as one failed run after the other.

    Args:
        plans: the tables.
        tell: told what takes its time.

    Raises:
        ConfigError: naming every mistake of every system, and a device that does not work.
        DataError: naming every sample that a system cannot read.
    """
    trials: dict[str, Trial] = {}
    for plan in plans:
        for run in plan.waiting:
            build = partial(_build, run, plan.stream.labels)
            new = Trial(run.system, plan.settings, build, plan.settings.encoders, {})
            trials.setdefault(build_key(run), new).streams[plan.fingerprint] = plan.stream
    check_builds(trials.values(), tell)


def build_key(run: Run) -> str:
    """What a build depends on: not the seed, nor what the stream shows."""
    config = {key: value for key, value in run.config.items() if not key.startswith("stream")}
    return json.dumps([run.system, config], sort_keys=True)


def _build(run: Run, labels: Any, settings: TableSettings, device: str) -> Any:
    return rehearse_build(lambda: built(settings, run, labels, device=device))
