"""Who is in which task: rows of the full files, file by file, line by line."""

from __future__ import annotations

from collections.abc import Collection, Sequence
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
    import numpy

    from mkgc_cl.seeds import derive

    order = numpy.random.default_rng(derive(seed, name)).permutation(sorted(classes)).tolist()
    return near_equal(order, tasks)


def near_equal(order: Sequence[str], tasks: int) -> Groups:
    """Cut classes in their order into near equal parts, the first ones larger by one.

    >>> near_equal(["a", "b", "c"], 2)
    (('a', 'b'), ('c',))

    Raises:
        ConfigError: fewer classes than tasks, or no task.
    """
    if not 1 <= tasks <= len(order):
        raise ConfigError(
            [f"tasks must be between 1 and {len(order)} (the classes there are), found {tasks}"]
        )
    sizes = [len(order) // tasks + (task < len(order) % tasks) for task in range(tasks)]
    ends = [sum(sizes[: task + 1]) for task in range(tasks)]
    return tuple(tuple(order[end - size : end]) for end, size in zip(ends, sizes, strict=True))


def deal_negatives(
    rows: Sequence[int], tasks: int, *, seed: int | None, name: str
) -> tuple[Rows, ...]:
    """Deal negative rows to tasks in shares of ``ceil(rows / tasks)``, in the order of the file.

    Args:
        rows: the rows.
        tasks: number of tasks.
        seed: ``None`` gives blocks of the file's order, as released; with a seed they are drawn.
        name: name of the generator.
    """
    if seed is not None:
        import numpy

        from mkgc_cl.seeds import derive

        rng = numpy.random.default_rng(derive(seed, name))
        rows = rng.permutation(rows).astype(int).tolist()
    size = -(-len(rows) // tasks)
    return tuple(tuple(sorted(rows[k * size : (k + 1) * size])) for k in range(tasks))


def keep_tags(tags: Sequence[str], types: Collection[str]) -> tuple[str, ...]:
    """Relabel entities of other types ``O``.

    >>> keep_tags(["B-PER", "I-PER", "B-LOC"], ["LOC"])
    ('O', 'O', 'B-LOC')
    """
    return tuple(tag if tag[2:] in types else "O" for tag in tags)
