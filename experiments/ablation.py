"""The ablation of MSPT (Table 3): what each part of the method brings, on any of the streams.

    python experiments/ablation.py --quick                            the synthetic stream, 3 seeds
    python experiments/ablation.py --scenario imner --data DATA       real samples, blank images
    python experiments/ablation.py --config ablation-imner-paper --data DATA
    python experiments/ablation.py --seeds 0 --epochs 2 method.alpha=0.1
    python experiments/ablation.py --scenario imre --data DATA --orders sep5,sep10
    python experiments/ablation.py --systems full "w/o GM" "w/o GM (same rates)" "w/o GM (one rate)"

Runs that are finished are kept and not made again: the same command goes on where it was stopped.
One setting has one folder, <out>/<name>/<setting>: other seeds and systems join its tables.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mkgc_cl.config import keys, resolve
from mkgc_cl.errors import ConfigError
from mkgc_cl.experiments.ablation_plan import Plan, plan_orders
from mkgc_cl.experiments.ablation_run import run_plan
from mkgc_cl.experiments.command_line import (
    commands,
    empty_flags,
    exit_code,
    flag_problems,
    given_keys,
    given_scenario,
    given_values,
    program,
    quick_problems,
    teller,
)
from mkgc_cl.experiments.experiment_settings import (
    SYSTEMS,
    Settings,
    StreamSettings,
    config_path,
    with_order,
)
from mkgc_cl.experiments.settings_help import settings_help
from mkgc_cl.results.grid import GridResult
from mkgc_cl.results.provenance import environment

DEFAULT_CONFIGS = {"imner": "ablation-imner", "imre": "imre-sep10"}
FLAGS = {
    "scenario": "stream.scenario",
    "task": "stream.task",
    "data": "stream.data",
    "order": "stream.order",
    "missing_images": "stream.missing_images",
    "split": "stream.split",
    "seeds": "seeds",
    "systems": "systems",
    "epochs": "training.epochs",
    "text_encoder": "model.text",
    "vision_encoder": "model.vision",
    "device": "device",
}


def _nothing(plan: Plan, result: GridResult) -> str:
    return ""


@dataclass(frozen=True)
class Script:
    """A script with the flags and settings of the ablation.

    Args:
        file: its file under ``experiments/``.
        description: what it gives, with examples.
        rows: the rows it runs, whatever a file says; by default those of the settings.
        show: what it prints of an order after its tables.
    """

    file: str
    description: str
    rows: tuple[str, ...] = ()
    show: Callable[[Plan, GridResult], str] = _nothing


SCRIPT = Script("ablation.py", str(__doc__))


def main(argv: Sequence[str] | None = None, *, script: Script = SCRIPT) -> int:
    """Run the experiment.

    Returns:
        The exit code: 0 good, 1 a run failed or something could not be written, 2 wrong settings.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments = parse(argv, script)
    command = [*program(script.file).split(), *argv]
    return exit_code(lambda: run(settings_of_orders(arguments, script), arguments, command, script))


def run(
    variants: Sequence[Settings],
    arguments: argparse.Namespace,
    command: Sequence[str],
    script: Script,
) -> int:
    """Plan every order, then run every run that is not finished, order by order.

    Raises:
        ConfigError: naming every mistake that shows before a run trains.
        DataError: a stream cannot be read.
    """
    tell = teller(quiet=arguments.quiet)
    tell("reading the data")
    # Read before anything runs: the checkout may be at another commit when a long run ends.
    made_by = environment()
    code = 0
    for plan in plan_orders(variants, Path(arguments.out), tell):
        result = run_plan(
            plan, made_by, command=command, jobs=arguments.jobs, quiet=arguments.quiet
        )
        sys.stdout.write(script.show(plan, result))
        code = max(code, result.exit_code)
    return code


