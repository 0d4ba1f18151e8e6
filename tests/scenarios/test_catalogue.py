"""The named streams: signatures, errors, the synthetic stream, the real files if there."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mkgc_cl.data.demo import demo_stream
from mkgc_cl.data.files import stream_from_files, stream_from_mapping, stream_from_yaml
from mkgc_cl.data.streams_mner import imner_stream
from mkgc_cl.data.streams_mre import imre_stream
from mkgc_cl.errors import DataError, ImageError
from mkgc_cl.scenarios import (
    KnowledgeBenchmark,
    as_benchmark,
    demo,
    from_files,
    from_mapping,
    from_yaml,
    imner,
    imre,
)


@pytest.mark.parametrize(
    ("ours", "builder"),
    [
        (imre, imre_stream),
        (imner, imner_stream),
        (demo, demo_stream),
        (from_files, stream_from_files),
        (from_yaml, stream_from_yaml),
        (from_mapping, stream_from_mapping),
    ],
)
def test_arguments_and_documentation_stay(ours: Any, builder: Callable[..., Any]) -> None:
    assert ours.__doc__ == builder.__doc__
    assert ours.__doc__
    own, original = inspect.signature(ours), inspect.signature(builder)
    assert own.parameters == original.parameters
    assert own.return_annotation is KnowledgeBenchmark


def test_a_builder_of_ones_own() -> None:
    @as_benchmark
    def mine(size: int = 3) -> Any:
        """Doc."""
        return demo_stream("re", train_per_task=size, valid_per_task=3, test_size=15)

    benchmark = mine(size=5)
    assert isinstance(benchmark, KnowledgeBenchmark)
    assert len(benchmark.train_stream[0].samples) == 5


@pytest.mark.parametrize(("task", "tasks"), [("ner", 4), ("re", 5)])
def test_demo(task: Any, tasks: int) -> None:
    sizes = {"train_per_task": 6, "valid_per_task": 3, "test_size": 15}
    benchmark = demo(task, seed=1, **sizes)
    assert benchmark.labels.kind == task
    assert len(benchmark.train_stream) == len(benchmark.test_stream) == tasks
    assert all(len(e.samples) == 6 for e in benchmark.train_stream)
    assert all(len(e.samples) == 3 for e in benchmark.valid_stream)
    if task == "ner":
        uids = [[s.uid for s in e.samples] for e in benchmark.test_stream]
        assert uids.count(uids[0]) == tasks  # one set of sentences, tagged task by task
    else:
        assert all(0 in e.dataset.targets for e in benchmark.train_stream)  # N/A recurs
    again = demo(task, seed=1, **sizes)
    assert again.stream == benchmark.stream
    assert demo(task, seed=2, **sizes).stream != benchmark.stream


@pytest.mark.parametrize("rule", ["rarest", "first", "keep-all", "duplicate"])
def test_own_files_by_every_rule(tmp_path: Path, rule: Any) -> None:
    """What the rules make obeys what every benchmark must: no double, no label of a later task."""
    path = tmp_path / "t.txt"
    path.write_text("A\tB-X\nB\tB-Y\n\nC\tB-X\n\nD\tB-Y\n\nE\tB-X\nF\tI-X\nG\tB-Y\n")
    # `first` leaves the last type those sentences alone that have no other
    benchmark = from_files(train=path, test=path, kind="ner", multi_type=rule)
    assert [e.classes for e in benchmark.train_stream] == [("X",), ("Y",)]


@pytest.mark.parametrize(
    "arguments", [{"task": "vqa"}, {"seed": "x"}, {"order": ["PER"]}, {"train_per_task": 0}]
)
def test_demo_mistakes(arguments: Any) -> None:
    with pytest.raises(DataError):
        demo(**arguments)


# ---- the real files ----------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize("tasks", [10, 7, 5])
def test_imre(data_root: Path, tasks: int) -> None:
    benchmark = imre(data_root, tasks=tasks, missing_images="blank")
    assert len(benchmark.train_stream) == len(benchmark.test_stream) == tasks
    assert all(experience.na == "None" for experience in benchmark.train_stream)
    # every split deals out the same rows; the golden counts of its tasks are tests of the readers
    assert sum(len(e.samples) for e in benchmark.train_stream) == 12_233
    assert sum(len(e.samples) for e in benchmark.valid_stream) == 1_622
    brought = [name for e in benchmark.train_stream for name in e.classes]
    assert brought == list(benchmark.labels.classes)
    assert all(set(e.dataset.targets) for e in benchmark.test_stream)


@pytest.mark.data
@pytest.mark.parametrize("order", [("PER", "ORG", "LOC", "MISC"), ("PER", "LOC", "ORG", "MISC")])
def test_imner(data_root: Path, order: tuple[str, ...]) -> None:
    benchmark = imner(data_root, order=order, missing_images="blank")
    assert [e.classes for e in benchmark.train_stream] == [(name,) for name in order]
    tests = [[s.uid for s in e.samples] for e in benchmark.test_stream]
    assert all(uids == tests[0] for uids in tests)
    for experience in benchmark.test_stream:
        kinds = {tag[2:] for s in experience.samples for tag in s.tags if tag != "O"}
        assert kinds == set(experience.classes)


@pytest.mark.data
def test_imner_keeping_all_mentions(data_root: Path) -> None:
    """A sentence in several tasks, tagged with each task's own type, is no double."""
    benchmark = imner(data_root, rule="keep-all-mentions", missing_images="blank")
    uids = [{s.uid for s in e.samples} for e in benchmark.train_stream]
    assert any(uids[a] & uids[b] for a in range(4) for b in range(a))


@pytest.mark.data
def test_missing_images_are_an_error_unless_asked_otherwise(data_root: Path) -> None:
    with pytest.raises(ImageError, match="blank"):
        imre(data_root)
