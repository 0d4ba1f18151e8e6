"""A task stream as a benchmark: streams, what experiences know, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from avalanche.benchmarks import CLScenario
from torch.utils.data import DataLoader

from mkgc_cl.data.images import FileImage
from mkgc_cl.data.samples import (
    LabelSpace,
    Place,
    RelationSample,
    TaggingSample,
    Task,
    TaskStream,
    VisualInput,
)
from mkgc_cl.errors import ConfigError, DataError
from mkgc_cl.scenarios import KnowledgeBenchmark, KnowledgeExperience, make_benchmark
from mkgc_cl.scenarios.benchmark import avalanche_dataset, group_label


def relation(uid: str, name: str, **changes: Any) -> RelationSample:
    return replace(RelationSample(uid, ("a", "b", "c"), (0, 1), (2, 3), name), **changes)


def tagged(uid: str, *tags: str) -> TaggingSample:
    return TaggingSample(uid, tuple(f"w{i}" for i in range(len(tags))), tags)


RE = TaskStream(
    "mine-re",
    LabelSpace("re", ("born", "works", "owns"), na="none"),
    (
        Task(
            "first",
            ("born", "works"),
            (relation("t/0", "born"), relation("t/1", "none"), relation("t/2", "works")),
            (relation("v/0", "none"),),
            (relation("e/0", "works"),),
        ),
        Task("second", ("owns",), (relation("t/3", "owns"), relation("t/4", "none")), (), ()),
    ),
    {"made": "by hand"},
)

NER = TaskStream(
    "mine-ner",
    LabelSpace("ner", ("PER", "LOC")),
    (
        Task(
            "PER",
            ("PER",),
            (tagged("t/0", "O", "B-PER", "I-PER"), tagged("t/1", "O")),
            (),
            (tagged("e/0", "B-PER", "O"),),
        ),
        Task("LOC", ("LOC",), (tagged("t/2", "B-LOC"),), (), (tagged("e/0", "O", "B-LOC"),)),
    ),
    {},
)


def test_streams_and_what_experiences_know() -> None:
    benchmark = make_benchmark(RE)
    assert isinstance(benchmark, KnowledgeBenchmark)
    assert isinstance(benchmark, CLScenario)
    assert benchmark.stream is RE
    assert set(benchmark.streams) == {"train", "valid", "test"}
    for split in ("train", "valid", "test"):
        stream = getattr(benchmark, f"{split}_stream")
        assert stream.name == split
        assert len(stream) == 2
        for index, (experience, task) in enumerate(zip(stream, RE.tasks, strict=True)):
            assert isinstance(experience, KnowledgeExperience)
            assert experience.current_experience == index
            assert experience.origin_stream is stream
            assert experience.task_name == task.name
            assert experience.classes == task.classes
            assert experience.na == "none"
            assert experience.labels is RE.labels
            assert experience.samples == getattr(task, split)
            assert len(experience.dataset) == len(experience.samples)
    first, second = benchmark.train_stream
    assert first.classes_in_this_experience == [0, 1, 2]
    assert second.classes_in_this_experience == [0, 3]
    assert list(first.dataset.targets) == [1, 0, 2]
    assert [first.dataset[i][0].uid for i in range(3)] == ["t/0", "t/1", "t/2"]
    assert [first.dataset[i][1] for i in range(3)] == [1, 0, 2]


def test_tagging_stream() -> None:
    benchmark = make_benchmark(NER)
    first, second = benchmark.train_stream
    assert first.na is None
    assert first.classes_in_this_experience == [0, 1, 2]
    assert second.classes_in_this_experience == [0, 3, 4]
    assert list(first.dataset.targets) == [1, 0]
    assert list(second.dataset.targets) == [2]


def test_slices_keep_numbers_and_origin() -> None:
    part = make_benchmark(RE).test_stream[1:]
    assert [experience.current_experience for experience in part] == [1]
    assert part[0].origin_stream.name == "test"


def test_logging_copies_keep_the_attributes() -> None:
    """Avalanche shows metrics such a copy."""
    copy = make_benchmark(RE).train_stream[0].logging()
    assert (copy.task_name, copy.classes, copy.na) == ("first", ("born", "works"), "none")


def test_datasets_have_what_avalanche_asks_of_them() -> None:
    """Task labels and one set a task, also where the collate function was replaced; a benchmark."""
    benchmark = make_benchmark(RE)
    experience = benchmark.train_stream[0]
    collated = avalanche_dataset(experience.dataset, collate_fn=len)
    assert experience.task_labels == [0]
    assert experience.logging().benchmark is benchmark
    for dataset in (experience.dataset, collated, collated.subset([0, 1, 2])):
        assert list(dataset.targets_task_labels) == [0, 0, 0]
        assert set(dataset.task_set[0].targets.uniques) == {0, 1, 2}
    assert collated.collate_fn([experience.dataset[0]]) == 1


def test_samples_are_not_collated_without_a_model() -> None:
    dataset = make_benchmark(RE).train_stream[0].dataset
    with pytest.raises(ConfigError, match="MultimodalStrategy"):
        next(iter(DataLoader(dataset, collate_fn=dataset.collate_fn)))


def test_bind_replaces_the_dataset_of_a_copy() -> None:
    experience = make_benchmark(RE).train_stream[0]
    other = experience.dataset.subset([0])
    bound = experience.bind(other)
    assert bound.dataset is other
    assert bound.task_name == "first"
    assert bound.origin_stream is experience.origin_stream
    assert len(experience.dataset) == 3


@pytest.mark.parametrize(
    ("sample", "label"),
    [
        (relation("x", "none"), 0),
        (relation("x", "born"), 1),
        (relation("x", "owns"), 3),
    ],
)
def test_group_of_a_relation(sample: RelationSample, label: int) -> None:
    assert group_label(sample, RE.labels) == label


@pytest.mark.parametrize(
    ("tags", "label"),
    [(("O", "O"), 0), (("O", "B-LOC", "B-PER"), 2), (("B-PER", "I-PER", "B-LOC"), 1)],
)
def test_group_of_a_tagged_sample_is_its_first_entity(tags: tuple[str, ...], label: int) -> None:
    assert group_label(tagged("x", *tags), NER.labels) == label


def test_a_label_the_stream_lacks() -> None:
    with pytest.raises(DataError, match=r"sample x: class 'sells' is not one of the stream's"):
        group_label(relation("x", "sells"), RE.labels)
    stray = replace(RE.tasks[1], test=(relation("e/9", "sells"),))
    with pytest.raises(DataError, match="sample e/9"):
        make_benchmark(replace(RE, tasks=(RE.tasks[0], stray)))


FIRST, SECOND = RE.tasks

MISTAKES = {
    "class brought twice": (
        (FIRST, replace(SECOND, classes=("owns", "born"))),
        "every class belongs to exactly one task",
    ),
    "training uid in two tasks": (
        (FIRST, replace(SECOND, train=(*SECOND.train, FIRST.train[1]))),
        r"sample t/1: used twice .* \(again in task 'second'\)",
    ),
    "one uid, two samples": (
        (FIRST, replace(SECOND, test=(relation("e/0", "owns", tokens=("x", "y", "z")),))),
        r"sample e/0: the uid stands for two different samples .* \(again in task 'second'\)",
    ),
    "one uid, two pairs of entities": (
        (FIRST, replace(SECOND, test=(relation("e/0", "owns", head=(1, 2)),))),
        "sample e/0: the uid stands for two different samples",
    ),
    "one uid, two images": (
        (
            FIRST,
            replace(
                SECOND,
                test=(relation("e/0", "owns", visual=VisualInput(FileImage("a.jpg"))),),  # type: ignore[arg-type]
            ),
        ),
        "sample e/0: the uid stands for two different samples",
    ),
    "two tasks of one name": (
        (FIRST, replace(SECOND, name="first")),
        r"two tasks share a name in \['first', 'first'\]",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_streams_that_are_refused(mistake: str) -> None:
    tasks, words = MISTAKES[mistake]
    with pytest.raises(DataError, match=words):
        make_benchmark(replace(RE, tasks=tasks))


EARLY = {
    "relation": (RE, 0, relation("x", "owns"), "'owns'", "'second'"),
    "first word of an entity": (NER, 0, tagged("x", "B-PER", "B-LOC"), "'B-LOC'", "'LOC'"),
}


@pytest.mark.parametrize("split", ["train", "valid", "test"])
@pytest.mark.parametrize("case", EARLY)
def test_a_label_of_a_later_task_is_refused_in_every_split(case: str, split: str) -> None:
    stream, index, sample, label, brings = EARLY[case]
    task = stream.tasks[index]
    changed = replace(task, **{split: (*getattr(task, split), sample)})
    with pytest.raises(DataError, match="label") as caught:
        make_benchmark(replace(stream, tasks=(changed, *stream.tasks[1:])))
    assert caught.value.sample == "x"
    for words in (label, f"in task {task.name!r}", f"the later task {brings}"):
        assert words in str(caught.value)


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_label_of_an_earlier_task_may_come_again(split: str) -> None:
    task = RE.tasks[1]
    again = replace(task, **{split: (*getattr(task, split), relation("x", "born"))})
    assert make_benchmark(replace(RE, tasks=(RE.tasks[0], again)))
    task = NER.tasks[1]
    again = replace(task, **{split: (*getattr(task, split), tagged("x", "B-PER", "B-LOC"))})
    assert make_benchmark(replace(NER, tasks=(NER.tasks[0], again)))


def test_all_mistakes_of_samples_are_told_at_once() -> None:
    early = tuple(relation(f"x/{i}", "owns") for i in range(30))
    odd = (relation("y", "sells"), relation("e/0", "works", tokens=("other", "b", "c")))
    first = replace(FIRST, train=(*FIRST.train, *early), valid=odd)
    with pytest.raises(DataError, match="32 mistakes in the data") as caught:
        make_benchmark(replace(RE, tasks=(first, SECOND)))
    problems = caught.value.problems
    assert [p.sample for p in problems] == [f"x/{i}" for i in range(30)] + ["y", "e/0"]
    assert str(caught.value).count("\n  ") == 21  # twenty of them, and how many there are more
    assert "... and 12 more" in str(caught.value)


def test_a_sentence_of_every_test_set_is_told_of_once() -> None:
    odd = tagged("e/1", "B-ORG")
    tasks = tuple(replace(task, test=(*task.test, odd)) for task in NER.tasks)
    with pytest.raises(DataError, match="'B-ORG'") as caught:
        make_benchmark(replace(NER, tasks=tasks))
    assert len(caught.value.problems) == 1


def test_mistakes_name_the_line_that_a_sample_was_read_from() -> None:
    odd = relation("x", "owns", place=Place(Path("samples.txt"), 7))
    with pytest.raises(DataError) as caught:
        make_benchmark(replace(RE, tasks=(replace(FIRST, valid=(odd,)), SECOND)))
    assert str(caught.value).startswith("samples.txt:7: sample x: label 'owns'")
    assert (caught.value.path, caught.value.line) == (Path("samples.txt"), 7)


def test_one_sample_may_be_tagged_with_other_types_in_other_tasks() -> None:
    """As under IMNER's rule ``keep-all-mentions``; its training identities differ by type."""
    both = ("B-PER", "B-LOC")
    tasks = (
        Task("PER", ("PER",), (tagged("t/0", both[0], "O"),), (), ()),
        Task("LOC", ("LOC",), (tagged("t/0", "O", both[1]),), (), ()),
    )
    benchmark = make_benchmark(replace(NER, tasks=tasks))
    assert [list(e.dataset.targets) for e in benchmark.train_stream] == [[1], [2]]
