"""The verbs of ``mkgc`` that use a model: learn, predict, export, graph, serve."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mkgc_cl.cluster import LAUNCHER_HELP, LAUNCHERS, launcher_problems
from mkgc_cl.errors import ConfigError, DataError, OutputError, gathered

if TYPE_CHECKING:
    from mkgc_cl.graph import KnowledgeGraph


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

    with _writing(given.folder), Extractor.editing(given.folder, new=new, waiting=waiting) as kept:
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
    records = iter([{"text": given.text}]) if given.text is not None else _records(given.files)
    for found in extractor.stream(records, constrain=not given.no_constraints):
        sys.stdout.write(json.dumps(found.to_dict(), ensure_ascii=False) + "\n")
    return 0


def _predict_shards(given: argparse.Namespace) -> int:
    """Write the parts of ``mkgc predict --out`` that are not there yet; return the exit code."""
    from mkgc_cl.experiments.interrupts import signals_interrupt
    from mkgc_cl.inference.shards import MANIFEST, Job, planned, write_here
    from mkgc_cl.results.counted import counted
    from mkgc_cl.results.progress import GridProgress
    from mkgc_cl.results.writing import check_writable

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
        texts: list[Any] = list(_records(given.texts))
    else:
        tasks = demo_stream("re", test_size=128).tasks
        samples = [sample for task in tasks for sample in task.test]
        # relations alone are asked for between the entities that a sample names
        texts = [list(one.tokens) for one in samples] if extractor.types else list(samples)
    with _writing(given.out):
        files = extractor.export_onnx(given.out)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # which ONNX Runtime takes over
    exported = Extractor.from_onnx(given.out)
    torch.set_num_threads(threads)
    for file in files:
        sys.stdout.write(f"{file}: {file.stat().st_size / 2**20:,.1f} MiB\n")
    sys.stdout.write(f"{parity(extractor, exported, texts)}\n")
    return 0


def graph(arguments: Sequence[str]) -> int:
    """``mkgc graph add | remove | reread | export | diff | query``."""
    parser = argparse.ArgumentParser(
        prog="mkgc graph", description="A knowledge graph that is kept in a folder."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)

    def verb(name: str, words: str, run: Callable[[Any], None]) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=words, description=words)
        made.add_argument("graph", type=Path, help="folder of the graph")
        made.set_defaults(run=run)
        return made

    added = verb("add", "read texts with an extractor, or take what mkgc predict printed", _add)
    added.add_argument("files", nargs="*", type=Path, help="texts, or with no extractor JSON lines")
    added.add_argument("--extractor", type=Path, help="folder of the extractor")
    verb("remove", "take a source out, and all that nothing else says", _remove).add_argument(
        "source", nargs="+"
    )
    verb("reread", "read the stored texts with a newer extractor", _reread).add_argument(
        "--extractor", type=Path, required=True
    )
    exported = verb("export", "Turtle, TriG, JSON-LD, GraphML, Neo4j, SHACL or HTML", _export)
    exported.add_argument("path", type=Path, help="file, whose ending says which; Neo4j: a folder")
    exported.add_argument("--format", help="where the ending does not say")
    exported.add_argument(
        "--order",
        nargs="+",
        metavar="TASK",
        help="of HTML: tasks as they were learnt",
    )
    compared = verb("diff", "what was added, changed and forgotten", _diff)
    compared.add_argument("other", nargs="?", type=Path, help="folder of a later graph")
    compared.add_argument(
        "--models", nargs=2, metavar=("OLD", "NEW"), help="two models of the graph"
    )
    compared.add_argument("--image", type=Path, help="a PNG file to draw it into")
    verb("query", "ask in SPARQL", _query).add_argument("sparql")
    shown = verb("demo", "learn nine tasks of invented samples, and show the graph", _demo)
    shown.add_argument("--encoder", default="minilm", help="of the extractor (default: minilm)")
    given = parser.parse_args(arguments)
    given.run(given)
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


def _add(given: Any) -> None:
    from mkgc_cl.inference.extraction import Extraction

    records = _records(given.files)
    if given.extractor is None:
        found: Iterator[Extraction] = map(Extraction.from_dict, records)
    else:
        from mkgc_cl.inference import Extractor

        found = Extractor.load(given.extractor).stream(records)
    with _opened(given.graph) as opened:
        count = opened.add_all(found)
    sys.stdout.write(f"{count:,} {_plural(count, 'text')} added\n")


def _remove(given: Any) -> None:
    with _opened(given.graph) as opened:
        for source in given.source:
            count = opened.remove(source)
            sys.stdout.write(f"{source}: {count:,} {_plural(count, 'finding')} removed\n")


def _reread(given: Any) -> None:
    from mkgc_cl.inference import Extractor

    extractor = Extractor.load(given.extractor)
    with _opened(given.graph) as opened:
        count = opened.reread(extractor)
    sys.stdout.write(f"{count:,} {_plural(count, 'text')} read by {extractor.model}\n")


def _export(given: Any) -> None:
    from mkgc_cl.graph.exports import export

    with _opened(given.graph, read_only=True) as opened, _writing(given.path):
        sys.stdout.write(f"{export(opened, given.path, format_=given.format, order=given.order)}\n")


def _diff(given: Any) -> None:
    from mkgc_cl.graph import diff
    from mkgc_cl.graph.image import draw_diff

    if (given.other is None) == (given.models is None):
        raise DataError("expected another graph, or --models OLD NEW; give one of the two")
    with _opened(given.graph, read_only=True) as opened:
        if given.other is not None:
            with _opened(given.other, read_only=True) as later:
                found = diff(opened, later)
        else:
            unknown = [model for model in given.models if model not in opened.models()]
            if unknown:
                raise DataError(
                    f"there is no model {unknown} in the graph; there are {list(opened.models())}"
                )
            found = diff(*(opened.view(model=model) for model in given.models))
    sys.stdout.write(f"{found}\n")
    if given.image is not None:
        with _writing(given.image):
            draw_diff(found, given.image)


def _query(given: Any) -> None:
    with _opened(given.graph, read_only=True) as opened:
        found = opened.query(given.sparql)
    rows = found if isinstance(found, list) else [found]
    for row in rows:
        sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")


def _demo(given: Any) -> None:
    """From samples to a graph, a Turtle file, a page, and a picture of what each task added."""
    from mkgc_cl.data.demo import demo_stream
    from mkgc_cl.graph.exports import export
    from mkgc_cl.graph.image import draw_tasks
    from mkgc_cl.graph.page import write_page
    from mkgc_cl.inference import Extractor

    folder: Path = given.graph
    if folder.exists():
        raise DataError("expected a new folder, found one that is there; name another", path=folder)
    streams = [demo_stream(kind, train_per_task=120, test_size=120) for kind in ("ner", "re")]
    extractor = Extractor.from_encoder(given.encoder)
    order = []
    with _writing(folder):
        for task in [task for stream in streams for task in stream.tasks]:
            order.append("+".join(task.classes))
            report = extractor.learn(task.train, types=task.classes, task=order[-1])
            sys.stdout.write(f"{report}\n")
            sys.stdout.flush()
        extractor.save(folder / "extractor")
        texts = {
            sample.uid: {"uid": sample.uid, "tokens": sample.tokens}
            for stream in streams
            for task in stream.tasks
            for sample in task.test
        }
        with _opened(folder / "graph") as opened:
            opened.add_all(extractor.stream(texts.values()))
            export(opened, folder / "graph.ttl")
            write_page(opened, folder / "graph.html", order=order, title="A graph that grew")
            draw_tasks(opened, folder / "tasks.png", order=order)
            nodes, edges = len(opened.nodes()), len(opened.edges())
    sys.stdout.write(
        f"{len(texts)} texts read: {nodes} nodes, {edges} edges\n"
        f"{folder}: graph.html, graph.ttl, tasks.png, extractor, graph\n"
    )


def _plural(number: int, noun: str) -> str:
    from mkgc_cl.results.counted import plural

    return plural(number, noun)


def _records(files: Sequence[Path]) -> Iterator[dict[str, Any]]:
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


class _opened:  # a context, used as a function
    """A graph that is closed at the end."""

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        from mkgc_cl.graph import KnowledgeGraph

        if read_only and not folder.is_dir():
            raise DataError("expected the folder of a graph, found none", path=folder)
        if folder.is_dir() and any(folder.iterdir()) and not (folder / "CURRENT").exists():
            raise DataError("expected the folder of a graph, found something else", path=folder)
        self._graph = KnowledgeGraph(folder, read_only=read_only)
        self._read_only = read_only

    def __enter__(self) -> KnowledgeGraph:
        return self._graph

    def __exit__(self, *error: object) -> None:
        if not self._read_only:
            self._graph.close()


class _writing:  # a context, used as a function
    """Says of an operating system's error that results cannot be kept."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise OutputError(f"{self._path}: cannot be written ({error})") from error
