"""Fewer tasks of the same stream."""

from __future__ import annotations

import pytest

from mkgc_cl.data.demo import demo_stream
from mkgc_cl.data.merge import first_tasks, merge_tasks
from mkgc_cl.data.samples import TaskKind
from mkgc_cl.errors import DataError
from mkgc_cl.scenarios import make_benchmark

STREAM = demo_stream("re", train_per_task=12, valid_per_task=8, test_size=30)


@pytest.mark.parametrize(("size", "expected"), [(1, 5), (2, 3), (3, 2), (5, 1), (9, 1)])
def test_every_class_and_sample_comes_once_and_in_order(size: int, expected: int) -> None:
    merged = merge_tasks(STREAM, size)
    assert len(make_benchmark(merged).train_stream) == len(merged.tasks) == expected
    assert merged.labels == STREAM.labels
    assert [c for t in merged.tasks for c in t.classes] == [
        c for t in STREAM.tasks for c in t.classes
    ]
    for split in ("train", "valid", "test"):
        samples, before = (
            [sample for task in stream.tasks for sample in getattr(task, split)]
            for stream in (merged, STREAM)
        )
        assert samples == before
    assert [task.name for task in merged.tasks] == [f"T{n + 1}" for n in range(expected)]


def test_tags_and_nothing_cannot_be_joined() -> None:
    with pytest.raises(DataError, match="give 1 or more"):
        merge_tasks(STREAM, 0)
    with pytest.raises(DataError, match="only relation tasks"):
        merge_tasks(demo_stream("ner", train_per_task=12, valid_per_task=8, test_size=30), 2)


@pytest.mark.parametrize("kind", ["re", "ner"])
def test_first_tasks_are_the_stream_s_own(kind: TaskKind) -> None:
    whole = demo_stream(kind, train_per_task=12, valid_per_task=8, test_size=30)
    first = first_tasks(whole, 2)
    assert first.tasks == whole.tasks[:2]
    assert first.labels.classes == whole.labels.classes[: len(first.labels.classes)]
    assert first.labels.na == whole.labels.na
    assert first.provenance["first"] == 2
    assert len(make_benchmark(first).train_stream) == 2
    assert first_tasks(whole, len(whole.tasks)) is whole


@pytest.mark.parametrize("count", [0, 6])
def test_as_many_first_tasks_as_there_are(count: int) -> None:
    with pytest.raises(DataError, match="give 1 to 5"):
        first_tasks(STREAM, count)
