"""The command line of every experiment, built from the settings, and what a script declares."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from mkgc_cl.cluster import LAUNCHER_HELP, LAUNCHERS
from mkgc_cl.config import keys
from mkgc_cl.experiments.pipeline.console import Tell, commands, exit_code, program, teller
from mkgc_cl.experiments.pipeline.flags import FLAGS, add_flags, parsed
from mkgc_cl.experiments.pipeline.given import settings_of
from mkgc_cl.experiments.pipeline.launch import ended, following, follows, hush
from mkgc_cl.experiments.pipeline.plan import Row
from mkgc_cl.experiments.pipeline.run import Execution, Made, run_all
from mkgc_cl.experiments.pipeline.settings import Settings
from mkgc_cl.runs.on_ray import RayLaunch
from mkgc_cl.systems import SYSTEMS, load_installed, load_plugin


@dataclass(frozen=True)
class Script:
    """One experiment: what it runs and what it makes of it.

    Args:
        file: its file under ``experiments/``.
        description: what it gives, with examples.
        configs: its settings by scenario, that of ``scenario`` among them.
        scenario: the stream where nothing names one, ``"demo-re"`` or ``"imre"``.
        rows: rows that are more than a system, by name; every system is a row, too.
        default: rows where nothing names any; by default every system of the task.
        reference: the row that the others are compared with.
        more: adds flags of its own.
        own: settings that the script gives itself, each with the words for whoever gives one on
            the command line; what a file says of them is left aside.
        check: names mistakes that are the script's own, from the settings, the arguments and the
            keys of the settings that the command line gives.
        variants: the settings of every column of a sweep; by default one, these settings.
        show: what to print of an order after its tables.
        finish: what to write of all of them together.
    """

    file: str
    description: str
    configs: Mapping[str, str]
    scenario: str
    rows: Mapping[str, Row] = field(default_factory=dict)
    default: tuple[str, ...] = ()
    reference: str = "MSPT"
    more: Callable[[argparse.ArgumentParser], object] = lambda parser: None
    own: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[Settings, argparse.Namespace, Set[str]], Sequence[str]] = (
        lambda settings, arguments, given: ()
    )
    variants: Callable[[Settings, argparse.Namespace], Sequence[Settings]] = (
        lambda settings, arguments: [settings]
    )
    show: Callable[[Made], str] = lambda made: ""
    finish: Callable[[Sequence[Made], argparse.Namespace], object] | None = None

    def known(self) -> dict[str, Row]:
        """Every row that can be asked for, by name."""
        return {name: Row(name) for name in SYSTEMS} | dict(self.rows)


def main(script: Script, argv: Sequence[str] | None = None) -> int:
    """Run a script.

    Returns:
        The exit code: 0 good, 1 a run failed or something could not be written, 2 wrong settings,
        3 another process still computes some of the runs, 128 + n ended by signal n.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    command = (*program(script.file).split(), *argv)
    hush()
    if follows():
        return following(lambda: run(script, parse(script, argv), command))
    arguments = parse(script, argv)
    return ended(exit_code(lambda: run(script, arguments, command), together=True))


def run(script: Script, arguments: argparse.Namespace, command: tuple[str, ...]) -> int:
    """Resolve the settings and run them; return the exit code.

    Raises:
        MkgcError: what was asked for is wrong, or something cannot be written.
    """
    tell = teller(quiet=arguments.quiet)
    load_systems(arguments, tell)
    settings = settings_of(script, arguments)
    tell("reading the data")
    variants = script.variants(settings, arguments)
    out, jobs = Path(arguments.out), arguments.jobs
    with ExitStack() as stack:
        launch = None
        if arguments.launcher == "ray":
            launch = stack.enter_context(RayLaunch(jobs=jobs, device=settings.device))
        made = run_all(
            [each for variant in variants for each in variant.of_each_order()],
            script.known(),
            out,
            Execution(command, tuple(arguments.plugin), jobs, arguments.quiet, launch),
            tell=tell,
            show=script.show,
        )
    if follows():
        return 0
    if script.finish is not None:
        script.finish(made, arguments)
    elif len(made) > 1:
        from mkgc_cl.experiments.pipeline.sweep import write_orders

        write_orders(made, out / settings.name)
    # a failure is the worse news
    return min(filter(None, (each.exit_code for each in made)), default=0)


def load_systems(arguments: argparse.Namespace, tell: Tell) -> None:
    """Make the systems of installed packages and of ``--plugin`` files known.

    Raises:
        ConfigError: a file cannot be loaded.
    """
    load_installed()
    for file in arguments.plugin:
        tell(f"loading {file}")
        load_plugin(file)


def parse(script: Script, argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; overrides may stand anywhere."""
    parser = argparse.ArgumentParser(
        prog=program(script.file),
        description=commands(script.description),
        epilog=_settings_help(),
        formatter_class=argparse.RawTextHelpFormatter,
    )
    words = {flag: argparse.SUPPRESS for flag, key in FLAGS.items() if key in script.own}
    if script.rows and "systems" not in words:
        said = keys(Settings)["systems"].metadata["help"]
        words["systems"] = f"{said}; also {', '.join(script.rows)}"
    add_flags(parser, **words)
    add = parser.add_argument
    add("--jobs", type=int, default=1, metavar="N", help="runs at a time, on one machine (1)")
    add("--launcher", choices=LAUNCHERS, default="local", help=LAUNCHER_HELP)
    add("--out", default="runs", metavar="FOLDER", help="where to write (runs)")
    script.more(parser)
    return parsed(parser, argv)


def _settings_help() -> str:
    """List the settings, each with its help text and default."""
    said = {
        key: f"{spec.metadata['help']}{_default(spec.default)}"
        for key, spec in keys(Settings).items()
    }
    said["SYSTEM.option"] = "of one system, as in MSPT.alpha=0.1 (mkgc list options)"
    width = max(map(len, said)) + 2
    lines = (f"  {key:<{width}}{text}" for key, text in said.items())
    return "settings, their meaning and default:\n" + "\n".join(lines)


def _default(value: object) -> str:
    """The default as the command line takes it; what is nothing is in the words of the help."""
    if value is None or value == ():
        return ""
    if isinstance(value, tuple):
        return f" ({','.join(map(str, value))})"
    return f" ({str(value).lower() if isinstance(value, bool) else value})"
