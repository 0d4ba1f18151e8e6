"""IMRE tasks built from the full files: the released ones, or any other.

How the released splits are made (found by comparing them line by line with the full files, and
reproduced exactly by :func:`build_imre`): each file holds the rows of its relations in the order of
the full file, then a block of N/A rows, also in that order. The N/A rows of a full file are cut
into blocks of ``ceil(n / tasks)`` consecutive ones, block k for task k. Test files are cumulative.
Only the choice of relations follows no rule; :data:`RELEASED` lists it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from mkgc_cl.data.locate import MRE_SPLITS
from mkgc_cl.data.mre import RelationRow
from mkgc_cl.data.negative import NEGATIVE
from mkgc_cl.data.splits import Groups, Rows, Splits, deal_negatives
from mkgc_cl.errors import ConfigError, DataError

_P, _M, _O = "/per/per/", "/per/misc/", "/org/org/"

#: Relations of each task in the released splits, most frequent first.
RELEASED: Mapping[int, Groups] = MappingProxyType(
    {
        10: (
            (_P + "peer", _M + "religion"),
            ("/per/org/member_of", _P + "charges"),
            ("/loc/loc/contain", _P + "siblings"),
            (_M + "present_in", _P + "neighbor"),
            ("/org/loc/locate_at", _M + "awarded"),
            ("/per/loc/place_of_residence", _P + "parent"),
            ("/misc/loc/held_on", _M + "nationality"),
            (_O + "subsidiary", "/misc/misc/part_of"),
            (_P + "alternate_names", "/per/loc/place_of_birth"),
            (_P + "couple", _O + "alternate_names"),
        ),
        7: (
            (_P + "peer", "/per/org/member_of", _M + "religion"),
            ("/loc/loc/contain", _P + "charges", _P + "siblings"),
            (_M + "present_in", "/org/loc/locate_at", _P + "neighbor"),
            ("/per/loc/place_of_residence", _M + "awarded", _P + "parent"),
            ("/misc/loc/held_on", _O + "subsidiary", _M + "nationality"),
            (_P + "alternate_names", "/misc/misc/part_of", "/per/loc/place_of_birth"),
            (_P + "couple", _O + "alternate_names"),
        ),
        5: (
            (_P + "peer", "/per/org/member_of", _P + "charges", _M + "religion"),
            ("/loc/loc/contain", _M + "present_in", _P + "siblings", _P + "neighbor"),
            ("/org/loc/locate_at", "/per/loc/place_of_residence", _M + "awarded", _P + "parent"),
            ("/misc/loc/held_on", _O + "subsidiary", _M + "nationality", "/misc/misc/part_of"),
            (
                _P + "alternate_names",
                _P + "couple",
                _O + "alternate_names",
                "/per/loc/place_of_birth",
            ),
        ),
    }
)

Full = Mapping[str, Sequence[RelationRow]]


def usable_relations(full: Full, negative: str = NEGATIVE) -> tuple[str, ...]:
    """Return the positive relations that training, validation and test files all have.

    In the released files these are the 20 of the released splits (``alumi`` and ``race`` have no
    test row), most frequent in training first.

    Args:
        full: rows of the files ``train``, ``val`` and ``test``.
        negative: name of the negative relation.
    """
    counts = [Counter(row.sample.relation for row in full[split]) for split in MRE_SPLITS]
    names = set.intersection(*(set(count) for count in counts)) - {negative}
    return tuple(sorted(names, key=lambda name: (-counts[0][name], name)))


def build_imre(
    full: Full,
    groups: Groups,
    *,
    seed: int | None = None,
    file: Path | None = None,
    negative: str = NEGATIVE,
) -> Splits:
    """Build splits from the full files.

    Args:
        full: rows of the files ``train``, ``val`` and ``test``.
        groups: the relations of each task.
        seed: ``None`` gives N/A rows to tasks in blocks of the file's order, as released; with a
            seed they are drawn.
        file: the training file, for an error to name.
        negative: name of the negative relation.

    Raises:
        ConfigError: no task, a task without relations, a relation named twice, N/A named.
        DataError: a relation without a training row.
    """
    names = [name for group in groups for name in group]
    problems = [f"relation {name!r} is named twice" for name, n in Counter(names).items() if n > 1]
    if not groups or not all(groups):
        problems.append("each task needs at least one relation")
    if negative in names:
        problems.append(f"{negative!r} is in every task already; leave it out of classes")
    if problems:
        raise ConfigError(problems)
    present = {row.sample.relation for row in full["train"]}
    absent = [name for name in names if name not in present]
    if absent:
        raise DataError(
            f"expected rows of the relation {absent[0]!r}, found none; fetch the file again, or "
            f"give classes= of those it has: {sorted(present - {negative})}",
            path=file,
        )
    columns = {}
    for split in MRE_SPLITS:
        relations = [row.sample.relation for row in full[split]]
        rows = [row for row, name in enumerate(relations) if name == negative]
        blocks = deal_negatives(rows, len(groups), seed=seed, name=f"imre/na/{split}")
        columns[split] = tuple(
            _file(relations, groups, blocks, task=task, cumulative=split == "test")
            for task in range(len(groups))
        )
    return Splits(groups, columns["train"], columns["val"], columns["test"])


def _file(
    relations: Sequence[str], groups: Groups, blocks: Sequence[Rows], *, task: int, cumulative: bool
) -> Rows:
    first = 0 if cumulative else task
    names = {name for group in groups[first : task + 1] for name in group}
    positives = (row for row, name in enumerate(relations) if name in names)
    return (*positives, *(row for block in blocks[first : task + 1] for row in block))
