"""What the command lines of all scripts have in common: names, flags, ``--quick``, exit codes."""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import mkgc_cl
from mkgc_cl.errors import MkgcError, OutputError
from mkgc_cl.results.lasting import lasting_output
from mkgc_cl.results.writing import check_writable

INTERRUPTED = 130
GOES_ON = "interrupted; the same command goes on from here"

Tell = Callable[[str], None]
"""Says what is being done."""


def program(file: str) -> str:
    """The words that start a script: its path in a checkout, its name where there is none.

    Args:
        file: its file under ``experiments/``.
    """
    installed = Path(str(mkgc_cl.__file__)).parent in Path(__file__).parents
    return f"mkgc run {Path(file).stem}" if installed else f"python experiments/{file}"


def commands(text: str) -> str:
    """Return a description with the commands in it as they can be given here."""
    return re.sub(r"python experiments/(\w+\.py)", lambda found: program(found[1]), text)


def teller(*, quiet: bool) -> Tell:
    """Return what says on standard error what is being done, or with ``quiet`` says nothing."""

    def tell(words: str) -> None:
        if not quiet:
            sys.stderr.write(f"{words}\n")
            sys.stderr.flush()

    return tell


def exit_code(work: Callable[[], int], *, interrupted: str = GOES_ON) -> int:
    """Do what a script is for; say in a sentence what keeps it from that.

    Args:
        work: returns the exit code of a script that came to its end.
        interrupted: what to say of an interrupt.

    Returns:
        That code, or 1 where something could not be written, 2 where what was asked for is wrong,
        130 where it was interrupted.
    """
    with lasting_output():
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
        try:
            return work()
        except MkgcError as error:
            sys.stderr.write(f"{error}\n")
            return 1 if isinstance(error, OutputError) else 2
        except KeyboardInterrupt:
            sys.stderr.write(f"\n{interrupted}\n")
            return INTERRUPTED


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
    """Mistakes of ``--quick``, which is the synthetic stream and nothing else.

    Args:
        arguments: as parsed.
        scenario: the stream that would run; ``None`` where nothing names one.
    """
    if not arguments.quick or scenario in (None, "demo"):
        return []
    return [
        f"--quick is the synthetic stream, and the stream that is asked for is {scenario!r}; "
        f"leave out --quick to run on {scenario}, or what names {scenario} for the synthetic stream"
    ]


def empty_flags(arguments: argparse.Namespace) -> list[str]:
    """Flags that are given nothing, which is not what somebody meant whose variable is empty."""
    given = {flag: value for flag, value in vars(arguments).items() if flag != "overrides"}
    return [flag for flag, value in given.items() if _is_empty(value)]


def flag_problems(arguments: argparse.Namespace) -> list[str]:
    """Mistakes of single flags: those that are given nothing, and an ``--out`` that takes nothing.

    Args:
        arguments: as parsed.
    """
    empty = [flag.replace("_", "-") for flag in empty_flags(arguments)]
    found = [f"--{flag} is empty; give a value, or leave the flag out" for flag in empty]
    if out := getattr(arguments, "out", None):
        try:
            check_writable(out, room=1)  # the room that runs take is asked for when they are known
        except OutputError as error:
            found.append(f"--out {error}")
    return found


def _is_empty(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_empty, value))
    return isinstance(value, str) and not value.strip(", ")
