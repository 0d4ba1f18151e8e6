"""Settings of runs: what differs between some of them, and names of folders made of that."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mkgc_cl.results.escapes import slug
from mkgc_cl.results.record import RunRecord
from mkgc_cl.results.run_files import digest

NOTHING = "-"
"""Stands for a setting that is not there."""
LONGEST = 80
"""Characters of the words in a folder's name."""


def differences(*configs: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
    """Return the settings that are not the same in all configurations, by dotted key.

    Values are as JSON spells them, :data:`NOTHING` where there is none.

    >>> differences({"lr": 0.1, "stream": {"seed": 0}}, {"lr": 0.1, "stream": {"seed": 1}})
    {'stream.seed': ('0', '1')}
    """
    flat = [dict(_leaves(config)) for config in configs]
    keys = dict.fromkeys(key for each in flat for key in each)
    found = {key: tuple(each.get(key, NOTHING) for each in flat) for key in keys}
    return {key: values for key, values in found.items() if len(set(values)) > 1}


def differences_of(*groups: Sequence[RunRecord]) -> dict[str, tuple[str, ...]]:
    """Return scenario, order and the settings that are not the same in all groups of records.

    Each system is compared with itself, so that what one system has of its own is no difference
    between groups. A setting that differs for some systems alone names them.
    """
    firsts = [{record.system: record for record in reversed(group)} for group in groups]
    shared = [system for system in firsts[0] if all(system in each for each in firsts)]
    if not shared:  # then whatever ran in each stands for it
        shared = [""]
        firsts = [{"": next(iter(each.values()))} if each else {} for each in firsts]
    if not all(firsts):
        return {}
    having: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for system in sorted(shared):
        runs = [each[system] for each in firsts]
        configs = [{"scenario": r.scenario, "order": r.order, **r.config} for r in runs]
        for difference in differences(*configs).items():
            having.setdefault(difference, []).append(system)
    return {
        key if len(systems) == len(shared) else f"{key} ({', '.join(systems)})": values
        for (key, values), systems in having.items()
    }


def setting_folder(
    parent: Path, identity: Mapping[str, object], usual: Mapping[str, object] | None = None
) -> Path:
    """Return the folder of a run and of all that differ from it in system or seed only.

    Its name is the order, the settings that are not as usual in the form ``key=value``, and a
    digest of all of them, which alone decides: a folder that has it is that of the run, whatever
    words stand before it.

    Args:
        parent: where the folder is or is to be.
        identity: of the run (:attr:`~mkgc_cl.runs.Run.identity`).
        usual: the configuration that needs no words; settings that it lacks get none.
    """
    name = setting_name(identity, usual)
    end = name[name.rindex("-") :]
    try:
        there = sorted(entry.name for entry in os.scandir(parent) if entry.is_dir())
    except (OSError, ValueError):  # what is wrong with it is told when something is written there
        there = []
    return parent / next((folder for folder in there if folder.endswith(end)), name)


def setting_name(identity: Mapping[str, object], usual: Mapping[str, object] | None = None) -> str:
    """Return the name of the folder of :func:`setting_folder`, as it is made."""
    shared = {key: value for key, value in identity.items() if key not in ("system", "seed")}
    name, left = slug(str(identity["order"])), 0
    for word in _words(shared["config"], usual or {}):
        if left or len(name) + len(word) >= LONGEST:
            left += 1
        else:
            name += f",{word}"
    more = f",and-{left}-more" if left else ""
    return f"{name}{more}-{digest(shared)[:8]}"


def _words(config: object, usual: Mapping[str, object]) -> list[str]:
    """Say what is not as usual, each setting by the last part of its key."""
    if not isinstance(config, Mapping):
        return []
    known = {key: value for key, value in config.items() if key in usual}
    return [
        f"{key.rpartition('.')[2]}={re.sub('[^A-Za-z0-9.]+', '-', value).strip('-') or 'none'}"
        for key, (_, value) in differences(usual, known).items()
        if key != "stream.order"  # the name begins with it
    ]


def _leaves(data: object, key: str = "") -> Iterable[tuple[str, str]]:
    if isinstance(data, Mapping) and data:
        for name, value in data.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, data if isinstance(data, str) else json.dumps(data, sort_keys=True)
