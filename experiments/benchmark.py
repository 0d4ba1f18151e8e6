"""Speed: samples per second, where a step's time goes, memory, and the cost over a bare loop.

    python experiments/benchmark.py                                   the synthetic stream, tiny
    models python experiments/benchmark.py --scenario imner --data DATA      real samples, minilm +
    vit-384 python experiments/benchmark.py --threads 1 --json runs/benchmark.json
    python experiments/benchmark.py training.batch_size=2             any setting of the ablation
    python experiments/benchmark.py --systems all                     every system of the tables

Settings are those of the ablation on the same scenario, on a part of its samples. Three systems are
measured in paired rounds: the bare PyTorch loop, plain fine-tuning, and MSPT with all its plugins.
With --systems the systems of the tables are measured instead, once each, in the tables' settings.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mkgc_cl._files import write_atomic
from mkgc_cl.data.samples import LabelSpace, Sample, TaskStream
from mkgc_cl.errors import ConfigError
from mkgc_cl.experiments import table_cli
from mkgc_cl.experiments.ablation import FLAGS, settings_of
from mkgc_cl.experiments.command_line import Tell, commands, exit_code, program, teller
from mkgc_cl.experiments.experiment_run import device_of, read_stream
from mkgc_cl.experiments.experiment_settings import Settings, StreamSettings
from mkgc_cl.results.counted import counted
from mkgc_cl.results.json_files import to_json
from mkgc_cl.results.provenance import environment
from mkgc_cl.results.writing import check_writable, written_to


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print.

    Returns:
        The exit code: 0 good whatever the numbers, 1 a file could not be written, 2 wrong settings.
    """
    arguments = parse(sys.argv[1:] if argv is None else list(argv))
    return exit_code(lambda: run(arguments), interrupted="interrupted")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print.

    Raises:
        ConfigError: naming every mistake in the settings.
        DataError: the stream cannot be read.
        OutputError: the file cannot be written.
    """
    wrong = [
        f"--{name} is {value}; give 1 or more"
        for name in ("samples", "tasks", "rounds", "threads")
        if (value := getattr(arguments, name)) is not None and value < 1
    ]
    if wrong:
        raise ConfigError(wrong)
    file = Path(arguments.json) if arguments.json else None
    if file is not None:
        check_writable(file.parent)
    if arguments.systems is not None:  # the empty list is a mistake of its own
        report, text = measure_systems(arguments)
    else:
        report, text = measure(settings_of(arguments), arguments)
    sys.stdout.write(text)
    if file is not None:
        with written_to(file.parent):
            write_atomic(file, to_json(report))
        sys.stdout.write(f"written to {file}\n")
    return 0


def measure_systems(arguments: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Run the systems of the tables; return the report, all plain types, and its text."""
    tags = arguments.scenario == "imner" or arguments.task == "ner"
    kind = "imner" if tags else "imre"
    real = arguments.scenario in ("imner", "imre")
    config = f"table-{kind}" if real else f"table-{kind}-quick"
    script = table_cli.Script("benchmark.py", "", config=config, quick=config)
    if arguments.systems == "all":
        arguments.systems = None
    settings = table_cli.settings_of(script, arguments).of_each_order()[0]
    stream, tell = read(settings.stream, settings.encoders.images, arguments)
    import torch

    from mkgc_cl.experiments.benchmark_catalogue import system_costs, text_of_costs

    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    costs = system_costs(settings, stream, tell=tell)
    title = (
        f"{settings.scenario}, {len(stream.tasks)} tasks of at most {arguments.samples} samples, "
        f"{counted(settings.training.epochs, 'epoch')}, batch {settings.training.batch_size}, "
        f"encoders {settings.encoders.text} + {settings.encoders.vision}, "
        f"{counted(torch.get_num_threads(), 'thread')}"
    )
    return {"title": title, "systems": costs, "provenance": environment()}, text_of_costs(
        costs, title=title
    )


