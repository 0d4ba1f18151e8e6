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
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mkgc_cl._files import write_atomic
from mkgc_cl.data.merge import first_tasks
from mkgc_cl.data.samples import Sample, TaskStream
from mkgc_cl.errors import ConfigError
from mkgc_cl.experiments.pipeline.cli import load_systems
from mkgc_cl.experiments.pipeline.console import Tell, commands, exit_code, program, teller
from mkgc_cl.experiments.pipeline.flags import add_flags, parsed
from mkgc_cl.experiments.pipeline.given import settings_of
from mkgc_cl.experiments.pipeline.streams import read_stream
from mkgc_cl.experiments.speed.tables import line_of
from mkgc_cl.results.json_files import to_json
from mkgc_cl.results.writing import check_writable, written_to
from mkgc_cl.runs.provenance import environment

Measured = tuple[dict[str, Any], str]
"""A report, all plain types, and its text."""
FLAGS = (
    *("scenario", "task", "data", "missing_images", "text_encoder", "vision_encoder", "systems"),
    *("epochs", "device"),
)


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
    tell = teller(quiet=arguments.quiet)
    report, text = measure_alone(arguments, tell) or measure_stream(arguments, tell)
    sys.stdout.write(text)
    if file is not None:
        with written_to(file.parent):
            write_atomic(file, to_json({"provenance": environment(), **report}))
        sys.stdout.write(f"written to {file}\n")
    return 0


def measure_alone(arguments: argparse.Namespace, tell: Tell) -> Measured | None:
    """Measure what needs no stream, if asked to: learning in closed form, a graph, a server."""
    if arguments.closed_form:
        from mkgc_cl.experiments.speed.closed_form import measure_closed_form

        return measure_closed_form()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.graph is not None:
            from mkgc_cl.experiments.speed.graph import measure_graph

            report = measure_graph(arguments.graph, Path(folder), tell=tell)
        elif arguments.serve is not None:
            from mkgc_cl.experiments.speed.serving import measure_serving

            report = measure_serving(arguments.serve, Path(folder) / "extractor", tell=tell)
        else:
            return None
    return report, "".join(f"{line_of(row)}\n" for rows in report.values() for row in rows)


def measure_stream(arguments: argparse.Namespace, tell: Tell) -> Measured:
    """Measure on a part of a stream, read before anything slow is imported.

    The settings are those of the ablation, of ``--systems`` those of the tables.

    Raises:
        ConfigError: naming every mistake in the settings.
        DataError: the stream cannot be read.
    """
    from mkgc_cl.experiments import ablation, imre

    load_systems(arguments, tell)
    tables = arguments.systems is not None and not arguments.extractor
    script = replace(imre.SCRIPT if tables else ablation.SCRIPT, file="speed", scenario="demo-re")
    if [name.lower() for name in arguments.systems or ()] == ["all"]:
        arguments.systems = None
    settings = settings_of(script, arguments).of_each_order()[0]
    tell("reading the data")
    whole = read_stream(settings.stream, settings.encoders.images)
    tell("loading PyTorch and Avalanche")
    import torch

    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    stream = smaller(whole, per_split=arguments.samples, tasks=arguments.tasks)
    if arguments.extractor:
        from mkgc_cl.experiments.speed.extractor import measure_extractor

        return measure_extractor(stream, encoder=settings.encoders.text)
    if tables:
        from mkgc_cl.experiments.speed.costs import measure_systems

        return measure_systems(settings, script.known(), stream, arguments.samples, tell=tell)
    from mkgc_cl.experiments.speed.method import measure_method

    return measure_method(settings, stream, arguments.samples, arguments.rounds, tell=tell)


def smaller(stream: TaskStream, *, per_split: int, tasks: int | None) -> TaskStream:
    """Return the first tasks with at most ``per_split`` samples of each split, spread out."""

    def part(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
        count = min(per_split, len(samples))
        return tuple(samples[index * len(samples) // count] for index in range(count))

    first = first_tasks(stream, min(tasks or len(stream.tasks), len(stream.tasks)))
    kept = [
        replace(task, train=part(task.train), valid=part(task.valid), test=part(task.test))
        for task in first.tasks
    ]
    return replace(first, tasks=tuple(kept))


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; overrides may stand anywhere."""
    parser = argparse.ArgumentParser(
        prog=program("speed"),
        description=commands(str(__doc__)),
        formatter_class=argparse.RawTextHelpFormatter,
    )
    add_flags(
        parser,
        FLAGS,
        overrides="any setting of imre.py --help",
        systems="systems of the tables instead: all, or names",
        epochs="epochs per task (2)",
        device="a torch device; auto takes a GPU where there is one (auto)",
    )
    parser.set_defaults(epochs=2)
    add = parser.add_argument
    add("--closed-form", action="store_true", help="learning in closed form instead, by size")
    add("--extractor", action="store_true", help="tagging by an extractor beside its encoder")
    add("--graph", type=int, metavar="EDGES", help="a graph that grows to so many edges instead")
    add("--serve", metavar="ENCODER", help="a server beside its encoder instead")
    add("--samples", type=int, default=128, help="most samples of a task and split (128)")
    add("--tasks", type=int, help="most tasks (all)")
    add("--rounds", type=int, default=4, help="paired rounds, best an even number (4)")
    add("--threads", type=int, help="threads of torch (its default)")
    add("--json", metavar="FILE", help="write every number there")
    return parsed(parser, argv)
