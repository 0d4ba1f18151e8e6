"""From a command line to settings: defaults, YAML file, flags and overrides, in this order."""

from __future__ import annotations

import argparse
import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mkgc_cl import plain_yaml
from mkgc_cl.cluster import launcher_problems
from mkgc_cl.config import keys
from mkgc_cl.errors import ConfigError, DataError
from mkgc_cl.experiments.pipeline.flags import FLAGS, flag_problems, value_of
from mkgc_cl.experiments.pipeline.launch import launch_problems
from mkgc_cl.experiments.pipeline.plan import Row
from mkgc_cl.experiments.pipeline.settings import Settings, config_path, resolve_settings
from mkgc_cl.recipe_options import fitted_options
from mkgc_cl.systems import SYSTEMS, named, systems_of

if TYPE_CHECKING:
    from mkgc_cl.experiments.pipeline.cli import Script

SECTIONS = ("stream", "encoders", "training", "checkpoint")


def settings_of(script: Script, arguments: argparse.Namespace) -> Settings:
    """Resolve defaults, YAML file, flags and overrides, in this order.

    Raises:
        ConfigError: naming every mistake.
    """
    wrong = [*flag_problems(arguments), *launcher_problems(getattr(arguments, "launcher", "local"))]
    texts, options = _split_options(script, arguments.overrides, wrong)
    values = {key: value for key, _, value in map(_parts, texts)}
    given = {key for flag, key in FLAGS.items() if getattr(arguments, flag, None) is not None}
    given |= values.keys()
    wrong += [
        f"{key!r} is set by {script.file} itself; {words}"
        for key, words in script.own.items()
        if key in given
    ]
    flags = {key: value_of(arguments, flag) for flag, key in FLAGS.items()}
    flags.update({key: keys(Settings)[key].default for key in script.own})
    scenario = arguments.scenario or values.get("stream.scenario")
    config = arguments.config or _config(script, arguments, scenario, values)
    try:
        settings = resolve_settings(yaml_path=config_path(config), overrides=texts, flags=flags)
    except ConfigError as error:
        wrong += _quick_problems(arguments, scenario)
        raise ConfigError([*wrong, *error.problems]) from error
    wrong += _quick_problems(arguments, settings.stream.scenario)
    settings = _named(script, settings, options, wrong)
    if settings.orders and "stream.order" in given:
        orders = ",".join(settings.orders)
        wrong.append(f"'stream.order' gives way to 'orders', {orders}; give --orders in its place")
    wrong += script.check(settings, arguments, given)
    wrong += launch_problems(
        jobs=getattr(arguments, "jobs", 1),
        device=settings.device,
        launcher=getattr(arguments, "launcher", "local"),
    )
    if wrong:
        raise ConfigError(list(dict.fromkeys(wrong)))
    return settings


def _quick_problems(arguments: argparse.Namespace, scenario: str | None) -> list[str]:
    """Mistakes of ``--quick``, which is the synthetic stream and nothing else."""
    if not arguments.quick or scenario in (None, "demo"):
        return []
    return [
        f"--quick is the synthetic stream, and the stream that is asked for is {scenario!r}; "
        f"leave out --quick to run on {scenario}, or what names {scenario} for the synthetic stream"
    ]


def _config(
    script: Script,
    arguments: argparse.Namespace,
    scenario: str | None,
    values: Mapping[str, str],
) -> str:
    """The settings of a stream: named by the command line, or that of the script."""
    usual = script.scenario
    if scenario is None and not arguments.quick and not usual.startswith("demo"):
        return script.configs[usual]
    if scenario in (None, "demo"):
        task = arguments.task or values.get("stream.task")
        kind = task or {"imre": "re", "imner": "ner"}.get(usual, usual.rpartition("-")[2])
        scenario = f"demo-{kind}"
    return script.configs.get(str(scenario), script.configs[usual])


def _parts(text: str) -> tuple[str, str, str]:
    key, sign, value = text.partition("=")
    return key.strip(), sign, value.strip()


def _split_options(
    script: Script, overrides: Sequence[str], wrong: list[str]
) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Tell ``SYSTEM.option=value`` from overrides of settings.

    Returns:
        The other overrides, and the options by row or system.
    """
    known = script.known()
    texts: list[str] = []
    options: dict[str, dict[str, Any]] = {}
    for text in overrides:
        key, sign, value = _parts(text)
        system, dot, option = key.rpartition(".")
        if not sign or not dot or system in SECTIONS:
            texts.append(text)
            continue
        try:
            system = named(system.strip("\"' "), known, "no system")
        except ConfigError as error:
            if difflib.get_close_matches(system, SECTIONS, n=1, cutoff=0.7):
                texts.append(text)  # a section misspelt: its message knows the settings
            else:
                wrong += [f"override {text!r}: {problem}" for problem in error.problems]
            continue
        try:
            read = plain_yaml.parse(value).data
        except DataError as error:
            wrong.append(f"override {text!r}: the value is {error}")
            continue
        own = options.setdefault(system, {})
        if option.strip().lower() in own:
            wrong.append(f"override {text!r}: {key!r} was given before; give it once")
        own[option.strip().lower()] = read
    return texts, options


def _named(
    script: Script, settings: Settings, options: Mapping[str, Mapping[str, Any]], wrong: list[str]
) -> Settings:
    """Give names as they are registered, rows and reference where none are given, and options."""
    known = script.known()

    def name(text: str, what: str) -> str:
        try:
            return named(text, known, f"{what!r} names no system")
        except ConfigError as error:
            wrong.extend(error.problems)
            return ""

    systems = [name(each, "systems") for each in settings.systems]
    systems = systems or list(script.default or systems_of(settings.kind))
    reference = name(settings.reference or script.reference, "reference")
    merged: dict[str, dict[str, Any]] = {}
    for system, own in [*(settings.options or {}).items(), *options.items()]:
        if row := name(system, "options"):
            merged.setdefault(row, {}).update(own)
    for row, own in merged.items():
        try:
            # as a record has them, where a tuple is a list
            merged[row] = json.loads(json.dumps(fitted_options(known[row].system, own)))
        except ConfigError as error:
            wrong += error.problems
    for row in filter(None, systems):
        if settings.kind not in SYSTEMS[known[row].system].tasks:
            wrong.append(
                f"'systems': {row} has no version for this task ({settings.kind}); leave it out"
            )
    if len({*systems}) < len(systems):
        wrong.append(f"'systems' must name each once, got {systems}")
    settings = replace(
        settings,
        systems=tuple(filter(None, systems)),
        reference=reference or script.reference,
        options=merged or None,
    )
    if settings.exemplars is not None:
        wrong += own_budgets(settings, known, "'exemplars' is the budget of all")
    return settings


def own_budgets(settings: Settings, rows: Mapping[str, Row], why: str) -> list[str]:
    """Rows whose options name a budget, which would silently win over that of all."""
    return [
        f"{name}.exemplars is a budget of its own, and {why}; leave one of the two out"
        for name in dict.fromkeys(
            each for row in settings.systems for each in (row, rows[row].system)
        )
        if "exemplars" in ((settings.options or {}).get(name) or {})
    ]
