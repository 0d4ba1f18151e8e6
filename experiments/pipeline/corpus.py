"""The scenario ``files``: a corpus of one's own, as its YAML file describes it.

Kind, name and tasks stand in that file; settings of an experiment may change images and order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from mkgc_cl.config import resolve
from mkgc_cl.data import TaskStream
from mkgc_cl.data.files import FilesSettings, stream_from_files
from mkgc_cl.data.files.settings import arguments
from mkgc_cl.data.orders import drawn_order
from mkgc_cl.data.splits import Groups, drawn_groups
from mkgc_cl.data.visuals import Images, MissingImages
from mkgc_cl.errors import ConfigError

TAKEN = ("imner", "imre")
"""Names of the benchmarks, beside whose results no other corpus may stand by the same name."""
LONGEST_ORDER = 80
"""Characters of an order that is named by its classes."""


@lru_cache(maxsize=8)
def corpus_of(path: str) -> FilesSettings:
    """Read what a YAML file says of a corpus, and nothing of the corpus itself.

    Raises:
        ConfigError: every mistake in it, with its line.
    """
    return resolve(FilesSettings, yaml_path=path)


def corpus_problems(path: str) -> list[str]:
    """Mistakes in the YAML file of a corpus, and a name that it cannot have in tables."""
    try:
        name = corpus_of(path).name
    except ConfigError as error:
        return list(error.problems)
    if not name.strip() or not name.isprintable():
        return [f"{path}: 'name' must be printable and not empty, got {name!r}"]
    if name in TAKEN or name.startswith("demo"):
        return [f"{path}: 'name' is {name!r}, which results of another stream go by; give another"]
    return []


def corpus_stream(
    path: str,
    *,
    order: Sequence[str] = (),
    images: Images,
    missing_images: MissingImages,
    captions: str | None = None,
    captioner: str | None = None,
) -> TaskStream:
    """Return the stream of a corpus.

    Args:
        path: its YAML file.
        order: of the classes, as :func:`ordered` takes it.
        images: what a sample shows, whatever the file says.
        missing_images: what to do without an image, likewise.
        captions: file of captions in place of that of the file; relative to the working folder.
        captioner: whose captions, likewise.

    Raises:
        ConfigError: every mistake in the settings.
        DataError: what is wrong with the files.
    """
    corpus = replace(corpus_of(path), images=images, missing_images=missing_images)
    if images != "captions":
        corpus = replace(corpus, captions=None, captioner=None)
    if captions is not None:
        corpus = replace(corpus, captions=str(Path(captions).absolute()), captioner=None)
    if captioner is not None:
        corpus = replace(corpus, captioner=captioner)
    folder = Path(path).parent

    def tasks() -> Groups:
        whole = stream_from_files(**arguments(corpus, folder))
        return tuple(task.classes for task in whole.tasks)

    return stream_from_files(**arguments(ordered(corpus, order, tasks), folder))


def ordered(
    corpus: FilesSettings, order: Sequence[str], tasks: Callable[[], Groups]
) -> FilesSettings:
    """Return a corpus whose classes come in another order.

    Args:
        corpus: as its file describes it.
        order: nothing for the order of the file; ``("seed:3",)`` for a drawn one in as many tasks,
            ``("seed:3/5",)`` in five; else its classes. Where the file gives the number of tasks or
            of their classes, they are cut so; where it does not, each is a task, and those joined
            by ``+`` are one. What is held out stays the same in every order.
        tasks: reads the classes of each task in the order of the file.
    """
    if not order:
        return corpus
    if drawn := drawn_order("-".join(order)):
        seed, count = drawn
        groups = tasks()
        classes = [name for group in groups for name in group]
        drawn_tasks = drawn_groups(classes, count or len(groups), seed=seed, name="files/orders")
        return replace(corpus, tasks=drawn_tasks, classes_per_task=None, order=())
    if isinstance(corpus.tasks, int) or corpus.classes_per_task is not None:
        return replace(corpus, order=tuple(order))
    return replace(corpus, tasks=tuple(tuple(name.split("+")) for name in order), order=())


def order_of_tasks(stream: TaskStream) -> str:
    """Name the order of a stream by its tasks: ``person-city+firm``; of many by a digest."""
    name = "-".join("+".join(task.classes) for task in stream.tasks)
    if len(name) <= LONGEST_ORDER:
        return name
    return f"{len(stream.tasks)} tasks {sha256(name.encode()).hexdigest()[:6]}"
