"""Speed: samples per second, where a step's time goes, memory, and the cost over a bare loop.

    python experiments/speed                                   the synthetic stream, tiny models
    python experiments/speed --scenario imner --data DATA      real samples, minilm + vit-384
    python experiments/speed --threads 1 --json runs/speed.json
    python experiments/speed training.batch_size=2             any setting of the ablation
    python experiments/speed --systems all                     every system of the tables
    python experiments/speed --closed-form                     Gaussian readouts by size
    python experiments/speed --extractor --task ner            tagging beside the encoder alone
    python experiments/speed --graph 1000000                   a knowledge graph as it grows
    python experiments/speed --serve minilm                    a server beside its encoder

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
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkgc_cl._files import write_atomic
from mkgc_cl.data.samples import LabelSpace, Sample, TaskStream
from mkgc_cl.errors import ConfigError
from mkgc_cl.experiments.checks import Tell, device_of
from mkgc_cl.experiments.cli import (
    FLAGS,
    commands,
    exit_code,
    load_systems,
    program,
    settings_of,
    sorted_out,
    teller,
)
from mkgc_cl.experiments.settings import SCENARIOS, StreamSettings
from mkgc_cl.experiments.streams import read_stream
from mkgc_cl.results.counted import counted
from mkgc_cl.results.json_files import to_json
from mkgc_cl.results.provenance import environment
from mkgc_cl.results.writing import check_writable, written_to

if TYPE_CHECKING:
    from mkgc_cl.experiments.speed.systems import System


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
        for name in ("samples", "tasks", "rounds", "threads", "graph")
        if (value := getattr(arguments, name)) is not None and value < 1
    ]
    if wrong:
        raise ConfigError(wrong)
    file = Path(arguments.json) if arguments.json else None
    if file is not None:
        check_writable(file.parent)
    if arguments.closed_form:
        from mkgc_cl.experiments.speed.closed_form import closed_form_text, measure_closed_form

        sizes = measure_closed_form()
        report: dict[str, Any] = {"closed_form": sizes}
        text = closed_form_text(sizes)
    elif arguments.extractor:
        report, text = measure_tagging(arguments)
    elif arguments.graph is not None:
        from mkgc_cl.experiments.speed.graph import graph_text, measure_graph

        tell = teller(quiet=arguments.quiet)
        with tempfile.TemporaryDirectory() as folder:
            report = dict(measure_graph(arguments.graph, Path(folder), tell=tell))
        text = graph_text(report)
        report |= {"provenance": environment()}
    elif arguments.serve is not None:
        from mkgc_cl.experiments.speed.serving import measure_serving, serving_text

        tell = teller(quiet=arguments.quiet)
        with tempfile.TemporaryDirectory() as folder:
            served = measure_serving(arguments.serve, Path(folder) / "extractor", tell=tell)
        report = {"serving": served, "provenance": environment()}
        text = serving_text(served)
    else:
        load_systems(arguments, teller(quiet=arguments.quiet))
        measured = measure if arguments.systems is None else measure_systems
        report, text = measured(arguments)
    sys.stdout.write(text)
    if file is not None:
        with written_to(file.parent):
            write_atomic(file, to_json(report))
        sys.stdout.write(f"written to {file}\n")
    return 0


def measure_tagging(arguments: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Measure an extractor; return the report, all plain types, and its text."""
    from mkgc_cl.experiments import ablation
    from mkgc_cl.experiments.speed.extractor import measure_extractor

    script = dataclasses.replace(ablation.SCRIPT, file="speed")
    settings = settings_of(script, arguments).of_each_order()[0]
    stream, _ = read(settings.stream, settings.encoders.images, arguments)
    return measure_extractor(stream, encoder=settings.encoders.text, threads=arguments.threads)


