"""The command line of every experiment, built from the settings, and what a script declares."""

from __future__ import annotations

import argparse
import difflib
import json
import logging
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mkgc_cl
from mkgc_cl import plain_yaml
from mkgc_cl.cluster import LAUNCHER_HELP, LAUNCHERS, launcher_problems
from mkgc_cl.config import keys
from mkgc_cl.errors import ConfigError, DataError, GroupError, MkgcError, OutputError
from mkgc_cl.experiments.checks import Tell
from mkgc_cl.experiments.interrupts import Terminated, signals_interrupt
from mkgc_cl.experiments.launch import ended, following, follows, hush, launch_problems, launched
from mkgc_cl.experiments.plan import Row
from mkgc_cl.experiments.run import Made, run_all
from mkgc_cl.experiments.settings import SCENARIOS, Settings, config_path, resolve_settings
from mkgc_cl.recipe_options import fitted_options
from mkgc_cl.results.lasting import lasting_output
from mkgc_cl.results.on_ray import RayLaunch
from mkgc_cl.results.writing import check_writable
from mkgc_cl.systems import SYSTEMS, load_installed, load_plugin, named, systems_of

GOES_ON = "interrupted; the same command goes on from here"
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
LISTS = ("systems", "seeds", "orders")
"""Flags that take several values, with commas or without."""
SECTIONS = ("stream", "encoders", "training", "checkpoint")


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
    command = [*program(script.file).split(), *argv]
    hush()
    if follows():
        return following(lambda: run(script, parse(script, argv), command))
    arguments = parse(script, argv)
    return ended(exit_code(lambda: run(script, arguments, command), together=True))


def run(script: Script, arguments: argparse.Namespace, command: Sequence[str]) -> int:
    """Resolve the settings and run them; return the exit code.

    Raises:
        MkgcError: what was asked for is wrong, or something cannot be written.
    """
    tell = teller(quiet=arguments.quiet)
    load_systems(arguments, tell)
    settings = settings_of(script, arguments)
    tell("reading the data")
    variants = script.variants(settings, arguments)
    with launching(arguments, settings.device) as launch:
        made = run_all(
            [each for variant in variants for each in variant.of_each_order()],
            script.known(),
            out=Path(arguments.out),
            command=command,
            tell=tell,
            plugins=arguments.plugin,
            jobs=arguments.jobs,
            quiet=arguments.quiet,
            launch=launch,
            show=script.show,
        )
    if follows():
        return 0
    if script.finish is not None:
        script.finish(made, arguments)
    elif len(made) > 1:
        from mkgc_cl.experiments.sweep import write_orders

        write_orders(made, Path(arguments.out) / settings.name)
    # a failure is the worse news
    return min(filter(None, (each.exit_code for each in made)), default=0)


def launching(
    arguments: argparse.Namespace, device: str
) -> AbstractContextManager[RayLaunch | None]:
    """Return what makes the runs where ``--launcher`` says: a cluster, or ``None`` for here."""
    if arguments.launcher == "local":
        return nullcontext()
    return RayLaunch(jobs=arguments.jobs, device=device)


def load_systems(arguments: argparse.Namespace, tell: Tell) -> None:
    """Make the systems of installed packages and of ``--plugin`` files known.

    Raises:
        ConfigError: a file cannot be loaded.
    """
    load_installed()
    for file in arguments.plugin:
        tell(f"loading {file}")
        load_plugin(file)


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
    flags = {key: _value(arguments, flag) for flag, key in FLAGS.items()}
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


