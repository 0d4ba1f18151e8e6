"""A task stream as an Avalanche benchmark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from avalanche.benchmarks import CLScenario, EagerCLStream
from avalanche.benchmarks.scenarios.dataset_scenario import DatasetExperience
from avalanche.benchmarks.utils import (
    AvalancheDataset,
    ConstantSequence,
    DataAttribute,
    TaskAwareSupervisedClassificationDataset,
)

from mkgc_cl.data.sample_checks import fault
from mkgc_cl.data.samples import LabelSpace, RelationSample, Sample, Task, TaskStream
from mkgc_cl.data.stream_checks import check_stream
from mkgc_cl.errors import ConfigError


class SampleDataset(Sequence[tuple[Sample, int]]):
    """Samples with one group label each, which Avalanche's class-based tools can group by.

    Args:
        samples: the samples.
        labels: the stream's classes. The group of a relation sample is its output id (N/A is 0);
            the group of a tagged sample is the position of its first entity's type among
            ``labels.classes`` plus 1, or 0 where it has none.
    """

    def __init__(self, samples: Sequence[Sample], labels: LabelSpace) -> None:
        self.samples = tuple(samples)
        self.targets = [group_label(sample, labels) for sample in self.samples]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: Any) -> Any:
        return self.samples[index], self.targets[index]


def group_label(sample: Sample, labels: LabelSpace) -> int:
    """Group of a sample: its class, numbered from 1 in order of arrival, 0 for the negative one."""
    if isinstance(sample, RelationSample):
        name = sample.relation
    else:
        name = next((tag[2:] for tag in sample.tags if tag.startswith("B-")), "")
    if name in ("", labels.na):
        return 0
    if name not in labels.classes:
        raise fault(
            sample,
            f"class {name!r} is not one of the stream's {list(labels.classes)}; correct it, or add "
            "it to the label space and to a task",
        )
    return 1 + labels.classes.index(name)


def avalanche_dataset(
    data: SampleDataset | AvalancheDataset, *, collate_fn: Callable[[Any], Any]
) -> AvalancheDataset:
    """Return samples as an Avalanche dataset with groups, task labels and a collate function.

    Args:
        data: samples, or such a dataset, whose groups and task labels stay as they are.
        collate_fn: makes a batch of its items, for loaders that Avalanche makes.
    """
    attributes = None
    if isinstance(data, SampleDataset):
        attributes = [
            DataAttribute(data.targets, "targets"),
            DataAttribute(ConstantSequence(0, len(data)), "targets_task_labels"),
        ]
    return TaskAwareSupervisedClassificationDataset(
        [data], data_attributes=attributes, collate_fn=collate_fn
    )


def _without_model(items: Any) -> NoReturn:
    raise ConfigError(
        [
            "samples become batches by a model's processor, which Avalanche's own strategies do "
            "not know; use MultimodalStrategy(plugins=[...]), or in place of Naive "
            "adapt_strategy(Naive), both of mkgc_cl.strategies"
        ]
    )


class KnowledgeExperience(DatasetExperience[AvalancheDataset]):
    """One task of one stream.

    Attributes:
        task_name: short name.
        classes: names of the positive classes this task brings.
        classes_in_this_experience: ids of the outputs they own, N/A or ``O`` (id 0) included.
        na: name of the N/A relation, ``None`` for tagging streams.
        labels: the whole label space.
        samples: the samples, with their identities.
        task_labels: Avalanche's task labels: always 0, for no task is told at test time.

    Args:
        task: the task.
        samples: its samples in this stream.
        labels: the whole label space.
        index: position of the task, from 0.
    """

    def __init__(
        self, task: Task, samples: Sequence[Sample], *, labels: LabelSpace, index: int
    ) -> None:
        data = SampleDataset(samples, labels)
        dataset = avalanche_dataset(data, collate_fn=_without_model)
        super().__init__(dataset=dataset, current_experience=index)
        self.task_labels = [0]
        self.task_name = task.name
        self.classes = task.classes
        self.classes_in_this_experience = list(labels.output_ids(task.classes))
        self.na = labels.na
        self.labels = labels
        self.samples = data.samples

    @property
    def benchmark(self) -> Any:
        """The benchmark, where Avalanche's confusion matrix looks for it."""
        return self.origin_stream.benchmark

    def bind(self, dataset: AvalancheDataset) -> KnowledgeExperience:
        """Return this experience with its dataset replaced (same samples, a model's collate)."""
        bound = self.__class__.__new__(self.__class__)
        bound.__dict__.update(self.__dict__)
        bound._dataset = dataset
        return bound


def experiences_of(given: Any) -> list[KnowledgeExperience]:
    """Experiences that are given as one, or as any collection of them."""
    return [given] if isinstance(given, KnowledgeExperience) else list(given)


class KnowledgeBenchmark(CLScenario[Any]):
    """An Avalanche benchmark with ``train_stream``, ``valid_stream`` and ``test_stream``.

    Experience k of the test stream holds what task k adds, so that A_k pools experiences 0 to k.

    Args:
        stream: the stream it is made of, kept as ``stream``.
    """

    def __init__(self, stream: TaskStream) -> None:
        check_stream(stream)
        self.stream = stream
        self.labels = stream.labels
        super().__init__(
            [
                EagerCLStream(
                    split,
                    [
                        KnowledgeExperience(
                            task, getattr(task, split), labels=stream.labels, index=index
                        )
                        for index, task in enumerate(stream.tasks)
                    ],
                )
                for split in ("train", "valid", "test")
            ]
        )
        for part in self.streams.values():
            part.benchmark = self


def make_benchmark(stream: TaskStream) -> KnowledgeBenchmark:
    """Make a benchmark of any task stream; the way in for data of one's own.

    Raises:
        DataError: a task without training samples, two tasks of one name, a training uid used
            twice with the same labels, a uid that stands for two different samples, a sample that
            is not well formed (:func:`~mkgc_cl.data.sample_checks.check_sample`), a label whose
            class a later task brings, or a class that no task or more than one task brings. What is
            wrong with samples is told of all of them at once.
    """
    return KnowledgeBenchmark(stream)
