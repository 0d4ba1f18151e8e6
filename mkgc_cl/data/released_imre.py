"""IMRE tasks as the released split files have them, matched back to the full files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from mkgc_cl.data.locate import MRE_SPLITS, MrePaths
from mkgc_cl.data.mre import parse_row
from mkgc_cl.data.negative import NEGATIVE
from mkgc_cl.data.splits import Groups, Splits
from mkgc_cl.data.splits_imre import Full
from mkgc_cl.data.textfile import Report, TextFile, raise_first, read_text
from mkgc_cl.errors import DataError

#: Rows that a released test file holds and the next ones lack, though test files are cumulative:
#: (tasks, image, head, tail). The stream keeps such a row in the task that has it first.
NOT_CUMULATIVE = frozenset(
    {(5, "twitter_stream_2018_10_10_13_0_2_49.jpg", (3, 5), (9, 11))},
)

# What to do where split files contradict one another.
_FETCH = "fetch the split files again"


@dataclass(frozen=True, slots=True)
class _Part:
    """A split file: the full file's row of each line, ``None`` where a line was reported."""

    text: TextFile
    rows: tuple[int | None, ...]

    @property
    def found(self) -> dict[int, int]:
        """Line (from 1) by row."""
        return {row: line for line, row in enumerate(self.rows, 1) if row is not None}

    def problem(self, line: int, message: str) -> DataError:
        """Build the error for ``line``."""
        return DataError(message, path=self.text.path, line=line)


def read_released_imre(
    paths: MrePaths,
    tasks: int,
    full: Full,
    texts: Mapping[str, TextFile],
    *,
    negative: str = NEGATIVE,
    report: Report = raise_first,
) -> Splits:
    """Read the released split into ``tasks`` tasks.

    Args:
        paths: where the files are.
        tasks: 5, 7 or 10.
        full: rows of the full files ``train``, ``val`` and ``test``.
        texts: the same files as lines; a released line that equals one of them is not parsed again.
        negative: name of the negative relation.
        report: gets each line that is wrong; where it returns, reading goes on.

    Raises:
        MissingDataError: a split file is missing.
        DataError: a line that the full file does not have, a row or relation in two tasks, a
            relation in validation or test that the task does not bring, test files that are not
            cumulative.
    """
    parts: dict[str, list[_Part]] = {split: [] for split in MRE_SPLITS}
    for split in MRE_SPLITS:
        finder = _Finder(texts[split], full, split, report)
        for task in range(tasks):
            parts[split].append(finder.part(read_text(paths.part(tasks, split, task))))
    groups = _groups(parts["train"], full, negative, report)
    for split in MRE_SPLITS:
        for task, part in enumerate(parts[split]):
            first = 0 if split == "test" else task
            allowed = {negative, *(name for group in groups[first : task + 1] for name in group)}
            _check_relations(part, full, split, allowed, report)
    for split in ("train", "val"):
        _check_disjoint(parts[split], report)
    _check_cumulative(parts["test"], full, tasks, report)
    train, valid, test = (tuple(tuple(part.found) for part in parts[s]) for s in MRE_SPLITS)
    return Splits(groups, train, valid, test)


class _Finder:
    """Finds the row of the full file that a line of a split file is."""

    def __init__(self, text: TextFile, full: Full, split: str, report: Report) -> None:
        self._name, self._split, self._report = text.path.name, split, report
        self._rows = full[split]
        self._by_line = {line: row for row, line in enumerate(text.lines)}
        self._by_content: dict[tuple[object, ...], int] = {}

    def part(self, text: TextFile) -> _Part:
        """Match every line of a split file."""
        rows: list[int | None] = []
        lines: dict[int, int] = {}
        for line, content in enumerate(text.lines, 1):
            try:
                row = self._row(content)
                if lines.setdefault(row, line) != line:
                    raise ValueError(
                        f"expected each row once, found a duplicate of line {lines[row]}; "
                        "remove one of the two"
                    )
                rows.append(row)
            except ValueError as error:
                self._report(DataError(str(error), path=text.path, line=line))
                rows.append(None)
        return _Part(text, tuple(rows))

    def _row(self, line: str) -> int:
        row = self._by_line.get(line)
        if row is not None:
            return row
        # Same content, other spelling (quotes, spaces): worth the time only where it occurs.
        content = parse_row(line, uid=self._split).content
        if not self._by_content:
            self._by_content = {row.content: i for i, row in enumerate(self._rows)}
        row = self._by_content.get(content)
        if row is None:
            raise ValueError(
                f"expected a row of {self._name}, found one it does not have; split files and full "
                "files must come from the same download"
            )
        return row


def _groups(parts: list[_Part], full: Full, negative: str, report: Report) -> Groups:
    groups: list[tuple[str, ...]] = []
    owner: dict[str, int] = {}
    for task, part in enumerate(parts):
        names = {row: full["train"][row].sample.relation for row in part.found}
        counts = Counter(name for name in names.values() if name != negative)
        for row, name in names.items():
            if counts[name] and owner.setdefault(name, task) != task:
                report(
                    part.problem(
                        part.found[row],
                        f"expected each relation in one task, found {name!r}, which "
                        f"{parts[owner[name]].text.path.name} has too; {_FETCH}",
                    )
                )
                del counts[name]
        if not counts:
            message = f"expected a relation besides {negative!r}, found none; {_FETCH}"
            report(part.problem(1, message))
        groups.append(tuple(sorted(counts, key=lambda name: (-counts[name], name))))
    return tuple(groups)


def _check_relations(
    part: _Part, full: Full, split: str, allowed: set[str], report: Report
) -> None:
    for row, line in part.found.items():
        name = full[split][row].sample.relation
        if name not in allowed:
            report(
                part.problem(
                    line,
                    f"expected only relations the task's training file has "
                    f"({', '.join(sorted(allowed))}), found {name!r}; {_FETCH}",
                )
            )


def _check_disjoint(parts: list[_Part], report: Report) -> None:
    owner: dict[int, _Part] = {}
    for part in parts:
        for row, line in part.found.items():
            other = owner.setdefault(row, part)
            if other is not part:
                report(
                    part.problem(
                        line,
                        "expected each row in one task, found a row of "
                        f"{other.text.path.name}:{other.found[row]}; {_FETCH}",
                    )
                )


def _check_cumulative(parts: list[_Part], full: Full, tasks: int, report: Report) -> None:
    for before, after in pairwise(parts):
        for row in before.found.keys() - after.found.keys():
            sample, image = full["test"][row].sample, full["test"][row].image
            if (tasks, image, sample.head, sample.tail) not in NOT_CUMULATIVE:
                report(
                    before.problem(
                        before.found[row],
                        f"expected test files to be cumulative, found a row that "
                        f"{after.text.path.name} lacks; {_FETCH}",
                    )
                )
