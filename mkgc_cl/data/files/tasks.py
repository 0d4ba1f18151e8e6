"""Classes cut into tasks, and the samples of each task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from mkgc_cl.data.files.corpus import classes_by_frequency
from mkgc_cl.data.files.records import SPLITS, Account, Record, Split
from mkgc_cl.data.samples import RelationSample, TaggingSample
from mkgc_cl.data.splits import Groups, deal_negatives, drawn_groups, keep_tags, near_equal
from mkgc_cl.errors import ConfigError

MultiType = Literal["rarest", "first", "keep-all", "duplicate"]

Columns = dict[Split, tuple[tuple[Record, ...], ...]]
"""Records of every task, by split."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How classes and samples come into tasks.

    Args:
        tasks: the classes of each task, or the number of tasks; by default one for each class.
        classes_per_task: the other way to say it; the last task takes what is left.
        order: the classes in order of arrival; by default the most frequent first.
        multi_type: the task of a sentence with types of several tasks. ``"rarest"``: that of its
            rarest type (on the training set; the rule of the released IMNER splits); ``"first"``:
            that of the type which arrives first; in both its other mentions are tagged ``O``.
            ``"keep-all"``: that of the type which arrives last, with all of its mentions.
            ``"duplicate"``: every one of them, each time with the mentions of that task alone.
        negative: name of the negative relation; ``None`` for tags.
        seed: draws the order, if there is none, and the task of each negative sample.
    """

    tasks: int | Sequence[str | Sequence[str]] | None = None
    classes_per_task: int | None = None
    order: Sequence[str] | None = None
    multi_type: MultiType = "rarest"
    negative: str | None = None
    seed: int | None = None

    def problems(self) -> list[str]:
        """Mistakes that show without the files."""
        wrong = []
        if self.multi_type not in get_args(MultiType):
            choices = ", ".join(get_args(MultiType))
            wrong.append(f"multi_type must be one of {choices}; found {self.multi_type!r}")
        if self.tasks is not None and self.classes_per_task is not None:
            wrong.append("give tasks or classes_per_task, not both")
        if self.classes_per_task is not None and self.classes_per_task < 1:
            wrong.append(f"classes_per_task must be 1 or more, found {self.classes_per_task}")
        listed = self.tasks is not None and not isinstance(self.tasks, int)
        if listed and self.order is not None:
            wrong.append("tasks lists the classes in their order already; leave order out")
        return wrong


def group_classes(plan: Plan, counts: Mapping[str, int]) -> Groups:
    """Return the classes of each task.

    Args:
        plan: how.
        counts: how often each class is there on the training set.

    Raises:
        ConfigError: a class named twice or missing from the training set, or a number of tasks
            that does not fit.
    """
    if plan.tasks is not None and not isinstance(plan.tasks, int):
        groups = tuple((g,) if isinstance(g, str) else tuple(g) for g in plan.tasks)
        _check([name for group in groups for name in group], counts, plan.negative, "tasks")
        if not groups or not all(groups):
            raise ConfigError(["tasks must give each task at least one class"])
        return groups
    if plan.order is not None:
        names = list(plan.order)
        _check(names, counts, plan.negative, "order")
    else:
        names = sorted(counts, key=lambda name: (-counts[name], name))
        if plan.seed is not None and names:
            drawn = drawn_groups(names, 1, seed=plan.seed, name="files/classes")
            names = [*drawn[0]]
    if isinstance(plan.tasks, int):
        return near_equal(names, plan.tasks)
    size = plan.classes_per_task or 1
    return tuple(tuple(names[start : start + size]) for start in range(0, len(names), size))


def _check(names: Sequence[str], counts: Mapping[str, int], negative: str | None, key: str) -> None:
    there = ", ".join(sorted(counts)) or "none"
    problems = [f"{key} names {name!r} twice" for name, n in Counter(names).items() if n > 1]
    problems += [
        f"{key} names {name!r}, which is in every task already; leave it out"
        if name == negative
        else f"{key} names {name!r}, which no training sample has; the files have {there}"
        for name in names
        if name not in counts
    ]
    if problems:
        raise ConfigError(problems)


def place_samples(
    records: Mapping[Split, Sequence[Record]], groups: Groups, plan: Plan, account: Account
) -> Columns:
    """Give every sample to its task or tasks; what no task takes is counted in ``account``.

    The samples that a task adds to the test set are, of relations, those of its classes and its
    share of the negative ones; of tags, all test sentences with the mentions of its types.
    """
    if plan.negative is None:
        return _tagged(records, groups, plan.multi_type, account)
    return _related(records, groups, plan.negative, plan.seed, account)


def _related(
    records: Mapping[Split, Sequence[Record]],
    groups: Groups,
    negative: str,
    seed: int | None,
    account: Account,
) -> Columns:
    columns: Columns = {}
    for split in SPLITS:
        names = [_relation(record) for record in records[split]]
        blocks = deal_negatives(
            [row for row, name in enumerate(names) if name == negative],
            len(groups),
            seed=seed,
            name=f"files/na/{split}",
        )
        columns[split] = tuple(
            tuple(
                records[split][row]
                for row in (*(r for r, name in enumerate(names) if name in group), *block)
            )
            for group, block in zip(groups, blocks, strict=True)
        )
        taken = {negative, *(name for group in groups for name in group)}
        for name in names:
            if name not in taken:
                account.left_out[f"{split}: samples of {name!r}, in no task"] += 1
    return columns


def _relation(record: Record) -> str:
    sample = record.sample
    return sample.relation if isinstance(sample, RelationSample) else ""


def _tagged(
    records: Mapping[Split, Sequence[Record]],
    groups: Groups,
    multi_type: MultiType,
    account: Account,
) -> Columns:
    task_of = {name: task for task, group in enumerate(groups) for name in group}
    counts = classes_by_frequency(records["train"], None)
    columns: Columns = {
        "test": tuple(
            tuple(_with_types(record, group) for record in records["test"]) for group in groups
        )
    }
    _count_types(records["test"], task_of, "test", account)
    for split in SPLITS[:2]:
        _count_types(records[split], task_of, split, account)
        tasks: list[list[Record]] = [[] for _ in groups]
        for record in records[split]:
            types = {name for name in _mentions(record) if name in task_of}
            if not types:
                account.left_out[f"{split}: sentences without an entity of any task"] += 1
                continue
            mine = sorted({task_of[name] for name in types})
            kept: Collection[str] = task_of
            if multi_type == "rarest":
                rarest = min(types, key=lambda name: (counts[name], name))
                mine = [task_of[rarest]]
            elif multi_type != "duplicate":
                mine = mine[:1] if multi_type == "first" else mine[-1:]
            for task in mine:
                kept = task_of if multi_type == "keep-all" else groups[task]
                tasks[task].append(_with_types(record, kept))
            if multi_type in ("rarest", "first"):
                hidden = sum(task_of.get(name, mine[0]) != mine[0] for name in _mentions(record))
                if hidden:
                    account.left_out[f"{split}: mentions of another task's types"] += hidden
        columns[split] = tuple(map(tuple, tasks))
    return columns


def _count_types(
    records: Sequence[Record], task_of: Collection[str], split: str, account: Account
) -> None:
    for record in records:
        for name in _mentions(record):
            if name not in task_of:
                account.left_out[f"{split}: mentions of {name!r}, in no task"] += 1


def _mentions(record: Record) -> list[str]:
    sample = record.sample
    if isinstance(sample, RelationSample):
        return []
    return [tag[2:] for tag in sample.tags if tag.startswith("B-")]


def _with_types(record: Record, types: Collection[str]) -> Record:
    sample = record.sample
    if not isinstance(sample, TaggingSample):
        return record
    return replace(record, sample=replace(sample, tags=keep_tags(sample.tags, types)))