def measure_systems(arguments: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Run the systems of the tables; return the report, all plain types, and its text."""
    from mkgc_cl.experiments import imre

    script = dataclasses.replace(imre.SCRIPT, file="speed", scenario="demo-re")
    if [name.lower() for name in arguments.systems] == ["all"]:
        arguments.systems = None
    settings = settings_of(script, arguments).of_each_order()[0]
    stream, tell = read(settings.stream, settings.encoders.images, arguments)
    import torch

    from mkgc_cl.experiments.speed.costs import system_costs, text_of_costs

    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    costs = system_costs(settings, script.known(), stream, tell=tell)
    title = (
        f"{settings.scenario}, {len(stream.tasks)} tasks of at most {arguments.samples} samples, "
        f"{counted(settings.training.epochs, 'epoch')}, batch {settings.training.batch_size}, "
        f"encoders {settings.encoders.text} + {settings.encoders.vision}, "
        f"{counted(torch.get_num_threads(), 'thread')}"
    )
    return {"title": title, "systems": costs, "provenance": environment()}, text_of_costs(
        costs, title=title
    )


def measure(arguments: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Run everything; return the report, all plain types, and its text."""
    from mkgc_cl.experiments import ablation

    script = dataclasses.replace(ablation.SCRIPT, file="speed")
    settings = settings_of(script, arguments).of_each_order()[0]
    stream, tell = read(settings.stream, settings.encoders.images, arguments)
    import torch

    from mkgc_cl.experiments.plan import Row
    from mkgc_cl.experiments.run import build_row
    from mkgc_cl.experiments.speed import rounds as measuring
    from mkgc_cl.experiments.speed.summary import flags, ratios, summarise
    from mkgc_cl.experiments.speed.systems import BARE, FINE_TUNING, MSPT, Bench, systems
    from mkgc_cl.experiments.speed.text import text_of
    from mkgc_cl.scenarios import make_benchmark

    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    load, rounds = [_load()], arguments.rounds
    device = torch.device(device_of(settings.device))
    options = (settings.options or {}).get(MSPT, {})
    model = build_row(Row(MSPT), options, stream.labels, settings, "cpu").network
    bench = Bench(settings, make_benchmark(stream), model, device)
    memory = measuring.peaks(bench, systems, tell=tell)
    makers, products, same = systems(bench), [measuring.matrix_product(device)], []

    def done(made: Mapping[str, System]) -> None:
        same.append(measuring.same_weights(made[BARE], made[FINE_TUNING]))
        products.append(measuring.matrix_product(device))

    runs = measuring.take_turns(makers, tasks=bench.tasks, rounds=rounds, tell=tell, done=done)
    product, found = statistics.median(products), {}
    for name, make in makers.items():
        tell(f"operations: {name}")
        operations = measuring.operations_per_sample(make(), min(measuring.FEW_TASKS, bench.tasks))
        found[name] = summarise(runs[name], operations=operations, product=product)
        found[name]["memory_mb"] = memory[name]
    off = flags(measuring.optimisations_off(bench, rounds=rounds, tell=tell))
    load.append(_load())
    report = {
        "setting": {
            "scenario": settings.scenario,
            "order": settings.order,
            "tasks": len(stream.tasks),
            "samples": arguments.samples,
            "epochs": settings.training.epochs,
            "replay_schedule": options.get("replay_schedule", "after"),
            "memory_epochs": options.get("memory_epochs"),
            "batch_size": settings.training.batch_size,
            "text": settings.encoders.text,
            "vision": settings.encoders.vision,
            "images": image_words(stream),
            "rounds": rounds,
        },
        "machine": {
            "device": str(device),
            "processor": processor(),
            "cpus": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "load": load,
            "matrix_product_flops": product,
        },
        "systems": found,
        "ratios": ratios(runs, settings.training.epochs),
        "same_weights": all(same),
        "flags": off,
        "provenance": environment() | {"stream": stream.provenance},
    }
    return report, text_of(report)


def _load() -> float:
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


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
        prog=program("speed"),
        description=commands(str(__doc__)),
        formatter_class=argparse.RawTextHelpFormatter,
    )
    add = parser.add_argument
    add("overrides", nargs="*", metavar="key=value", help="any setting of imre.py --help")
    add("--quick", action="store_true", help="the synthetic stream, as without --scenario")
    add("--scenario", choices=SCENARIOS, help="which stream (demo)")
    add("--task", choices=("ner", "re"), help="of the synthetic stream: tagging or relations")
    add("--data", metavar="PATH", help="folder with MRE/ and MNER/; files: the YAML file")
    add("--missing-images", choices=("error", "blank"), help="where an image is not there")
    add("--text-encoder", metavar="NAME", help="tiny, minilm, a hub name or a folder")
    add("--vision-encoder", metavar="NAME", help="tiny, vit-384, a timm name or a folder")
    add("--systems", nargs="+", metavar="A", help="systems of the tables instead: all, or names")
    add("--plugin", action="append", default=[], metavar="FILE", help="Python file with systems")
    add("--closed-form", action="store_true", help="learning in closed form instead, by size")
    add("--extractor", action="store_true", help="tagging by an extractor beside its encoder")
    add("--graph", type=int, metavar="EDGES", help="a graph that grows to so many edges instead")
    add("--serve", metavar="ENCODER", help="a server beside its encoder instead")
    add("--samples", type=int, default=128, help="most samples of a task and split (128)")
    add("--tasks", type=int, help="most tasks (all)")
    add("--epochs", type=int, default=2, help="epochs per task (2)")
    add("--rounds", type=int, default=4, help="paired rounds, best an even number (4)")
    add("--threads", type=int, help="threads of torch (its default)")
    add("--device", help="a torch device; auto takes a GPU where there is one (auto)")
    add("--config", help="a known setting of the ablation or a YAML file")
    add("--json", metavar="FILE", help="write every number there")
    add("--quiet", action="store_true", help="no progress")
    arguments = sorted_out(parser.parse_intermixed_args(argv))
    for flag in FLAGS:
        if not hasattr(arguments, flag):
            setattr(arguments, flag, None)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
