"""Whether a model can read samples, asked before it trains on the first or scores one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mkgc_cl.data.processor import Processor
from mkgc_cl.data.samples import Sample, TaskStream
from mkgc_cl.errors import DataError, gathered

SPLITS = ("train", "valid", "test")


def require_readable(stream: TaskStream, processor: Processor) -> None:
    """Encode the text and decode the images of every sample of every split for a model.

    A mistake in the last task is then told before the first one has trained for hours. What is
    encoded and decoded stays at hand for the training.

    Args:
        stream: the stream.
        processor: the model's.

    Raises:
        DataError: all that is wrong with the samples, see
            :meth:`~mkgc_cl.data.processor.Processor.prepare`, and tasks and splits without a crop
            for a model that looks at crops.
    """
    groups = [task.train for task in stream.tasks]
    groups += [tuple(s for task in stream.tasks for s in getattr(task, k)) for k in SPLITS[1:]]
    require_samples(groups, processor)


def require_samples(groups: Iterable[Sequence[Sample]], processor: Processor) -> None:
    """Do the same for groups of samples: those of a task, or all that are scored together.

    Raises:
        DataError: all that is wrong with the samples, and groups without a crop for a model that
            looks at crops.
    """
    problems: list[DataError] = []
    every: list[Sample] = []
    for samples in groups:
        every += samples
        try:
            processor.require_crops(samples)
        except DataError as error:
            problems.append(error)
    try:
        processor.prepare(every)
    except DataError as error:
        problems += error.problems
    if problems:
        raise gathered(problems)
