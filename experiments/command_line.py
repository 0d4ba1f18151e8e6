"""What the command lines of all scripts have in common: who named a setting, and ``--quick``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping


def given_values(arguments: argparse.Namespace) -> dict[str, str]:
    """Text of every ``key=value``, by its key."""
    parts = (text.partition("=") for text in arguments.overrides)
    return {key.strip(): value.strip() for key, _, value in parts}


def given_keys(arguments: argparse.Namespace, flags: Mapping[str, str]) -> set[str]:
    """Settings that the command line names, by a flag or as ``key=value``.

    Args:
        arguments: as parsed, with ``overrides``.
        flags: attribute of ``arguments`` to the key of its setting.
    """
    by_flag = {key for flag, key in flags.items() if getattr(arguments, flag, None) is not None}
    return by_flag | given_values(arguments).keys()


def given_scenario(arguments: argparse.Namespace) -> str | None:
    """The stream that the command line names, before any setting is resolved."""
    return arguments.scenario or given_values(arguments).get("stream.scenario")


def quick_problems(arguments: argparse.Namespace, scenario: str | None) -> list[str]:
    """Mistakes of ``--quick``, which is the demonstration and nothing else.

    Args:
        arguments: as parsed.
        scenario: the stream that would run; ``None`` where nothing names one.
    """
    if not arguments.quick or scenario in (None, "demo"):
        return []
    return [
        f"--quick is the demonstration, and the stream that is asked for is {scenario!r}; "
        f"leave out --quick to run on {scenario}, or what names {scenario} for the demonstration"
    ]
