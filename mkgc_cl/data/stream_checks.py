"""What every stream must obey before anything trains on it."""

from __future__ import annotations

from collections.abc import Iterator

from mkgc_cl.data.sample_checks import check_sample, fault, labels_of
from mkgc_cl.data.samples import RelationSample, TaskStream
from mkgc_cl.errors import DataError, gathered


def check_stream(stream: TaskStream) -> None:
    """Check what every stream must obey, wherever its samples come from.

    Raises:
        DataError: a task without training samples, two tasks of one name, a training uid used
            twice with the same labels, a uid that stands for two different samples, a sample that
            is malformed (:func:`~mkgc_cl.data.sample_checks.check_sample`), a label whose
            class a later task brings, or a class that no task or more than one task brings. What is
            wrong with samples is told of all of them at once.
    """
    brought = [name for task in stream.tasks for name in task.classes]
    if sorted(brought) != sorted(stream.labels.classes):
        raise DataError(
            f"stream {stream.name!r}: the tasks bring {brought}, the label space names "
            f"{list(stream.labels.classes)}; every class belongs to exactly one task"
        )
    names = [task.name for task in stream.tasks]
    if len(set(names)) < len(names):
        raise DataError(f"stream {stream.name!r}: two tasks share a name in {names}; rename one")
    without = [_empty(stream, task.name) for task in stream.tasks if not task.train]
    if without:
        raise gathered(without)
    for problems in (list(_repeated(stream)), list(_faulty(stream))):
        if problems:
            raise gathered(problems)


def _empty(stream: TaskStream, name: str) -> DataError:
    rule = stream.provenance.get("multi_type")
    why = (
        f" (multi_type={rule} puts a sentence with types of several tasks into one of them, "
        "duplicate into each)"
    )
    return DataError(
        f"stream {stream.name!r}: task {name!r} has no training samples"
        f"{why if rule not in (None, 'duplicate') else ''}; drop the task or give it data"
    )


def _repeated(stream: TaskStream) -> Iterator[DataError]:
    """Training samples that are there twice: exemplars are kept by identity."""
    seen: set[str] = set()
    for task in stream.tasks:
        for sample in task.train:
            if sample.identity in seen:
                yield fault(
                    sample,
                    f"used twice in the training sets of stream {stream.name!r} (again in task "
                    f"{task.name!r}); give every training sample a uid of its own",
                )
            seen.add(sample.identity)


def _faulty(stream: TaskStream) -> Iterator[DataError]:
    """Samples that are not well formed, come too early, or share a uid with another sample."""
    contents: dict[str, tuple[object, ...]] = {}
    later = {name: task.name for task in stream.tasks for name in task.classes}
    for task in stream.tasks:
        for name in task.classes:
            del later[name]
        for sample in (*task.train, *task.valid, *task.test):
            try:
                check_sample(sample, stream.labels)
            except DataError as error:
                yield error
                continue
            prefix = 0 if stream.labels.kind == "re" else len("B-")
            early = [label for label in labels_of(sample) if label[prefix:] in later]
            if early:
                here = "" if prefix == 0 else ", or tag such words O here"
                yield fault(
                    sample,
                    f"label {early[0]!r} in task {task.name!r}, but its class comes with the later "
                    f"task {later[early[0][prefix:]]!r}; move the sample to that task{here}",
                )
            # scores and teacher maps are kept by uid
            spans = (sample.head, sample.tail) if isinstance(sample, RelationSample) else ()
            content = (sample.tokens, spans, sample.visual.key)
            if contents.setdefault(sample.uid, content) != content:
                yield fault(
                    sample,
                    f"the uid stands for two different samples in stream {stream.name!r} (again in "
                    f"task {task.name!r}); give every sample a uid of its own",
                )
