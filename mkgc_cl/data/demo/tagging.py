"""The tagging version of the synthetic stream: one entity type per task, all others hidden."""

from __future__ import annotations

import numpy as np

from mkgc_cl.data.demo.names import TYPES
from mkgc_cl.data.demo.samples import Author, Draft, Random, fill, pick
from mkgc_cl.data.demo.scenes import SCENES_OF
from mkgc_cl.data.demo.sizes import DemoSizes
from mkgc_cl.data.demo.templates import CUED, NEUTRAL
from mkgc_cl.data.samples import TaggingSample, Task, VisualInput
from mkgc_cl.seeds import derive


def draft_sample(author: Author, rng: Random, *, kind: str, test: bool) -> Draft:
    """Draw one sample whose image is about a mention of type ``kind``."""
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
    return Draft(tokens, spans, types, author.image(rng, (scene,)), showing)


def tags_of(draft: Draft, *, visible: str) -> tuple[str, ...]:
    """Return the BIO tags of ``draft`` with every type but ``visible`` hidden as ``O``."""
    tags = ["O"] * len(draft.tokens)
    for slot, (start, end) in draft.spans.items():
        if draft.types[slot] == visible:
            tags[start:end] = [f"B-{visible}", *[f"I-{visible}"] * (end - start - 1)]
    return tuple(tags)


def _task_samples(author: Author, rng: Random, *, kind: str, count: int, what: str) -> list[Draft]:
    """Draw the samples of one task and split: most with ``kind``, the rest without any of it."""
    hidden = round(author.shares.hidden_only * count)
    others = tuple(other for other in TYPES if other != kind)

    def without() -> Draft | None:
        draft = draft_sample(author, rng, kind=pick(rng, others), test=False)
        return None if kind in draft.types.values() else draft

    drafts = author.write(
        count - hidden, lambda: draft_sample(author, rng, kind=kind, test=False), what=what
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
            VisualInput(draft.image),
        )
        for row, draft in enumerate(drafts)
    )


def tagging_tasks(
    author: Author, *, seed: int, order: tuple[str, ...], sizes: DemoSizes
) -> tuple[tuple[Task, ...], dict[str, list[Draft]]]:
    """Build the tasks of the tagging stream.

    The samples of a type do not depend on ``order``, which only arranges the tasks; the test
    samples depend on nothing but the seed, the shares and their number.

    Args:
        author: writer of the samples.
        seed: seed of the stream.
        order: the four types in order of arrival.
        sizes: number of samples.

    Returns:
        The tasks, and the drafts of every split.
    """

    def rng_of(name: str) -> Random:
        return np.random.default_rng(derive(seed, f"demo-ner/{name}"))

    rng = rng_of("test")
    drafts = {
        "test": author.write(
            sizes.test,
            lambda: draft_sample(author, rng, kind=pick(rng, TYPES), test=True),
            what="test",
        )
    }
    parts: dict[tuple[str, str], tuple[TaggingSample, ...]] = {}
    for split, count in (("train", sizes.train_per_task), ("valid", sizes.valid_per_task)):
        drafts[split] = []
        for kind in TYPES:
            name = f"{split}/{kind}"
            samples = _task_samples(author, rng_of(name), kind=kind, count=count, what=name)
            first = len(drafts[split])
            parts[split, kind] = _samples(samples, kind=kind, split=split, first=first)
            drafts[split] += samples
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
        drafts: samples of one split, as many for each type, in the order of ``TYPES``.
    """
    share = len(drafts) // len(TYPES)
    hidden: dict[str, dict[str, int]] = {}
    for index, kind in enumerate(TYPES):
        samples = drafts[index * share : (index + 1) * share]
        types = [found for draft in samples for found in draft.types.values()]
        hidden[kind] = {other: types.count(other) for other in TYPES if other != kind}
    return hidden
