"""``mkgc graph``: a knowledge graph that is kept in a folder."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkgc_cl.errors import DataError
from mkgc_cl.use_cli import records, writing

if TYPE_CHECKING:
    from mkgc_cl.graph import KnowledgeGraph


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


def _add(given: Any) -> None:
    from mkgc_cl.inference.extraction import Extraction

    if given.extractor is None:
        found: Iterator[Extraction] = map(Extraction.from_dict, records(given.files))
    else:
        from mkgc_cl.inference import Extractor

        found = Extractor.load(given.extractor).stream(records(given.files))
    with _opened(given.graph) as opened:
        count = opened.add_all(found)
    sys.stdout.write(f"{_counted(count, 'text')} added\n")


def _remove(given: Any) -> None:
    with _opened(given.graph) as opened:
        for source in given.source:
            count = opened.remove(source)
            sys.stdout.write(f"{source}: {_counted(count, 'finding')} removed\n")


def _reread(given: Any) -> None:
    from mkgc_cl.inference import Extractor

    extractor = Extractor.load(given.extractor)
    with _opened(given.graph) as opened:
        count = opened.reread(extractor)
    sys.stdout.write(f"{_counted(count, 'text')} read by {extractor.model}\n")


def _export(given: Any) -> None:
    from mkgc_cl.graph.exports import export

    with _opened(given.graph, read_only=True) as opened, writing(given.path):
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
        with writing(given.image):
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
    with writing(folder):
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


def _counted(number: int, noun: str) -> str:
    from mkgc_cl.results.counted import plural

    return f"{number:,} {plural(number, noun)}"


@contextmanager
def _opened(folder: Path, *, read_only: bool = False) -> Iterator[KnowledgeGraph]:
    """Open a graph that is closed at the end."""
    from mkgc_cl.graph import KnowledgeGraph

    if read_only and not folder.is_dir():
        raise DataError("expected the folder of a graph, found none", path=folder)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "CURRENT").exists():
        raise DataError("expected the folder of a graph, found something else", path=folder)
    graph = KnowledgeGraph(folder, read_only=read_only)
    try:
        yield graph
    finally:
        if not read_only:
            graph.close()
