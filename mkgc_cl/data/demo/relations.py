"""The relation version of the synthetic stream: two relations per task, and a recurring N/A."""

from __future__ import annotations

import numpy as np

from mkgc_cl.data.demo.relation_templates import NA, NA_CUED, NEUTRAL_PAIR, RELATIONS
from mkgc_cl.data.demo.samples import Author, Draft, Random, Showing, fill, pick
from mkgc_cl.data.demo.scenes import SCENES_OF
from mkgc_cl.data.demo.sizes import DemoSizes
from mkgc_cl.data.samples import RelationSample, Task, VisualInput
from mkgc_cl.errors import DataError
from mkgc_cl.seeds import derive

PER_TASK = 2
"""Relations of a task."""


def _single(rng: Random, types: tuple[str, str]) -> tuple[str, ...]:
    """Draw an image of one of the two entities: both are named, only one is there."""
    return (pick(rng, SCENES_OF[pick(rng, types)]),)


def _pair(rng: Random, relation: str) -> tuple[str, ...]:
    """Draw the two scenes that stand for ``relation``: the head's to the left of the tail's."""
    head, tail = RELATIONS[relation].scenes
    return pick(rng, head), pick(rng, tail)


def _scenes(
    rng: Random, *, relation: str, types: tuple[str, str], showing: Showing
) -> tuple[str, ...]:
    """Draw the kinds of an image that shows, hides or misrepresents ``relation``."""
    if showing == "clutter":
        return ("clutter",)
    if showing == "shows":
        return _single(rng, types) if relation == NA else _pair(rng, relation)
    if relation != NA and rng.random() < 0.5:
        return _single(rng, types)
    return _pair(rng, pick(rng, tuple(name for name in RELATIONS if name != relation)))


def draft_sample(author: Author, rng: Random, *, relation: str, test: bool) -> Draft:
    """Draw one sample about ``relation``, or about two entities without one (``NA``)."""
    like = pick(rng, tuple(RELATIONS)) if relation == NA else relation
    types = RELATIONS[like].types
    if rng.random() >= author.shares.cued:
        template = pick(rng, NEUTRAL_PAIR)
    elif relation == NA:
        template = pick(rng, NA_CUED)
    else:
        template = pick(rng, RELATIONS[relation].cued)
    first, second = ("h", "t") if rng.random() < 0.5 else ("t", "h")
    template = template.replace("{a}", f"{{{first}}}").replace("{b}", f"{{{second}}}")
    by_slot = {"h": types[0], "t": types[1]}
    names = author.names(rng, types=by_slot, test=test)
    tokens, spans = fill(author.trim(rng, template), names)
    showing = author.showing(rng)
    scenes = _scenes(rng, relation=relation, types=types, showing=showing)
    return Draft(tokens, spans, by_slot, author.image(rng, scenes), showing, relation)


def _share_out(total: int, parts: int) -> list[int]:
    """Part ``total`` into ``parts`` as equal as can be.

    >>> _share_out(8, 3)
    [3, 3, 2]
    """
    return [total // parts + (part < total % parts) for part in range(parts)]


def _counts(author: Author, classes: tuple[str, ...], total: int) -> dict[str, int]:
    """Part the samples of one task and split among N/A and the task's relations."""
    negatives = min(round(author.shares.na * total), total - len(classes))
    shares = _share_out(total - negatives, len(classes))
    return {NA: negatives, **dict(zip(classes, shares, strict=True))}


def _samples(drafts: list[Draft], *, split: str, first: int) -> tuple[RelationSample, ...]:
    return tuple(
        RelationSample(
            f"demo-re/{split}/{first + row}",
            draft.tokens,
            draft.spans["h"],
            draft.spans["t"],
            draft.relation,
            VisualInput(draft.image),
        )
        for row, draft in enumerate(drafts)
    )


def relation_tasks(
    author: Author, *, seed: int, order: tuple[str, ...], sizes: DemoSizes
) -> tuple[tuple[Task, ...], dict[str, list[Draft]]]:
    """Build the tasks of the relation stream.

    Args:
        author: writer of the samples.
        seed: seed of the stream.
        order: the relations in order of arrival; each ``PER_TASK`` of them are a task.
        sizes: number of samples.

    Returns:
        The tasks, and the drafts of every split.

    Raises:
        DataError: too few samples for the relations of a task.
    """
    starts = range(0, len(order), PER_TASK)
    groups = [order[start : start + PER_TASK] for start in starts]
    totals = {
        "test": _share_out(sizes.test, len(groups)),
        "train": [sizes.train_per_task] * len(groups),
        "valid": [sizes.valid_per_task] * len(groups),
    }
    least = min(min(numbers) for numbers in totals.values())
    if least <= PER_TASK:
        raise DataError(
            f"the sizes leave a task with {least} samples of a split; it needs at least "
            f"{PER_TASK + 1}: one of each of its {PER_TASK} relations and one without any"
        )
    drafts: dict[str, list[Draft]] = {}
    parts: dict[str, list[tuple[RelationSample, ...]]] = {}
    for split, numbers in totals.items():
        drafts[split], parts[split] = [], []
        for index, (classes, total) in enumerate(zip(groups, numbers, strict=True)):
            name = f"{split}/{index}"
            rng = np.random.default_rng(derive(seed, f"demo-re/{name}"))
            samples = _task_samples(author, rng, classes=classes, total=total, name=name)
            parts[split].append(_samples(samples, split=split, first=len(drafts[split])))
            drafts[split] += samples
    tasks = tuple(
        Task(
            name=f"T{index + 1}",
            classes=classes,
            train=parts["train"][index],
            valid=parts["valid"][index],
            test=parts["test"][index],
        )
        for index, classes in enumerate(groups)
    )
    return tasks, drafts


def _task_samples(
    author: Author, rng: Random, *, classes: tuple[str, ...], total: int, name: str
) -> list[Draft]:
    """Draw the samples of one task and split, shuffled."""
    drafts: list[Draft] = []
    test = name.startswith("test/")
    for relation, count in _counts(author, classes, total).items():

        def draw(relation: str = relation) -> Draft:
            return draft_sample(author, rng, relation=relation, test=test)

        drafts += author.write(count, draw, what=f"{name} {relation}")
    return [drafts[int(index)] for index in rng.permutation(total)]