def measure(settings: Settings, arguments: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Run everything; return the report, all plain types, and its text."""
    stream, tell = read(settings.stream, settings.model.images, arguments)
    import torch

    from mkgc_cl.experiments.benchmark_flags import flag_table
    from mkgc_cl.experiments.benchmark_rounds import peaks, run_rounds
    from mkgc_cl.experiments.benchmark_summary import ratios, summarise
    from mkgc_cl.experiments.benchmark_systems import Bench, systems
    from mkgc_cl.experiments.benchmark_text import text_of
    from mkgc_cl.models import DualStreamModel
    from mkgc_cl.scenarios import make_benchmark

    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    load = [os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0]
    model = DualStreamModel.build(stream.labels, **vars(settings.model))
    device = torch.device(device_of(settings.device))
    bench = Bench(settings, make_benchmark(stream), model, device)
    memory = peaks(bench, systems, tell=tell)
    rounds = run_rounds(bench, systems(bench), rounds=arguments.rounds, tell=tell)
    flags = flag_table(bench, rounds=arguments.rounds, tell=tell)
    load.append(os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0)
    report = {
        "setting": {
            "scenario": settings.scenario,
            "order": settings.order,
            "tasks": len(stream.tasks),
            "samples": arguments.samples,
            "epochs": settings.training.epochs,
            "replay_schedule": settings.method.replay_schedule,
            "memory_epochs": settings.method.memory_epochs,
            "batch_size": settings.training.batch_size,
            "text": settings.model.text,
            "vision": settings.model.vision,
            "images": image_words(stream),
            "rounds": arguments.rounds,
        },
        "machine": {
            "device": str(device),
            "processor": processor(),
            "cpus": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "load": load,
            "matrix_product_flops": statistics.median(rounds.products),
        },
        "systems": summarise(model, rounds, memory),
        "ratios": ratios(rounds, settings.training.epochs),
        "same_weights": rounds.same_weights,
        "flags": flags,
        "provenance": environment() | {"stream": stream.provenance},
    }
    return report, text_of(report)


def read(
    settings: StreamSettings, images: str, arguments: argparse.Namespace
) -> tuple[TaskStream, Tell]:
    """Read the part of the stream that is measured on, before anything slow is imported.

    Returns:
        The stream, and what says how far the measurement is.

    Raises:
        DataError: it cannot be read.
    """
    tell = teller(quiet=arguments.quiet)
    tell("reading the data")
    whole = read_stream(settings, images)
    tell("loading PyTorch and Avalanche")
    return smaller(whole, per_split=arguments.samples, tasks=arguments.tasks), tell


def smaller(stream: TaskStream, *, per_split: int, tasks: int | None) -> TaskStream:
    """Return the first tasks with at most ``per_split`` samples of each split, spread out."""

    def part(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
        count = min(per_split, len(samples))
        return tuple(samples[index * len(samples) // count] for index in range(count))

    kept = [
        dataclasses.replace(
            task, train=part(task.train), valid=part(task.valid), test=part(task.test)
        )
        for task in stream.tasks[:tasks]
    ]
    classes = [name for task in kept for name in task.classes]
    labels = LabelSpace(
        stream.labels.kind,
        tuple(name for name in stream.labels.classes if name in classes),
        na=stream.labels.na,
    )
    return dataclasses.replace(stream, labels=labels, tasks=tuple(kept))


def image_words(stream: TaskStream) -> str:
    """How many images there are: blank ones cost next to nothing, as they are all the same."""
    keys = [sample.visual.key for task in stream.tasks for sample in task.train]
    return f"{len(set(keys))} different on {len(keys)} samples"


def processor() -> str:
    """Name of the processor, as well as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; overrides may stand anywhere."""
    parser = argparse.ArgumentParser(
        prog=program("benchmark.py"),
        description=commands(str(__doc__)),
        formatter_class=argparse.RawTextHelpFormatter,
    )
    add = parser.add_argument
    add("overrides", nargs="*", metavar="key=value", help="any setting of ablation.py --help")
    add("--quick", action="store_true", help="the synthetic stream, as without --scenario")
    add("--scenario", choices=("demo", "imner", "imre"), help="which stream (demo)")
    add("--task", choices=("ner", "re"), help="of the synthetic stream: tagging or relations")
    add("--data", metavar="FOLDER", help="folder with MRE/ and MNER/; MKGC_DATA by default")
    add("--missing-images", choices=("error", "blank"), help="where an image is not there")
    add("--text-encoder", metavar="NAME", help="tiny, minilm, a hub name or a folder")
    add("--vision-encoder", metavar="NAME", help="tiny, vit-384, a timm name or a folder")
    add("--systems", metavar="A,B", help="systems of the tables instead: all, or their names")
    add("--samples", type=int, default=128, help="most samples of a task and split (128)")
    add("--tasks", type=int, help="most tasks (all)")
    add("--epochs", type=int, default=2, help="epochs per task (2)")
    add("--rounds", type=int, default=4, help="paired rounds, best an even number (4)")
    add("--threads", type=int, help="threads of torch (its default)")
    add("--device", help="a torch device; auto takes a GPU where there is one (auto)")
    add("--config", help="a known setting of the ablation or a YAML file")
    add("--json", metavar="FILE", help="write every number there")
    add("--quiet", action="store_true", help="no progress")
    arguments = parser.parse_intermixed_args(argv)
    for flag in (*FLAGS, "orders", "exemplars", "reference"):
        if not hasattr(arguments, flag):
            setattr(arguments, flag, None)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
