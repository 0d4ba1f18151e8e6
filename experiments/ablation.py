"""The ablation of MSPT (Table 3): what each part of the method brings, on any of the streams.

    python experiments/ablation.py                                    the demonstration, 3 seeds
    python experiments/ablation.py --scenario imner --data DATA       real posts, blank images
    python experiments/ablation.py --config ablation-imner-paper --data DATA
    python experiments/ablation.py --seeds 0 --epochs 2 method.alpha=0.1
    python experiments/ablation.py --scenario imre --data DATA --orders sep5,sep10

Runs that are finished are kept and not made again: the same command goes on where it was stopped.
One setting has one folder, <out>/<name>/<order>-<digest>: other seeds and systems join its tables.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiment_run import device_of, record_of, run_cells, stream_of
from experiment_settings import SYSTEMS, Settings, config_path, with_order
from settings_help import settings_help

from mkgc_cl.config import keys, resolve
from mkgc_cl.data.provenance import content_fingerprint
from mkgc_cl.errors import ConfigError, MkgcError
from mkgc_cl.results import Cell, CellRecord
from mkgc_cl.results.grid import GridResult, load_cell
from mkgc_cl.results.progress import Progress
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
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment; return the exit code (0 good, 1 a cell failed, 2 wrong settings)."""
    argv = sys.argv[1:] if argv is None else list(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    arguments = parse(argv)
    try:
        return run(settings_of_orders(arguments), arguments, argv)
    except MkgcError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; the same command goes on from here\n")
        return INTERRUPTED


def run(variants: Sequence[Settings], arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    """Run every cell that is not finished, then write and print everything."""
    command = ["python", "experiments/ablation.py", *argv]
    made = [execute(settings, arguments, command) for settings in variants]
    return max(result.exit_code for _, result in made)


def execute(
    settings: Settings, arguments: argparse.Namespace, command: Sequence[str]
) -> tuple[Path, GridResult]:
    """Run what :func:`run` runs of one order; return the folder and what is in it.

    Raises:
        ConfigError: the device does not work, and a cell is left that needs it.
    """
    from experiment_report import write_report, write_setup

    # Read before anything runs: the checkout may be at another commit when a long cell ends.
    made_by = environment()
    # Once and first: a wrong data root is one message and not one a cell, and what the stream holds
    # is part of what makes two cells the same.
    benchmark = build_stream(settings)
    config = {
        **settings.cell_config(),
        "stream_fingerprint": content_fingerprint(benchmark.stream),
    }
    # Seed by seed, so that an early look at an unfinished grid has every row; tables go by system.
    cells = [
        Cell(system, settings.scenario, settings.order, seed, config)
        for seed in settings.seeds
        for system in settings.systems
    ]
    # One folder a setting: other seeds and systems join its tables, another order does not.
    out = Path(arguments.out) / settings.name / cells[0].setting
    if any(load_cell(out, cell) is None for cell in cells):
        device_of(settings.device)
    write_setup(out, settings, made_by, command=command)
    return out, run_cells(
        cells,
        CellRunner(settings, made_by),
        out=out,
        quiet=arguments.quiet,
        jobs=arguments.jobs,
        report=lambda records: write_report(out, settings, records),
    )


@dataclass(frozen=True)
class CellRunner:
    """Makes the record of a cell, in any process.

    Args:
        settings: the settings.
        made_by: environment and state of the source.
    """

    settings: Settings
    made_by: Mapping[str, object]

    def __call__(self, cell: Cell, progress: Progress) -> CellRecord:
        """Run a cell."""
        benchmark = build_stream(self.settings)
        return run_cell(self.settings, benchmark, cell, progress, self.made_by)


def run_cell(
    settings: Settings,
    benchmark: Any,
    cell: Cell,
    progress: Progress,
    made_by: Mapping[str, object],
) -> CellRecord:
    """Train and evaluate one system with one seed over the whole stream.

    With :func:`build_stream` the place where this script meets models, scenarios and strategies.
    """
    from mkgc_cl.models import DualStreamModel
    from mkgc_cl.strategies import mspt

    parts = SYSTEMS[cell.system]  # type: ignore[index]
    config: Mapping[str, Any] = cell.config
    device = device_of(settings.device)

    def build() -> Any:
        model = DualStreamModel.build(
            benchmark.stream.labels,
            interaction="shared-key" if parts.interaction else "self",
            seed=cell.seed,
            **config["model"],
        )
        return mspt(
            model,
            distillation=parts.distillation,
            modulation=parts.modulation,
            memory=parts.memory,
            device=device,
            seed=cell.seed,
            **config["training"],
            **config["method"],
        )

    return record_of(
        cell,
        build,
        benchmark,
        split=settings.stream.split,
        device=device,
        made_by=made_by,
        progress=progress,
    )


def build_stream(settings: Settings) -> Any:
    """Build the Avalanche benchmark of the settings."""
    return stream_of(settings.stream, settings.model.images)


def settings_of(arguments: argparse.Namespace) -> Settings:
    """Resolve defaults, YAML file, flags and overrides, in this order.

    Raises:
        ConfigError: naming every mistake.
    """
    given = dict(text.partition("=")[::2] for text in arguments.overrides)
    scenario = arguments.scenario or given.get("stream.scenario") or "demo"
    task = arguments.task or given.get("stream.task")
    demo = "ablation-demo-ner" if task == "ner" else "ablation-demo"
    default = DEFAULT_CONFIGS.get(scenario, demo)
    flags = {key: getattr(arguments, flag) for flag, key in FLAGS.items()}
    return resolve(
        Settings,
        yaml_path=config_path(arguments.config or default),
        overrides=arguments.overrides,
        flags=flags,
    )


def settings_of_orders(arguments: argparse.Namespace) -> list[Settings]:
    """Resolve the settings, once for every order that is asked for.

    Raises:
        ConfigError: naming every mistake.
    """
    if arguments.orders is None:
        return [settings_of(arguments)]
    wrong = []
    orders = [order.strip() for order in arguments.orders.split(",") if order.strip()]
    if len(set(orders)) < len(orders) or not orders:
        wrong.append(f"--orders must name at least one, and each once, got {arguments.orders!r}")
    if arguments.order is not None:
        wrong.append("--order is one of --orders; give one of the two flags")
    settings = settings_of(arguments)
    variants = [replace(settings, stream=with_order(settings.stream, each)) for each in orders]
    wrong += [problem for each in variants for problem in each.problems()]
    if wrong:
        raise ConfigError(list(dict.fromkeys(wrong)))
    return variants


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; overrides may stand anywhere."""
    fields = keys(Settings)

    def text(flag: str) -> str:
        return str(fields[FLAGS[flag]].metadata["help"])

    parser = argparse.ArgumentParser(
        prog="ablation.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="any setting, see below")
    parser.add_argument("--config", help="a known setting or a YAML file (default: by --scenario)")
    parser.add_argument("--scenario", choices=("demo", "imner", "imre"), help=text("scenario"))
    parser.add_argument("--task", choices=("ner", "re"), help=text("task"))
    parser.add_argument("--data", metavar="FOLDER", help=text("data"))
    parser.add_argument("--order", metavar="A-B-C", type=_dashed, help=text("order"))
    parser.add_argument("--orders", metavar="O,O", help="orders of the stream, a table each")
    parser.add_argument("--missing-images", choices=("error", "blank"), help=text("missing_images"))
    parser.add_argument("--split", choices=("test", "valid"), help=text("split"))
    parser.add_argument("--seeds", nargs="+", metavar="N", help=text("seeds"))
    parser.add_argument("--systems", nargs="+", metavar="S", help=f"of: {', '.join(SYSTEMS)}")
    parser.add_argument("--epochs", type=int, help=text("epochs"))
    parser.add_argument("--text-encoder", metavar="NAME", help=text("text_encoder"))
    parser.add_argument("--vision-encoder", metavar="NAME", help=text("vision_encoder"))
    parser.add_argument("--device", help=text("device"))
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="cells at a time (1)")
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
