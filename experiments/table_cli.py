"""The command line that the scripts of tables share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from mkgc_cl.config import keys, resolve
from mkgc_cl.errors import ConfigError
from mkgc_cl.experiments.command_line import (
    commands,
    empty_flags,
    exit_code,
    flag_problems,
    given_keys,
    given_scenario,
    program,
    quick_problems,
    teller,
)
from mkgc_cl.experiments.experiment_settings import config_path
from mkgc_cl.experiments.settings_help import settings_help
from mkgc_cl.experiments.table_orders import write_orders
from mkgc_cl.experiments.table_run import Made, run_tables
from mkgc_cl.experiments.table_settings import TableSettings

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


@dataclass(frozen=True)
class Script:
    """One script of a table or figure.

    Args:
        file: its file under ``experiments/``.
        description: what it gives, with examples.
        config: its setting.
        quick: its setting for ``--quick``: the synthetic stream, in minutes.
        more: adds flags of its own.
        own: settings that the script gives itself, each with the words for whoever gives one on
            the command line; what a file says of them is left aside.
        check: names mistakes that are the script's own, from the settings, the arguments and the
            keys of the settings that the command line gives.
    """

    file: str
    description: str
    config: str
    quick: str
    more: Callable[[argparse.ArgumentParser], object] = lambda parser: None
    own: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[TableSettings, argparse.Namespace, Set[str]], Sequence[str]] = (
        lambda settings, arguments, given: ()
    )


def run_orders(
    settings: TableSettings, arguments: argparse.Namespace, command: Sequence[str]
) -> list[Made]:
    """Run the table of every order, and where there are several write one over all of them."""
    made = run_variants([settings], arguments, command)
    if len(made) > 1:
        write_orders(made, Path(arguments.out) / settings.name)
    return made


def run_variants(
    variants: Sequence[TableSettings], arguments: argparse.Namespace, command: Sequence[str]
) -> list[Made]:
    """Run the table of every order of every variant; all are checked before the first begins."""
    return run_tables(
        [each for settings in variants for each in settings.of_each_order()],
        out=Path(arguments.out),
        command=command,
        jobs=arguments.jobs,
        quiet=arguments.quiet,
    )


Run = Callable[[TableSettings, argparse.Namespace, Sequence[str]], list[Made]]


def main(script: Script, argv: Sequence[str] | None = None, *, run: Run = run_orders) -> int:
    """Run a script.

    Returns:
        The exit code: 0 good, 1 a run failed or something could not be written, 2 wrong settings.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments = parse(script, argv)

    def work() -> int:
        settings = settings_of(script, arguments)
        teller(quiet=arguments.quiet)("reading the data")
        made = run(settings, arguments, [*program(script.file).split(), *argv])
        return int(any(each.failed for each in made))

    return exit_code(work)


def settings_of(script: Script, arguments: argparse.Namespace) -> TableSettings:
    """Resolve defaults, YAML file, flags and overrides, in this order.

    Raises:
        ConfigError: naming every mistake.
    """
    empty, wrong = empty_flags(arguments), flag_problems(arguments)
    given = given_keys(arguments, FLAGS)
    wrong += [
        f"{key!r} is set by {script.file} itself; {words}"
        for key, words in script.own.items()
        if key in given
    ]
    flags = {key: getattr(arguments, flag) for flag, key in FLAGS.items() if flag not in empty}
    flags.update({key: keys(TableSettings)[key].default for key in script.own})
    default = script.quick if arguments.quick else script.config
    try:
        settings = resolve(
            TableSettings,
            yaml_path=config_path(arguments.config or default),
            overrides=arguments.overrides,
            flags=flags,
        )
    except ConfigError as error:
        wrong += quick_problems(arguments, given_scenario(arguments))
        raise ConfigError([*wrong, *error.problems]) from error
    wrong += quick_problems(arguments, settings.stream.scenario)
    if settings.orders and "stream.order" in given:
        orders = ",".join(settings.orders)
        wrong.append(
            f"'stream.order' gives way to 'orders', {orders}; give orders=... in its place"
        )
    wrong += script.check(settings, arguments, given)
    if wrong:
        raise ConfigError(wrong)
    return settings


def parse(script: Script, argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; overrides may stand anywhere."""
    fields = keys(TableSettings)

    def text(flag: str) -> str:
        return str(fields[FLAGS[flag]].metadata["help"])

    parser = argparse.ArgumentParser(
        prog=program(script.file),
        description=commands(script.description),
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="any setting, see below")
    parser.add_argument("--quick", action="store_true", help="the synthetic stream, in minutes")
    parser.add_argument("--config", help="a known setting or a YAML file")
    parser.add_argument("--scenario", choices=("demo", "imner", "imre"), help=text("scenario"))
    parser.add_argument("--task", choices=("ner", "re"), help=text("task"))
    parser.add_argument("--data", metavar="FOLDER", help=text("data"))
    parser.add_argument("--missing-images", choices=("error", "blank"), help=text("missing_images"))
    parser.add_argument("--split", choices=("test", "valid"), help=text("split"))
    parser.add_argument("--systems", metavar="A,B", help=text("systems"))
    parser.add_argument("--seeds", metavar="N,N", help=text("seeds"))
    parser.add_argument("--orders", metavar="O,O", help=text("orders"))
    parser.add_argument("--exemplars", type=int, metavar="N", help=text("exemplars"))
    parser.add_argument("--reference", metavar="A", help=text("reference"))
    parser.add_argument("--epochs", type=int, help=text("epochs"))
    parser.add_argument("--text-encoder", metavar="NAME", help=text("text_encoder"))
    parser.add_argument("--vision-encoder", metavar="NAME", help=text("vision_encoder"))
    parser.add_argument("--device", help=text("device"))
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time (1)")
    parser.add_argument("--out", default="runs", metavar="FOLDER", help="where to write (runs)")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    script.more(parser)
    parser.epilog = settings_help(TableSettings)
    return parser.parse_intermixed_args(argv)
