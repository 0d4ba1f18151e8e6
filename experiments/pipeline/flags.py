"""The flags of every command line that takes settings, and mistakes of single flags."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping
from typing import Any

from mkgc_cl.config import keys
from mkgc_cl.errors import OutputError
from mkgc_cl.experiments.pipeline.settings import SCENARIOS, Settings
from mkgc_cl.results.writing import check_writable

FLAGS = {
    "scenario": "stream.scenario",
    "task": "stream.task",
    "data": "stream.data",
    "missing_images": "stream.missing_images",
    "split": "stream.split",
    "systems": "systems",
    "seeds": "seeds",
    "orders": "orders",
    "exemplars": "exemplars",
    "reference": "reference",
    "epochs": "training.epochs",
    "text_encoder": "encoders.text",
    "vision_encoder": "encoders.vision",
    "device": "device",
}
"""Flags of single settings, each with the key of its setting."""
_FORMS: Mapping[str, dict[str, Any]] = {
    "scenario": {"choices": SCENARIOS},
    "task": {"choices": ("ner", "re")},
    "data": {"metavar": "PATH"},
    "missing_images": {"choices": ("error", "blank")},
    "split": {"choices": ("test", "valid")},
    "systems": {"nargs": "+", "metavar": "A"},
    "seeds": {"nargs": "+", "metavar": "N"},
    "orders": {"nargs": "+", "metavar": "O"},
    "exemplars": {"type": int, "metavar": "N"},
    "reference": {"metavar": "A"},
    "epochs": {"type": int},
    "text_encoder": {"metavar": "NAME"},
    "vision_encoder": {"metavar": "NAME"},
}


def add_flags(
    parser: argparse.ArgumentParser, names: Collection[str] = tuple(FLAGS), **words: str
) -> None:
    """Add flags of settings, the systems' files and what every script has.

    Args:
        parser: of the script.
        names: of the flags, keys of :data:`FLAGS`.
        words: help of some of them, or of ``overrides``, in place of that of their settings.
    """
    add, fields = parser.add_argument, keys(Settings)
    said = words.get("overrides", "any setting, see below")
    add("overrides", nargs="*", metavar="key=value", help=said)
    add("--quick", action="store_true", help="the synthetic stream, in minutes")
    add("--config", help="a known setting or a YAML file (default: by --scenario)")
    for name in names:
        said = words.get(name, fields[FLAGS[name]].metadata["help"])
        spelled = [f"--{name.replace('_', '-')}", *(["--order"] if name == "orders" else [])]
        add(*spelled, help=said, **_FORMS.get(name, {}))
    add("--plugin", action="append", default=[], metavar="FILE", help="Python file with systems")
    add("--quiet", action="store_true", help="no progress")


def parsed(parser: argparse.ArgumentParser, argv: Collection[str]) -> argparse.Namespace:
    """Read the command line; overrides may stand anywhere, behind a flag of several values, too."""
    arguments = parser.parse_intermixed_args(list(argv))
    for flag, values in vars(arguments).items():
        if flag not in ("overrides", "plugin") and isinstance(values, list):
            arguments.overrides += [text for text in values if "=" in str(text)]
            kept = [text for text in values if "=" not in str(text)]
            setattr(arguments, flag, [part for text in kept for part in str(text).split(",")])
    return arguments


def flag_problems(arguments: argparse.Namespace) -> list[str]:
    """Mistakes of single flags: what is given nothing, and an ``--out`` that takes nothing."""
    given = {flag: value for flag, value in vars(arguments).items() if flag != "overrides"}
    empty = [flag.replace("_", "-") for flag, value in given.items() if _is_empty(value)]
    found = [f"--{flag} is empty; give a value, or leave the flag out" for flag in empty]
    if out := getattr(arguments, "out", None):
        try:
            check_writable(out, room=1)  # the room that runs take is asked for when they are known
        except OutputError as error:
            found.append(f"--out {error}")
    return found


def _is_empty(value: object) -> bool:
    """Whether it is not what somebody meant whose variable is empty."""
    if isinstance(value, list):
        return bool(value) and all(map(_is_empty, value))
    return isinstance(value, str) and not value.strip()


def value_of(arguments: argparse.Namespace, flag: str) -> object:
    """What a flag says of its setting; nothing where it is empty, which is told by itself."""
    value = getattr(arguments, flag, None)
    if _is_empty(value):
        return None
    return ",".join(filter(str.strip, value)) if isinstance(value, list) else value