def settings_of(
    arguments: argparse.Namespace, *, order: str | None = None, script: Script = SCRIPT
) -> Settings:
    """Resolve defaults, YAML file, flags and overrides, in this order.

    Args:
        arguments: as parsed.
        order: of the stream, where it is one of ``--orders``.
        script: whose arguments they are.

    Raises:
        ConfigError: naming every mistake.
    """
    scenario = given_scenario(arguments)
    task = arguments.task or given_values(arguments).get("stream.task")
    demo = "ablation-demo-ner" if task == "ner" else "ablation-demo"
    default = DEFAULT_CONFIGS.get(scenario or "demo", demo)
    empty, wrong = empty_flags(arguments), flag_problems(arguments)
    flags = {key: getattr(arguments, flag) for flag, key in FLAGS.items() if flag not in empty}
    if order is not None:
        flags["stream.order"] = with_order(StreamSettings(), order).order
    if script.rows:
        flags["systems"] = script.rows
    try:
        settings = resolve(
            Settings,
            yaml_path=config_path(arguments.config or default),
            overrides=arguments.overrides,
            flags=flags,
        )
    except ConfigError as error:
        wrong += quick_problems(arguments, scenario)
        raise ConfigError([*wrong, *error.problems]) from error
    wrong += quick_problems(arguments, settings.stream.scenario)
    if wrong:
        raise ConfigError(wrong)
    return settings


def settings_of_orders(arguments: argparse.Namespace, script: Script = SCRIPT) -> list[Settings]:
    """Resolve the settings, once for every order that is asked for.

    Raises:
        ConfigError: naming every mistake.
    """
    given = given_keys(arguments, FLAGS)
    wrong: list[str] = []
    if script.rows and "systems" in given:
        wrong.append(
            f"'systems' is set by {script.file} itself, which runs {' and '.join(script.rows)}; "
            "leave it out, or run ablation.py for other rows"
        )
    orders: list[str | None] = [None]
    if arguments.orders is not None:
        named = [order.strip() for order in arguments.orders.split(",") if order.strip()]
        if len(set(named)) < len(named):
            wrong.append(f"--orders must name each once, got {arguments.orders!r}")
        if "stream.order" in given:
            what = "stream.order=" if arguments.order is None else "--order"
            wrong.append(f"{what} is one order and --orders are several; give one of the two")
        orders = [*named] or orders
    variants = []
    for order in orders:
        try:
            variants.append(settings_of(arguments, order=order, script=script))
        except ConfigError as error:
            wrong += error.problems
    if wrong:
        raise ConfigError(list(dict.fromkeys(wrong)))
    return variants


def parse(argv: Sequence[str], script: Script = SCRIPT) -> argparse.Namespace:
    """Read the command line; overrides may stand anywhere."""
    fields = keys(Settings)

    def text(flag: str) -> str:
        return str(fields[FLAGS[flag]].metadata["help"])

    parser = argparse.ArgumentParser(
        prog=program(script.file),
        description=commands(script.description),
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="any setting, see below")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="the synthetic stream, in minutes, as without --scenario",
    )
    parser.add_argument("--config", help="a known setting or a YAML file (default: by --scenario)")
    parser.add_argument("--scenario", choices=("demo", "imner", "imre"), help=text("scenario"))
    parser.add_argument("--task", choices=("ner", "re"), help=text("task"))
    parser.add_argument("--data", metavar="FOLDER", help=text("data"))
    parser.add_argument("--order", metavar="A-B-C", type=_dashed, help=text("order"))
    parser.add_argument("--orders", metavar="O,O", help="orders of the stream, a table each")
    parser.add_argument("--missing-images", choices=("error", "blank"), help=text("missing_images"))
    parser.add_argument("--split", choices=("test", "valid"), help=text("split"))
    parser.add_argument("--seeds", nargs="+", metavar="N", help=text("seeds"))
    rows = argparse.SUPPRESS if script.rows else f"of: {', '.join(SYSTEMS)}"
    parser.add_argument("--systems", nargs="+", metavar="S", help=rows)
    parser.add_argument("--epochs", type=int, help=text("epochs"))
    parser.add_argument("--text-encoder", metavar="NAME", help=text("text_encoder"))
    parser.add_argument("--vision-encoder", metavar="NAME", help=text("vision_encoder"))
    parser.add_argument("--device", help=text("device"))
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time (1)")
    parser.add_argument("--out", default="runs", metavar="FOLDER", help="where to write (runs)")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.epilog = settings_help(Settings)
    return _sorted_out(parser.parse_intermixed_args(argv))


def _sorted_out(arguments: argparse.Namespace) -> argparse.Namespace:
    """Give back what an option of several values took from the overrides behind it."""
    for name in ("seeds", "systems"):
        values = getattr(arguments, name)
        if values is not None:
            arguments.overrides += [value for value in values if "=" in value]
            setattr(arguments, name, ",".join(value for value in values if "=" not in value))
    return arguments


def _dashed(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.replace(",", "-").split("-") if part)


if __name__ == "__main__":
    sys.exit(main())
