"""Fewer tasks of the same stream: joined into larger ones, or the first ones only."""

from __future__ import annotations

from dataclasses import replace

from mkgc_cl.data.samples import Task, TaskStream
from mkgc_cl.errors import DataError


def merge_tasks(stream: TaskStream, size: int) -> TaskStream:
    """Join every ``size`` tasks of a relation stream into one; what is left over is the last.

    Raises:
        DataError: ``size`` is below 1, or the stream is one of tags, whose samples stand in several
            tasks with other tags in each.
    """
    if size < 1:
        raise DataError(f"{size} tasks in one; give 1 or more")
    if size == 1:
        return stream
    if stream.labels.kind != "re":
        raise DataError(f"stream {stream.name!r} is one of tags; only relation tasks can be joined")
    groups = [stream.tasks[start : start + size] for start in range(0, len(stream.tasks), size)]
    tasks = tuple(
        Task(
            f"T{number}",
            tuple(name for task in group for name in task.classes),
            *(
                tuple(s for task in group for s in getattr(task, split))
                for split in ("train", "valid", "test")
            ),
        )
        for number, group in enumerate(groups, 1)
    )
    provenance = {**stream.provenance, "merged": size}
    return TaskStream(stream.name, stream.labels, tasks, provenance)


def first_tasks(stream: TaskStream, count: int) -> TaskStream:
    """Keep the first ``count`` tasks of a stream, and the classes they bring.

    To choose settings on them, with validation samples, at a fraction of the stream's cost.

    Raises:
        DataError: ``count`` is below 1 or above the number of tasks.
    """
    if not 1 <= count <= len(stream.tasks):
        raise DataError(
            f"the first {count} tasks of stream {stream.name!r}, which has {len(stream.tasks)}; "
            f"give 1 to {len(stream.tasks)}"
        )
    if count == len(stream.tasks):
        return stream
    provenance = {**stream.provenance, "first": count}
    tasks = stream.tasks[:count]
    classes = tuple(name for task in tasks for name in task.classes)
    return TaskStream(stream.name, replace(stream.labels, classes=classes), tasks, provenance)