def parse(script: Script, argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; overrides may stand anywhere."""
    fields = keys(Settings)

    def words(flag: str) -> str:
        key = FLAGS[flag]
        return argparse.SUPPRESS if key in script.own else str(fields[key].metadata["help"])

    parser = argparse.ArgumentParser(
        prog=program(script.file),
        description=commands(script.description),
        epilog=_settings_help(),
        formatter_class=argparse.RawTextHelpFormatter,
    )
    add = parser.add_argument
    add("overrides", nargs="*", metavar="key=value", help="any setting, see below")
    add("--quick", action="store_true", help="the synthetic stream, in minutes")
    add("--config", help="a known setting or a YAML file (default: by --scenario)")
    add("--scenario", choices=SCENARIOS, help=words("scenario"))
    add("--task", choices=("ner", "re"), help=words("task"))
    add("--data", metavar="PATH", help=words("data"))
    add("--missing-images", choices=("error", "blank"), help=words("missing_images"))
    add("--split", choices=("test", "valid"), help=words("split"))
    add("--systems", nargs="+", metavar="A", help=_systems_help(script, words("systems")))
    add("--seeds", nargs="+", metavar="N", help=words("seeds"))
    add("--orders", "--order", nargs="+", metavar="O", help=words("orders"))
    add("--exemplars", type=int, metavar="N", help=words("exemplars"))
    add("--reference", metavar="A", help=words("reference"))
    add("--epochs", type=int, help=words("epochs"))
    add("--text-encoder", metavar="NAME", help=words("text_encoder"))
    add("--vision-encoder", metavar="NAME", help=words("vision_encoder"))
    add("--device", help=words("device"))
    add("--plugin", action="append", default=[], metavar="FILE", help="Python file with systems")
    add("--jobs", type=int, default=1, metavar="N", help="runs at a time, on one machine (1)")
    add("--launcher", choices=LAUNCHERS, default="local", help=LAUNCHER_HELP)
    add("--out", default="runs", metavar="FOLDER", help="where to write (runs)")
    add("--quiet", action="store_true", help="no progress")
    script.more(parser)
    return sorted_out(parser.parse_intermixed_args(argv))


def sorted_out(arguments: argparse.Namespace) -> argparse.Namespace:
    """Give back what a flag of several values took from the overrides behind it."""
    for flag, values in vars(arguments).items():
        if flag != "overrides" and isinstance(values, list) and flag != "plugin":
            arguments.overrides += [text for text in values if "=" in str(text)]
            kept = [text for text in values if "=" not in str(text)]
            setattr(arguments, flag, [part for text in kept for part in str(text).split(",")])
    return arguments


def program(file: str) -> str:
    """The words that start a script: its path in a checkout, its name where there is none.

    Args:
        file: its file under ``experiments/``.
    """
    installed = Path(str(mkgc_cl.__file__)).parent in Path(__file__).parents
    return f"mkgc run {Path(file).stem}" if installed else f"python experiments/{file}"


def commands(text: str) -> str:
    """Return a description with the commands in it as they can be given here."""
    return re.sub(r"python experiments/([\w.]+)", lambda found: program(found[1]), text)


def teller(*, quiet: bool) -> Tell:
    """Return what says on standard error what is being done, or with ``quiet`` says nothing."""

    def tell(words: str) -> None:
        if not quiet:
            sys.stderr.write(f"{words}\n")
            sys.stderr.flush()

    return tell


def exit_code(
    work: Callable[[], int], *, interrupted: str = GOES_ON, together: bool = False
) -> int:
    """Do what a script is for; say in a sentence what keeps it from that.

    Args:
        work: returns the exit code of a script that came to its end.
        interrupted: what to say of an interrupt.
        together: whether processes of ``torchrun`` can do it together.

    Returns:
        That code, or 1 where something could not be written, 2 where what was asked for is wrong,
        128 + n where signal n ended it: 130 Ctrl-C, 143 TERM, 129 HUP.
    """
    with lasting_output():
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
        try:
            if launched() and not together:
                raise ConfigError(["torchrun: this command runs in one process; start it without"])
            with signals_interrupt():
                return work()
        except MkgcError as error:
            if not follows():  # all processes find the same
                sys.stderr.write(f"{error}\n")
            return 1 if isinstance(error, OutputError | GroupError) else 2
        except KeyboardInterrupt as error:
            sys.stderr.write(f"\n{interrupted}\n")
            return 128 + (error.number if isinstance(error, Terminated) else signal.SIGINT)


def flag_problems(arguments: argparse.Namespace) -> list[str]:
    """Mistakes of single flags: those that are given nothing, and an ``--out`` that takes nothing.

    Args:
        arguments: as parsed.
    """
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


def _value(arguments: argparse.Namespace, flag: str) -> object:
    """What a flag says of its setting; nothing where it is empty, which is told by itself."""
    value = getattr(arguments, flag, None)
    if _is_empty(value):
        return None
    return ",".join(filter(str.strip, value)) if isinstance(value, list) else value


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
        if system in ("model", "method"):
            wrong.append(f"override {text!r}: {key!r} is {_now(system, option)!r} now")
            continue
        try:
            system = named(system.strip("\"' "), known, "no system")
        except ConfigError as error:
            if _setting_like(system):
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


def _now(section: str, option: str) -> str:
    """What a setting of the ablation is called since its rows are MSPT with options."""
    if section == "model" and f"encoders.{option}" in keys(Settings):
        return f"encoders.{option}"
    return "MSPT.exemplars" if option == "memory_size" else f"MSPT.{option}"


def _setting_like(system: str) -> bool:
    """Whether what stands before the dot is nearer to a section of the settings than to a name."""
    return bool(difflib.get_close_matches(system, SECTIONS, n=1, cutoff=0.7))


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
    """Rows whose options name a budget, which would silently win over that of all.

    Args:
        settings: the settings.
        rows: the rows by name.
        why: what says that there is one of all.
    """
    return [
        f"{name}.exemplars is a budget of its own, and {why}; leave one of the two out"
        for name in dict.fromkeys(
            each for row in settings.systems for each in (row, rows[row].system)
        )
        if "exemplars" in ((settings.options or {}).get(name) or {})
    ]


def _systems_help(script: Script, words: str) -> str:
    if words == argparse.SUPPRESS or not script.rows:
        return words
    return f"{words}; also {', '.join(script.rows)}"


def _settings_help() -> str:
    """List the settings, each with its help text and default."""
    lines = [
        f"  {key:<26}{spec.metadata['help']}{_default(spec.default)}"
        for key, spec in keys(Settings).items()
    ]
    lines.append(f"  {'SYSTEM.option':<26}of one system, as in MSPT.alpha=0.1 (mkgc list options)")
    return "settings, their meaning and default:\n" + "\n".join(lines)


def _default(value: object) -> str:
    """The default as the command line takes it; what is nothing is in the words of the help."""
    if value is None or value == ():
        return ""
    if isinstance(value, tuple):
        return f" ({','.join(map(str, value))})"
    return f" ({str(value).lower() if isinstance(value, bool) else value})"
