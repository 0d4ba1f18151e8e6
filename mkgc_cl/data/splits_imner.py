"""IMNER tasks: the released split files, and the same or other splits built from the full files.

The released splits are reproduced exactly by :func:`build_imner` with ``rule="priority"``: a
sentence goes to one task, that of the first type it has of MISC > LOC > ORG > PER; its other
entities are relabelled ``O``; sentences without an entity are left out; the order is that of the
full file. Every test file holds all test sentences, with the types seen so far.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

from mkgc_cl.data.files.schemes import Scheme
from mkgc_cl.data.locate import MNER_SPLITS, MnerPaths
from mkgc_cl.data.mner import TYPES, TaggingRow, scan_mner
from mkgc_cl.data.splits import Groups, Rows, Splits, keep_tags
from mkgc_cl.data.textfile import Report, TextFile, raise_first, read_text
from mkgc_cl.errors import ConfigError, DataError

Rule = Literal["priority", "keep-all-mentions", "complete"]

#: A sentence with several types goes to the task of the first of these it has.
PRIORITY = ("MISC", "LOC", "ORG", "PER")

#: Folders of the released splits by order of the types.
RELEASED: Mapping[Groups, str] = MappingProxyType(
    {
        (("PER",), ("ORG",), ("LOC",), ("MISC",)): "sep-POLM-NEW",
        (("PER",), ("LOC",), ("ORG",), ("MISC",)): "sep-PLOM",
    }
)

Full = Mapping[str, Sequence[TaggingRow]]


def as_groups(order: Sequence[str | Sequence[str]], types: Collection[str] = TYPES) -> Groups:
    """Return the types of each task; a task of several types is written as a tuple.

    Args:
        order: the types or tuples of them.
        types: the types that there are.

    Raises:
        ConfigError: not each of the types exactly once, or an empty task.
    """
    groups = tuple((item,) if isinstance(item, str) else tuple(item) for item in order)
    if sorted(name for group in groups for name in group) != sorted(types) or not all(groups):
        raise ConfigError(
            [f"order must name each of {', '.join(types)} once, found {tuple(order)!r}"]
        )
    return groups


def build_imner(
    full: Full, groups: Groups, *, rule: Rule = "priority", file: Path | None = None
) -> Splits:
    """Build splits from the full files.

    Args:
        full: sentences of the files ``train``, ``valid`` and ``test``.
        groups: the types of each task.
        rule: ``"priority"`` puts a sentence into one task, as released: by :data:`PRIORITY`, or
            that of its rarest type where there are others. ``"keep-all-mentions"`` puts it into
            every task it has an entity for, so no training mention is lost; the sentence (same
            uid) then recurs with the tags of that task only. ``"complete"`` hides nothing, which
            no continual learner can ask for: the first task has every sentence, a later one those
            with an entity of its types, each with the tags of all types so far.
        file: the training file, for an error to name.

    Raises:
        ConfigError: an unknown rule.
        DataError: a type without a training sentence.
    """
    if rule not in get_args(Rule):
        raise ConfigError([f"rule must be one of {', '.join(get_args(Rule))}, found {rule!r}"])
    columns: dict[str, tuple[Rows, ...]] = {}
    priority: Sequence[str] = PRIORITY
    if any(name not in PRIORITY for group in groups for name in group):
        counts = Counter(t[2:] for row in full["train"] for t in row.sample.tags if t[0] == "B")
        priority = sorted(counts, key=lambda name: (counts[name], name))
    for split in ("train", "valid"):
        types = [_types(row, rule, priority) for row in full[split]]
        columns[split] = tuple(
            tuple(i for i, mine in enumerate(types) if not mine.isdisjoint(group))
            for group in groups
        )
        if rule == "complete":
            columns[split] = (tuple(range(len(types))), *columns[split][1:])
    for group, rows in zip(groups, columns["train"], strict=True):
        seen = {tag[2:] for row in rows for tag in full["train"][row].sample.tags}
        absent = [name for name in group if name not in seen]
        if absent:
            hidden = any(f"B-{absent[0]}" in row.sample.tags for row in full["train"])
            advice = 'take rule="keep-all-mentions"' if hidden else "fetch the file again"
            raise DataError(
                f"expected sentences for the type {absent[0]!r} (rule {rule!r}), found none; "
                f"{advice}",
                path=file,
            )
    everything = tuple(range(len(full["test"])))
    return Splits(groups, columns["train"], columns["valid"], (everything,) * len(groups))


def _types(row: TaggingRow, rule: Rule, priority: Sequence[str]) -> set[str]:
    types = {tag[2:] for tag in row.sample.tags if tag != "O"}
    if rule == "priority" and types:
        return {next(name for name in priority if name in types)}
    return types


def read_released_imner(
    paths: MnerPaths,
    groups: Groups,
    full: Full,
    *,
    scheme: Scheme = "BIO",
    repair: str = "",
    report: Report = raise_first,
) -> Splits:
    """Read a released split.

    Args:
        paths: where the files are.
        groups: one of the keys of :data:`RELEASED`.
        full: sentences of the full files.
        scheme: that of the full files.
        repair: as for the full files.
        report: gets each problem; where it returns, reading goes on.

    Raises:
        MissingDataError: a split file is missing.
        DataError: a sentence the full file does not have, one whose tags are not those of the full
            file with the task's types only, one in two tasks, a test file that lacks one.
    """
    columns: dict[str, list[Rows]] = {split: [] for split in MNER_SPLITS}
    for split in MNER_SPLITS:
        by_content = {row.content: i for i, row in enumerate(full[split])}
        owner: dict[int, str] = {}
        for task in range(len(groups)):
            text = read_text(paths.part(RELEASED[groups], split, task))
            first = 0 if split == "test" else task
            types = {name for group in groups[first : task + 1] for name in group}
            parts = scan_mner(text, split=split, scheme=scheme, repair=repair, report=report)
            rows = _match(text, parts, split, by_content, full[split], types, report)
            columns[split].append(tuple(rows))
            if split == "test":
                _check_complete(text, len(rows), len(full[split]), report)
                continue
            for row, line in rows.items():
                other = owner.setdefault(row, text.path.name)
                if other != text.path.name:
                    message = (
                        f"expected each sentence in one task, found one of {other}; fetch the "
                        "split files again"
                    )
                    report(DataError(message, path=text.path, line=line))
    train, valid, test = (tuple(columns[split]) for split in MNER_SPLITS)
    return Splits(groups, train, valid, test)


def _match(
    text: TextFile,
    parts: Sequence[TaggingRow],
    split: str,
    by_content: Mapping[tuple[object, ...], int],
    full: Sequence[TaggingRow],
    types: set[str],
    report: Report,
) -> dict[int, int]:
    """Return the line of each row of the full file that ``text`` holds."""
    found: dict[int, int] = {}
    for part in parts:
        row = by_content.get(part.content)
        if row is None:
            message = (
                f"expected a sentence of {split}.txt, found one it does not have "
                f"(IMGID:{part.image}); split files and full files must come from one download"
            )
            report(DataError(message, path=text.path, line=part.line))
            continue
        found[row] = part.line
        expected = keep_tags(full[row].sample.tags, types)
        pairs = zip(expected, part.sample.tags, part.sample.tokens, strict=True)
        for word, (wanted, tag, token) in enumerate(pairs):
            if wanted != tag:
                message = (
                    f"expected the tag {wanted} for {token!r} ({split}.txt with the types "
                    f"{', '.join(sorted(types))} only), found {tag}; fetch the file again"
                )
                report(DataError(message, path=text.path, line=part.lines[word]))
    return found


def _check_complete(text: TextFile, found: int, expected: int, report: Report) -> None:
    if found != expected:
        message = f"expected all {expected} test sentences, found {found}; fetch the file again"
        report(DataError(message, path=text.path))
