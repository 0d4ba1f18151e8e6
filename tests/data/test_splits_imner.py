"""IMNER: the released splits, the same built from the full files, and any other order."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from pathlib import Path

import pytest

from mkgc_cl.data import TaskStream, imner_stream
from mkgc_cl.data.locate import MNER_SPLITS, MnerPaths
from mkgc_cl.data.mner import TYPES, TaggingRow, read_mner
from mkgc_cl.data.samples import TaggingSample, Task
from mkgc_cl.data.splits import keep_tags
from mkgc_cl.data.splits_imner import RELEASED, as_groups, build_imner
from mkgc_cl.data.stream_checks import check_stream
from mkgc_cl.errors import ConfigError

# class: train sentences, entities; validation sentences, entities; test entities
GOLDEN = {
    "PER": (943, 1394, 200, 315, 621),
    "LOC": (487, 623, 104, 138, 178),
    "ORG": (909, 1397, 205, 321, 395),
    "MISC": (642, 701, 138, 150, 157),
}
EMPTY_TEST = {
    ("PER", "LOC", "ORG", "MISC"): [284, 222, 121, 86],
    ("PER", "ORG", "LOC", "MISC"): [284, 162, 121, 86],
}
# task: entities of other types in its training sentences, relabelled O
HIDDEN = {
    "PER": {},
    "LOC": {"PER": 372, "ORG": 155},
    "ORG": {"PER": 647},
    "MISC": {"PER": 530, "ORG": 122, "LOC": 108},
}


def tagged(samples: tuple[object, ...]) -> list[TaggingSample]:
    return [sample for sample in samples if isinstance(sample, TaggingSample)]


def entities(samples: tuple[object, ...]) -> Counter[str]:
    return Counter(tag[2:] for s in tagged(samples) for tag in s.tags if tag[0] == "B")


@pytest.fixture(scope="module")
def full(data_root: Path) -> dict[str, tuple[TaggingRow, ...]]:
    return {s: read_mner(MnerPaths(data_root).full(s), split=s) for s in MNER_SPLITS}


@pytest.fixture(scope="module", params=sorted(EMPTY_TEST), ids="-".join)
def released(request: pytest.FixtureRequest, data_root: Path) -> TaskStream:
    return imner_stream(data_root, order=request.param, missing_images="blank")


@pytest.mark.data
def test_golden_counts(released: TaskStream) -> None:
    for task in released.tasks:
        train, train_n, valid, valid_n, test_n = GOLDEN[task.name]
        assert task.classes == (task.name,)
        assert (len(task.train), len(task.valid), len(task.test)) == (train, valid, 723)
        assert entities(task.train) == {task.name: train_n}
        assert entities(task.valid) == {task.name: valid_n}
        assert entities(task.test) == {task.name: test_n}
        for sample in tagged((*task.train, *task.valid)):
            assert any(tag != "O" for tag in sample.tags)
    assert sum(len(task.train) for task in released.tasks) == 2_981
    assert sum(len(task.valid) for task in released.tasks) == 647
    for part in ("train", "valid"):
        uids = [s.uid for task in released.tasks for s in getattr(task, part)]
        assert len(set(uids)) == len(uids)


@pytest.mark.data
def test_tests_pooled_over_tasks_are_the_released_test_files(
    released: TaskStream, data_root: Path
) -> None:
    """Oracle: the split files read directly."""
    order = released.labels.classes
    for k in range(4):
        path = data_root / "MNER/data/twitter2017" / RELEASED[as_groups(order)] / f"test_{k}.txt"
        blocks = path.read_bytes().decode().strip().split("\r\n\r\n")
        empty = 0
        for i, block in enumerate(blocks):
            expected = [line.split("\t")[1] for line in block.split("\r\n")[1:]]
            empty += all(tag == "O" for tag in expected)
            seen = [tagged(task.test)[i].tags for task in released.tasks[: k + 1]]
            pooled = [next((t for t in tags if t != "O"), "O") for tags in zip(*seen, strict=True)]
            assert pooled == expected
        assert len(blocks) == 723
        assert empty == EMPTY_TEST[order][k]  # type: ignore[index]


@pytest.mark.data
def test_released_train_files_line_by_line(released: TaskStream, data_root: Path) -> None:
    folder = data_root / "MNER/data/twitter2017" / RELEASED[as_groups(released.labels.classes)]
    for split in ("train", "valid"):
        for k, task in enumerate(released.tasks):
            text = (folder / f"{split}_{k}.txt").read_bytes().decode()
            for block, sample in zip(
                text.strip().split("\r\n\r\n"), tagged(getattr(task, split)), strict=True
            ):
                pairs = [tuple(line.split("\t")) for line in block.split("\r\n")[1:]]
                assert list(zip(sample.tokens, sample.tags, strict=True)) == pairs


@pytest.mark.data
def test_building_with_the_released_parameters_gives_the_released_stream(
    released: TaskStream, data_root: Path
) -> None:
    built = imner_stream(
        data_root, order=released.labels.classes, build=True, missing_images="blank"
    )
    assert built.tasks == released.tasks
    assert built.labels == released.labels
    assert built.provenance["source"] != released.provenance["source"]


@pytest.mark.data
def test_later_tasks_hide_old_entities(full: dict[str, tuple[TaggingRow, ...]]) -> None:
    order = ("PER", "LOC", "ORG", "MISC")
    splits = build_imner(full, as_groups(order))
    for name, rows in zip(order, splits.train, strict=True):
        hidden = entities(tuple(full["train"][row].sample for row in rows))
        del hidden[name]
        assert hidden == HIDDEN[name]
    with_person = [
        any(tag == "B-PER" for tag in full["train"][row].sample.tags) for row in splits.train[2]
    ]
    assert (sum(with_person), len(with_person)) == (499, 909)
    for split, left_out in (("train", 392), ("valid", 76)):
        columns = splits.train if split == "train" else splits.valid
        assert len(full[split]) - sum(map(len, columns)) == left_out


@pytest.mark.data
def test_every_order_has_the_same_tasks(full: dict[str, tuple[TaggingRow, ...]]) -> None:
    usual = build_imner(full, as_groups(TYPES))
    by_type = dict(zip(TYPES, usual.train, strict=True))
    for order in permutations(TYPES):
        splits = build_imner(full, as_groups(order))
        assert dict(zip(order, splits.train, strict=True)) == by_type


def by_name(stream: TaskStream) -> dict[str, Task]:
    return {task.name: task for task in stream.tasks}


@pytest.mark.parametrize("order", list(permutations(TYPES)), ids="-".join)
def test_any_permutation_is_a_stream(download: Path, order: tuple[str, ...]) -> None:
    stream = imner_stream(download, order=order, missing_images="blank")
    assert stream.labels.classes == order
    assert [task.name for task in stream.tasks] == list(order)
    reference = imner_stream(download, missing_images="blank")
    assert by_name(stream) == by_name(reference)
    assert str(stream.provenance["source"]).startswith("released") == (as_groups(order) in RELEASED)


def test_keep_all_mentions_loses_none_and_keeps_only_the_tasks_own(download: Path) -> None:
    stream = imner_stream(download, rule="keep-all-mentions", missing_images="blank")
    rows = read_mner(MnerPaths(download).full("train"), split="train")
    everything = entities(tuple(row.sample for row in rows))
    for task in stream.tasks:
        assert entities(task.train) == {task.name: everything[task.name]}
        by_uid = {row.sample.uid: row.sample for row in rows}
        for sample in tagged(task.train):
            assert sample.tags == keep_tags(by_uid[sample.uid].tags, task.classes)
    shared = [s.uid for task in stream.tasks for s in task.train]
    assert len(shared) > len(set(shared))


def test_complete_labels_hide_nothing_of_the_tasks_so_far(download: Path) -> None:
    stream = imner_stream(download, rule="complete", missing_images="blank")
    rows = read_mner(MnerPaths(download).full("train"), split="train")
    union: dict[str, tuple[str, ...]] = {}
    for k, task in enumerate(stream.tasks):
        union |= {sample.uid: sample.tags for sample in tagged(task.train)}
        so_far = stream.labels.classes[: k + 1]
        full = {row.sample.uid: keep_tags(row.sample.tags, so_far) for row in rows}
        assert union == full
    check_stream(stream)


def test_tasks_of_several_types_and_drawn_orders(download: Path) -> None:
    stream = imner_stream(download, order=(("PER", "MISC"), "ORG", "LOC"), missing_images="blank")
    assert [task.name for task in stream.tasks] == ["PER+MISC", "ORG", "LOC"]
    first = stream.tasks[0]
    assert [s.uid for s in first.train] == ["mner/train/0", "mner/train/3"]
    assert entities(first.test) == {"PER": 3, "MISC": 1}
    drawn = {
        imner_stream(download, seed=seed, tasks=2, missing_images="blank").labels.classes
        for seed in range(8)
    }
    assert len(drawn) > 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"order": ("PER", "ORG", "LOC")}, "once"),
        ({"order": ("PER", "ORG", "LOC", "LOC")}, "once"),
        ({"order": ("PER", "ORG", "LOC", "MISC", ())}, "once"),
        ({"order": ("PER", "ORG", "LOC", "OTHER")}, "once"),
        ({"order": TYPES, "seed": 1}, "not both"),
        ({"tasks": 3}, "drop tasks or give a seed"),
        ({"tasks": 5, "seed": 1}, "between 1 and 4"),
        ({"rule": "all", "build": True}, "rule must be"),
        ({"images": "photo"}, "images must be one of"),
    ],
)
def test_wrong_settings_say_what_to_do(
    download: Path, settings: dict[str, object], message: str
) -> None:
    wanted: dict[str, object] = {"missing_images": "blank", **settings}
    with pytest.raises(ConfigError, match=message):
        imner_stream(download, **wanted)  # type: ignore[arg-type]
