"""A stream that grows: later tasks behind those that are there."""

from __future__ import annotations

from dataclasses import replace

from mkgc_cl.data.samples import LabelSpace, TaskStream
from mkgc_cl.errors import DataError


def grown(stream: TaskStream, more: TaskStream) -> TaskStream:
    """Return ``stream`` with the tasks of ``more`` behind its own.

    The outputs of the classes that were there keep their ids, so that a model built for the grown
    stream takes over what one of ``stream`` has learnt (:func:`mkgc_cl.models.load_grown`).

    Args:
        stream: a stream.
        more: a stream of other samples with other classes; give it a ``name`` of its own, which
            its uids begin with.

    Raises:
        DataError: the streams are of different kinds, or share a class or a training sample.
    """
    ours, theirs = stream.labels, more.labels
    if (ours.kind, ours.na) != (theirs.kind, theirs.na):
        raise DataError(
            f"stream {stream.name!r} is of the kind {ours.kind!r} with the negative class "
            f"{ours.na!r}, stream {more.name!r} of {theirs.kind!r} with {theirs.na!r}; give both "
            "the same"
        )
    both = [name for name in theirs.classes if name in ours.classes]
    if both:
        raise DataError(
            f"the classes {both} of stream {more.name!r} are in stream {stream.name!r} already; "
            "leave them out of its tasks="
        )
    uids = {s.uid for task in stream.tasks for s in (*task.train, *task.valid, *task.test)}
    twice = [s.uid for task in more.tasks for s in task.train if s.uid in uids]
    if twice:
        raise DataError(
            f"stream {more.name!r} has samples that stream {stream.name!r} has, too; give it a "
            "name= of its own, and samples that are new",
            sample=twice[0],
        )
    names = {task.name for task in stream.tasks}
    tasks = list(stream.tasks)
    for task in more.tasks:
        clash = task.name in names
        tasks.append(replace(task, name=f"T{len(tasks) + 1}") if clash else task)
    return TaskStream(
        stream.name,
        LabelSpace(ours.kind, (*ours.classes, *theirs.classes), na=ours.na),
        tuple(tasks),
        {
            **stream.provenance,
            "tasks": len(tasks),
            "classes": [list(task.classes) for task in tasks],
            "grown_by": more.provenance,
        },
    )
