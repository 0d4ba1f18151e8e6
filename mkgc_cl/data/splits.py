"""Who is in which task: rows of the full files, file by file, line by line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mkgc_cl.errors import ConfigError

#: Rows of a full file (from 0), in the order of the lines of a split file.
Rows = tuple[int, ...]

Groups = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Splits:
    """The split files of a stream as row numbers of the full files.

    Args:
        groups: the classes of each task, in order of arrival.
        train: rows of each task.
        valid: rows of each task.
        test: rows of the cumulative test file after each task.
    """

    groups: Groups
    train: tuple[Rows, ...]
    valid: tuple[Rows, ...]
    test: tuple[Rows, ...]

    def test_added(self, task: int) -> tuple[tuple[int, int], ...]:
        """Return ``(line, row)`` of what ``task`` (from 0) adds to the cumulative test file."""
        before = {row for rows in self.test[:task] for row in rows}
        return tuple((line, row) for line, row in enumerate(self.test[task]) if row not in before)


def drawn_groups(classes: Sequence[str], tasks: int, *, seed: int, name: str) -> Groups:
    """Draw which class comes in which task: a uniform permutation, cut into near equal parts.

    Args:
        classes: the classes; their order does not matter.
        tasks: number of parts; the first ones are larger by one where it does not divide.
        seed: the run's seed.
        name: name of the generator.

    Raises:
        ConfigError: fewer classes than tasks, or no task.
    """
    if not 1 <= tasks <= len(classes):
        raise ConfigError(
            [f"tasks must be between 1 and {len(classes)} (the classes there are), found {tasks}"]
        )
    import numpy

    from mkgc_cl.seeds import derive

    order = numpy.random.default_rng(derive(seed, name)).permutation(sorted(classes)).tolist()
    sizes = [len(order) // tasks + (task < len(order) % tasks) for task in range(tasks)]
    ends = [sum(sizes[: task + 1]) for task in range(tasks)]
    return tuple(tuple(order[end - size : end]) for end, size in zip(ends, sizes, strict=True))
