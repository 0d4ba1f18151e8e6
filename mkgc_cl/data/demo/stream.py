"""The entry point: a whole synthetic stream from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from mkgc_cl.data.demo.relation_templates import NA, RELATIONS
from mkgc_cl.data.demo.relations import relation_tasks
from mkgc_cl.data.demo.samples import Author, DemoShares, count_showing
from mkgc_cl.data.demo.sizes import DemoSizes
from mkgc_cl.data.demo.tagging import hidden_entities, tagging_tasks
from mkgc_cl.data.samples import LabelSpace, TaskKind, TaskStream
from mkgc_cl.errors import DataError

NER_ORDER = ("PER", "ORG", "LOC", "MISC")
"""Default order of the tagging tasks, the first order of IMNER."""

RE_ORDER = tuple(RELATIONS)
"""Default order of the relations, two a task."""

NOTICE = (
    "Invented samples with drawn images, made from a seed. Only a synthetic stream of the toolkit: "
    "scores on it say nothing about real data."
)


def demo_stream(
    task: TaskKind = "ner",
    *,
    seed: int = 0,
    order: Sequence[str] | None = None,
    train_per_task: int = 240,
    valid_per_task: int = 60,
    test_size: int = 220,
    image_size: int = 32,
    shares: DemoShares | None = None,
) -> TaskStream:
    """Make a synthetic stream of short samples with drawn images.

    Tagging (``"ner"``): one task for each of PER, LOC, ORG, MISC. Only the task's type is tagged in
    its training and validation samples, all others are ``O``; every task has the same test
    sentences, with the tags of its own type. Relations (``"re"``): five tasks of two relations,
    with other N/A samples in each; the test samples of the tasks are disjoint. No sentence occurs
    twice in a stream.

    Args:
        task: ``"ner"`` or ``"re"``.
        seed: seed of everything in the stream; equal arguments give equal streams.
        order: permutation of the types (default ``NER_ORDER``) or relations (``RE_ORDER``).
        train_per_task: training samples of each task.
        valid_per_task: validation samples of each task.
        test_size: test samples, of the stream.
        image_size: side of the images in pixels.
        shares: how often what happens; by default ``DemoShares()``.

    Returns:
        A stream named ``"demo-ner"`` or ``"demo-re"``.

    Raises:
        DataError: an unknown kind, an order that is no permutation, a size or share out of range.
    """
    if task not in ("ner", "re"):
        raise DataError(f"unknown kind of synthetic stream {task!r}; use 'ner' or 're'")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise DataError(f"seed is {seed!r}; give a whole number")
    sizes = DemoSizes(train_per_task, valid_per_task, test_size, image_size)
    shares = DemoShares() if shares is None else shares
    author = Author(seed, shares=shares, image_size=image_size)
    if task == "ner":
        classes = _checked_order(order, default=NER_ORDER)
        labels = LabelSpace("ner", classes)
        tasks, drafts = tagging_tasks(author, seed=seed, order=classes, sizes=sizes)
    else:
        classes = _checked_order(order, default=RE_ORDER)
        labels = LabelSpace("re", classes, na=NA)
        tasks, drafts = relation_tasks(author, seed=seed, order=classes, sizes=sizes)
    provenance: dict[str, object] = {
        "generator": "mkgc_cl demo",
        "synthetic stream": True,
        "notice": NOTICE,
        "seed": seed,
        "sizes": asdict(sizes),
        "shares": asdict(shares),
        "images": {split: count_showing(samples) for split, samples in drafts.items()},
    }
    if task == "ner":
        provenance["hidden"] = hidden_entities(drafts["train"])
    return TaskStream(f"demo-{task}", labels, tasks, provenance)


def _checked_order(order: Sequence[str] | None, *, default: tuple[str, ...]) -> tuple[str, ...]:
    if order is None:
        return default
    if isinstance(order, str) or sorted(map(str, order)) != sorted(default):
        raise DataError(f"order {order!r} is no permutation of {list(default)}; name each once")
    return tuple(order)
