"""The verbs of ``mkgc`` that use a model: learn, predict, export, serve."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

from mkgc_cl.cluster import LAUNCHER_HELP, LAUNCHERS, launcher_problems
from mkgc_cl.errors import ConfigError, DataError, OutputError, gathered


def learn(arguments: Sequence[str]) -> int:
    """``mkgc learn``: teach an extractor that is kept in a folder; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="mkgc learn",
        description="Teach an extractor types, new or known ones, in closed form. Files are "
        "JSON lines (tokens or text, entities, relations) or BIO tags, one word and tag per line.",
    )
    parser.add_argument("folder", type=Path, help="of the extractor; made by the first call")
    parser.add_argument("files", nargs="+", type=Path, help="samples to learn")
    parser.add_argument("--types", nargs="+", help="types that they teach (default: all in them)")
    parser.add_argument("--task", help="name of the task, for provenance")
    parser.add_argument(
        "--held-out", nargs="+", type=Path, default=[], help="samples to measure on"
    )
    parser.add_argument("--encoder", help="of a new extractor (default: minilm)")
    parser.add_argument("--shrinkage", type=float, help="of a new extractor (default: 0.1)")
    parser.add_argument(
        "--negative", help="what no relation is called, of a new extractor (default: None)"
    )
    parser.add_argument(
        "--captions",
        action="store_true",
        default=None,
        help="of a new extractor: read the caption of a text's image behind it",
    )
    given = parser.parse_args(arguments)
    names = ("encoder", "shrinkage", "negative", "captions")
    options = {name: getattr(given, name) for name in names if getattr(given, name) is not None}
    from mkgc_cl.inference import Extractor
    from mkgc_cl.inference.json_lines import read_records

    samples = [record for file in given.files for record in read_records(file)]
    held = [record for file in given.held_out for record in read_records(file)]
    config = given.folder / "config.json"
    # before the folder is made: an encoder that is not there leaves nothing behind
    made = None if config.exists() else Extractor.from_encoder(**{"encoder": "minilm", **options})

    def new() -> Extractor:
        return made or Extractor.from_encoder(**{"encoder": "minilm", **options})

    def waiting() -> None:
        sys.stderr.write(f"{given.folder}: waiting for another process that changes it\n")
        sys.stderr.flush()

    with writing(given.folder), Extractor.editing(given.folder, new=new, waiting=waiting) as kept:
        if options and kept is not made:
            parser.error(
                f"--{next(iter(options))} is of a new extractor, and {given.folder} holds one that "
                "has its own; leave it out, or name another folder"
            )
        report = kept.learn(samples, types=given.types, task=given.task, held_out=held)
    sys.stdout.write(f"{report}\n")
    return 0


def predict(arguments: Sequence[str]) -> int:
    """``mkgc predict``: find entities and relations, JSON lines in and out."""
    parser = argparse.ArgumentParser(
        prog="mkgc predict",
        description="Find entities and relations in lines of text, or of JSON (text or tokens), "
        "and print a JSON object for each. Reads standard input where no file is named.",
    )
    parser.add_argument("folder", type=Path, help="of the extractor")
    parser.add_argument("files", nargs="*", type=Path, help="texts")
    parser.add_argument("--text", help="one text, in place of files")
    parser.add_argument(
        "--no-constraints", action="store_true", help="relations between any types of entities"
    )
    bulk = parser.add_argument_group(
        "millions of texts", "Files are read in shards; the same command goes on after a stop."
    )
    bulk.add_argument("--out", type=Path, metavar="DIR", help="write part-00000.jsonl, ... there")
    bulk.add_argument(
        "--shard", type=int, metavar="N", help="texts of a part, a multiple of 64 (8192)"
    )
    bulk.add_argument("--launcher", choices=LAUNCHERS, default="local", help=LAUNCHER_HELP)
    bulk.add_argument("--threads", type=int, metavar="N", help="cores of an extractor (1)")
    given = parser.parse_args(arguments)
    if given.text is not None and given.files:
        parser.error("--text is in place of files; leave one of them out")
    if given.out is not None:
        if not given.files:
            parser.error("--out needs files to read, which a later call can read again")
        return _predict_shards(given)
    if given.launcher != "local" or given.shard is not None or given.threads is not None:
        parser.error("--shard, --launcher and --threads are for --out; give it, too")
    from mkgc_cl.inference import Extractor

    extractor = Extractor.load(given.folder)
    texts = iter([{"text": given.text}]) if given.text is not None else records(given.files)
    for found in extractor.stream(texts, constrain=not given.no_constraints):
        sys.stdout.write(json.dumps(found.to_dict(), ensure_ascii=False) + "\n")
    return 0


