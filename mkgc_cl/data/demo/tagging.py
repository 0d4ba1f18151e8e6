"""The tagging version of the demonstration: one entity type a task, all others hidden."""

from __future__ import annotations

import numpy as np

from mkgc_cl.data.demo.names import TYPES
from mkgc_cl.data.demo.posts import Author, Draft, Random, fill, pick
from mkgc_cl.data.demo.scenes import SCENES_OF
from mkgc_cl.data.demo.sizes import DemoSizes
from mkgc_cl.data.demo.templates import CUED, NEUTRAL
from mkgc_cl.data.samples import TaggingSample, Task, VisualInput
from mkgc_cl.seeds import derive


def draft_post(author: Author, rng: Random, *, kind: str, test: bool) -> Draft:
    """Draw one post whose picture is about a mention of type ``kind``."""
    cued = rng.random() < author.shares.cued
    template = author.trim(rng, pick(rng, CUED[kind] if cued else NEUTRAL))
    slots = [word[1:-1] for word in template.split() if word.startswith("{")]
    types = {slot: kind if slot == "x" else slot for slot in slots}
    tokens, spans = fill(template, author.names(rng, types=types, test=test))
    showing = author.showing(rng)
    if showing == "clutter":
        scene = "clutter"
    elif showing == "shows":
        scene = pick(rng, SCENES_OF[kind])
    else:
        scene = pick(rng, SCENES_OF[pick(rng, tuple(k for k in TYPES if k != kind))])
    return Draft(tokens, spans, types, author.picture(rng, (scene,)), showing)


def tags_of(draft: Draft, *, visible: str) -> tuple[str, ...]:
    """Return the BIO tags of ``draft`` with every type but ``visible`` hidden as ``O``."""
    tags = ["O"] * len(draft.tokens)
    for slot, (start, end) in draft.spans.items():
        if draft.types[slot] == visible:
            tags[start:end] = [f"B-{visible}", *[f"I-{visible}"] * (end - start - 1)]
    return tuple(tags)


def _task_posts(author: Author, rng: Random, *, kind: str, count: int, what: str) -> list[Draft]:
    """Draw the posts of one task and split: most with ``kind``, the rest without any of it."""
    hidden = round(author.shares.hidden_only * count)
    others = tuple(other for other in TYPES if other != kind)

    def without() -> Draft | None:
        draft = draft_post(author, rng, kind=pick(rng, others), test=False)
        return None if kind in draft.types.values() else draft

    drafts = author.write(
        count - hidden, lambda: draft_post(author, rng, kind=kind, test=False), what=what
    )
    drafts += author.write(hidden, without, what=what)
    return [drafts[int(index)] for index in rng.permutation(count)]


def _samples(
    drafts: list[Draft], *, kind: str, split: str, first: int
) -> tuple[TaggingSample, ...]:
    return tuple(
        TaggingSample(
            f"demo-ner/{split}/{first + row}",
            draft.tokens,
            tags_of(draft, visible=kind),
            VisualInput(draft.picture),
        )
        for row, draft in enumerate(drafts)
    )


def tagging_tasks(
    author: Author, *, seed: int, order: tuple[str, ...], sizes: DemoSizes
) -> tuple[tuple[Task, ...], dict[str, list[Draft]]]:
    """Build the tasks of the tagging stream.

    The posts of a type do not depend on ``order``, which only arranges the tasks; the test posts
    depend on nothing but the seed, the shares and their number.

    Args:
        author: writer of the posts.
        seed: seed of the stream.
        order: the four types in order of arrival.
        sizes: number of posts.

    Returns:
        The tasks, and the drafts of every split.
    """

    def rng_of(name: str) -> Random:
        return np.random.default_rng(derive(seed, f"demo-ner/{name}"))

    rng = rng_of("test")
    drafts = {
        "test": author.write(
            sizes.test,
            lambda: draft_post(author, rng, kind=pick(rng, TYPES), test=True),
            what="test",
        )
    }
    parts: dict[tuple[str, str], tuple[TaggingSample, ...]] = {}
    for split, count in (("train", sizes.train_per_task), ("valid", sizes.valid_per_task)):
        drafts[split] = []
        for kind in TYPES:
            name = f"{split}/{kind}"
            posts = _task_posts(author, rng_of(name), kind=kind, count=count, what=name)
            first = len(drafts[split])
            parts[split, kind] = _samples(posts, kind=kind, split=split, first=first)
            drafts[split] += posts
    tasks = tuple(
        Task(
            name=kind,
            classes=(kind,),
            train=parts["train", kind],
            valid=parts["valid", kind],
            test=_samples(drafts["test"], kind=kind, split="test", first=0),
        )
        for kind in order
    )
    return tasks, drafts


def hidden_entities(drafts: list[Draft]) -> dict[str, dict[str, int]]:
    """Count the entities each task hides, by type.

    Args:
        drafts: posts of one split, as many for each type, in the order of ``TYPES``.
    """
    share = len(drafts) // len(TYPES)
    hidden: dict[str, dict[str, int]] = {}
    for index, kind in enumerate(TYPES):
        posts = drafts[index * share : (index + 1) * share]
        types = [found for draft in posts for found in draft.types.values()]
        hidden[kind] = {other: types.count(other) for other in TYPES if other != kind}
    return hidden