def _predict_shards(given: argparse.Namespace) -> int:
    """Write the parts of ``mkgc predict --out`` that are not there yet; return the exit code."""
    from mkgc_cl.experiments.pipeline.console import signals_interrupt
    from mkgc_cl.inference.shards import MANIFEST, Job, planned, write_here
    from mkgc_cl.results.counted import counted
    from mkgc_cl.results.writing import check_writable
    from mkgc_cl.runs.progress import GridProgress

    if wrong := launcher_problems(given.launcher):
        raise ConfigError(wrong)
    options = {"texts": given.shard, "threads": given.threads}
    job = Job(
        given.folder,
        tuple(given.files),
        given.out,
        not given.no_constraints,
        **{name: value for name, value in options.items() if value is not None},
    )
    if not (given.out / MANIFEST).exists():  # before an hour of looking at texts
        check_writable(given.out)
    problems: list[DataError] = []
    with signals_interrupt():
        shards = planned(job, tell=lambda words: print(words, file=sys.stderr, flush=True))
        waiting = shards.waiting
        progress = GridProgress(len(waiting))
        if given.launcher == "ray":
            from mkgc_cl.inference.shards_on_ray import write_on_ray

            written = write_on_ray(shards)
        else:
            written = write_here(shards)
        with closing(progress), closing(written):
            for one in written:
                progress.start(shards.path(one.shard).name)
                progress.finish("written" if one.error is None else f"FAILED, {one.error}")
                problems += [] if one.error is None else [one.error]
    if problems:  # of some parts; the others are written
        sys.stderr.write(f"{gathered(problems)}\n")
        return 1
    parts = counted(len(shards.starts), "part")
    sys.stdout.write(f"{counted(shards.total, 'text')} in {parts}: {given.out}\n")
    return 0


def export(arguments: Sequence[str]) -> int:
    """``mkgc export``: an extractor as ONNX, and how it compares; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="mkgc export",
        description="Write an extractor as ONNX, which predicts and learns no more, and compare it "
        "with PyTorch: how many answers differ, and texts per second with one thread.",
    )
    parser.add_argument("folder", type=Path, help="of the extractor")
    parser.add_argument("--out", type=Path, required=True, help="folder to write it into")
    parser.add_argument(
        "--texts", nargs="+", type=Path, default=[], help="to compare on (default: invented texts)"
    )
    given = parser.parse_args(arguments)
    import torch

    from mkgc_cl.data.demo import demo_stream
    from mkgc_cl.inference import Extractor
    from mkgc_cl.inference.speed import parity

    extractor = Extractor.load(given.folder)
    if given.texts:
        texts: list[Any] = list(records(given.texts))
    else:
        tasks = demo_stream("re", test_size=128).tasks
        samples = [sample for task in tasks for sample in task.test]
        # relations alone are asked for between the entities that a sample names
        texts = [list(one.tokens) for one in samples] if extractor.types else list(samples)
    with writing(given.out):
        files = extractor.export_onnx(given.out)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # which ONNX Runtime takes over
    exported = Extractor.from_onnx(given.out)
    torch.set_num_threads(threads)
    for file in files:
        sys.stdout.write(f"{file}: {file.stat().st_size / 2**20:,.1f} MiB\n")
    sys.stdout.write(f"{parity(extractor, exported, texts)}\n")
    return 0


def serve(arguments: Sequence[str]) -> int:
    """``mkgc serve``: answer over HTTP."""
    parser = argparse.ArgumentParser(
        prog="mkgc serve",
        description="Serve an extractor: POST /extract, POST /learn (with a token), GET /health.",
    )
    parser.add_argument("folder", type=Path, help="of the extractor")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument(
        "--token-file",
        type=Path,
        help="file with the token that /learn wants; without one nobody can teach",
    )
    parser.add_argument(
        "--threads",
        type=int,
        help="of PyTorch (default: all cores); one costs the least CPU time where texts are short",
    )
    given = parser.parse_args(arguments)
    from mkgc_cl.inference.serving import run

    options = {name: getattr(given, name) for name in ("host", "port", "token_file", "threads")}
    run(given.folder, **options)
    return 0


def records(files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Records of JSON lines or lines of text, of standard input where no file is named."""
    from mkgc_cl.inference.json_lines import read_stream

    def opened(path: Path) -> Iterator[dict[str, Any]]:
        try:
            with path.open(encoding="utf-8") as file:
                yield from read_stream(file, name=path.name)
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot be read ({error})", path=path) from error

    if not files:
        stdin: IO[str] = sys.stdin
        try:
            yield from read_stream(stdin, name="stdin")
        except UnicodeDecodeError as error:
            raise DataError(f"cannot be read ({error})", path="stdin") from error
    for path in files:
        yield from opened(path)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say of an operating system's error that results cannot be kept.

    Raises:
        OutputError: in its place.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error})") from error
