"""Streams from own files: tasks, rules, images, what is left out; the benchmarks as an oracle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mkgc_cl.data import LabelSpace, imner_stream, imre_stream
from mkgc_cl.data.captions import read_captions
from mkgc_cl.data.files import grown, stream_from_files, stream_from_mapping, stream_from_yaml
from mkgc_cl.data.files.records import Record
from mkgc_cl.data.files.shares import hold_out
from mkgc_cl.data.images import BLANK
from mkgc_cl.data.samples import RelationSample, Task, TaskStream
from mkgc_cl.data.stream_checks import check_stream
from mkgc_cl.errors import ConfigError, DataError, ImageError, MissingDataError

# PER is in three sentences, LOC in two, ORG in one.
SENTENCES = (
    [("Ann", "B-PER"), ("in", "O"), ("Rome", "B-LOC")],
    [("Bo", "B-PER"), ("at", "O"), ("Acme", "B-ORG"), ("Oslo", "B-LOC")],
    [("Cy", "B-PER"), ("Lee", "I-PER")],
    [("nothing", "O")],
)


def write_conll(path: Path, sentences: Sequence[Sequence[tuple[str, str]]] = SENTENCES) -> Path:
    path.write_text("\n".join("".join(f"{w}\t{t}\n" for w, t in s) for s in sentences))
    return path


def entities(folder: Path, **options: Any) -> TaskStream:
    path = write_conll(folder / "all.txt")
    return stream_from_files(**{"train": path, "test": path, "kind": "ner", **options})


def train_tags(stream: TaskStream) -> dict[str, list[str]]:
    return {t.name: [" ".join(s.tags) for s in t.train] for t in stream.tasks}  # type: ignore[union-attr]


def test_the_most_frequent_class_comes_first(tmp_path: Path) -> None:
    assert entities(tmp_path).labels == LabelSpace("ner", ("PER", "LOC", "ORG"))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (
            "rarest",
            {"PER": ["B-PER I-PER"], "LOC": ["O O B-LOC"], "ORG": ["O O B-ORG O"]},
        ),
        (
            "first",
            {"PER": ["B-PER O O", "B-PER O O O", "B-PER I-PER"], "LOC": [], "ORG": []},
        ),
        (
            "keep-all",
            {
                "PER": ["B-PER I-PER"],
                "LOC": ["B-PER O B-LOC"],
                "ORG": ["B-PER O B-ORG B-LOC"],
            },
        ),
        (
            "duplicate",
            {
                "PER": ["B-PER O O", "B-PER O O O", "B-PER I-PER"],
                "LOC": ["O O B-LOC", "O O O B-LOC"],
                "ORG": ["O O B-ORG O"],
            },
        ),
    ],
)
def test_a_sentence_with_several_types(tmp_path: Path, rule: Any, expected: Any) -> None:
    stream = entities(tmp_path, multi_type=rule)
    assert train_tags(stream) == expected
    # every test sentence is in every task, with the mentions of its types
    assert [len(task.test) for task in stream.tasks] == [4, 4, 4]
    left: Any = stream.provenance["left_out"]
    assert left["train: sentences without an entity of any task"] == 1
    # Ann and Bo, and Oslo of the sentence that goes with Acme; first: Rome, Oslo and Acme
    hidden = left.get("train: mentions of another task's types", 0)
    assert hidden == (3 if rule in ("rarest", "first") else 0)


@pytest.mark.parametrize(
    ("options", "groups"),
    [
        ({"classes_per_task": 2}, (("PER", "LOC"), ("ORG",))),
        ({"tasks": 2, "order": ["ORG", "LOC", "PER"]}, (("ORG", "LOC"), ("PER",))),
        ({"tasks": ["ORG", ["PER", "LOC"]]}, (("ORG",), ("PER", "LOC"))),
        ({"tasks": [["ORG"]]}, (("ORG",),)),
    ],
)
def test_classes_cut_into_tasks(tmp_path: Path, options: Any, groups: Any) -> None:
    stream = entities(tmp_path, **options)
    assert tuple(task.classes for task in stream.tasks) == groups


def test_types_in_no_task_are_counted(tmp_path: Path) -> None:
    left: Any = entities(tmp_path, tasks=[["ORG"]]).provenance["left_out"]
    assert left["train: mentions of 'PER', in no task"] == 3
    assert left["test: mentions of 'LOC', in no task"] == 2


def test_a_task_that_a_rule_leaves_without_samples(tmp_path: Path) -> None:
    stream = entities(tmp_path, multi_type="first")
    with pytest.raises(DataError, match=r"'LOC' .*\(multi_type=first puts.* into each\)") as caught:
        check_stream(stream)
    assert "'ORG' has no training samples" in str(caught.value)
    check_stream(entities(tmp_path, multi_type="duplicate"))


def test_a_seed_draws_the_order(tmp_path: Path) -> None:
    orders = {entities(tmp_path, seed=seed).labels.classes for seed in range(30)}
    assert len(orders) == 6
    assert entities(tmp_path, seed=3).labels == entities(tmp_path, seed=3).labels


def test_every_mistake_in_the_settings_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        entities(tmp_path, scheme="IO", test=1.5, tasks=2, classes_per_task=0, multi_type="all")
    assert len(caught.value.problems) >= 5
    with pytest.raises(ConfigError, match=r"'X'.*files have LOC, ORG, PER"):
        entities(tmp_path, tasks=["PER", "X"])


@pytest.mark.parametrize(
    "read",
    [
        lambda path: stream_from_files(kind="ner", train=path, test=0.5),
        lambda path: stream_from_mapping({"kind": "ner", "train": path, "test": 0.5}),
        lambda path: stream_from_mapping({"kind": "ner", "train": [path], "test": 0.5}),
        read_captions,
    ],
)
def test_a_home_that_nobody_has(read: Any) -> None:
    with pytest.raises(MissingDataError, match="write the path out") as caught:
        read("~no-such-user/a.txt")
    assert caught.value.path == Path("~no-such-user/a.txt")


def test_every_mistake_in_the_files_at_once(tmp_path: Path) -> None:
    bad = write_conll(tmp_path / "a.txt", [[("x", "O"), ("y", "I-PER")], [("z", "B-LOC")]])
    with pytest.raises(DataError) as caught:
        stream_from_files(train=bad, test=[bad, tmp_path / "gone.txt"], kind="ner")
    found = [(p.path and p.path.name, p.line) for p in caught.value.problems]
    assert found == [("gone.txt", None), ("a.txt", 2)]
    assert "repair='conlleval'" in caught.value.problems[1].message
    stream = stream_from_files(train=bad, test=bad, kind="ner", repair="conlleval")
    assert stream.provenance["scheme"] == "BIO"
    assert stream.provenance["repaired"] == {"conlleval": 2}
    assert train_tags(stream) == {"LOC": ["B-LOC"], "PER": ["O B-PER"]}


def relations(path: Path, negative: str = "no_relation") -> Path:
    rows = []
    for number, name in enumerate(["met", "owns", negative, negative, "met", negative]):
        spans = {"head": {"start": 0, "end": 1}, "tail": {"start": 1, "end": 2}}
        image = f"{number // 2}.jpg"
        rows.append({"tokens": ["a", str(number)], **spans, "relation": name, "image": image})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def shown(samples: Sequence[Any]) -> list[str]:
    return [f"{s.relation}{s.tokens[1]}" for s in samples]


def test_relations_and_their_negative_class(tmp_path: Path) -> None:
    path = relations(tmp_path / "r.jsonl", "NA")
    stream = stream_from_files(train=path, test=path, kind="re", negative="NA")
    assert stream.labels == LabelSpace("re", ("met", "owns"), na="NA")
    # blocks of the file's order: two rows of N/A for the first task, one for the second
    assert [shown(task.train) for task in stream.tasks] == [
        ["met0", "met4", "NA2", "NA3"],
        ["owns1", "NA5"],
    ]
    assert [shown(task.test) for task in stream.tasks] == [shown(t.train) for t in stream.tasks]
    with pytest.raises(DataError, match="did you mean 'NA'"):
        stream_from_files(train=path, test=path, kind="re")


def test_files_without_a_negative_class(tmp_path: Path) -> None:
    path = relations(tmp_path / "r.jsonl", "sold")
    stream = stream_from_files(train=path, test=path, kind="re", negative="", classes_per_task=2)
    assert stream.labels.classes == ("sold", "met", "owns")
    assert [len(task.train) for task in stream.tasks] == [5, 1]


def test_held_out_samples_share_no_image(tmp_path: Path) -> None:
    path = relations(tmp_path / "r.jsonl")
    stream = stream_from_files(train=path, test=1 / 3, kind="re", negative="no_relation", seed=0)
    train = {int(s.tokens[1]) // 2 for t in stream.tasks for s in t.train}
    test = {int(s.tokens[1]) // 2 for t in stream.tasks for s in t.test}
    assert not train & test
    assert sum(len(t.test) for t in stream.tasks) <= 2
    with pytest.raises(ConfigError, match="seed"):
        stream_from_files(train=path, test=0.3, kind="re", negative="no_relation")


def test_shares_are_exact_without_images() -> None:
    rows = [Record(RelationSample(str(n), ("a", "b"), (0, 1), (1, 2), "r")) for n in range(10)]
    held = hold_out({"train": rows, "valid": [], "test": []}, {"valid": 0.2, "test": 0.3}, seed=1)
    assert [len(held[split]) for split in ("train", "valid", "test")] == [5, 2, 3]
    assert sorted((r.sample.uid for rows in held.values() for r in rows), key=int) == [
        str(n) for n in range(10)
    ]


# ---- images ------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", ["0", "0.jpg", "0.png"])
@pytest.mark.parametrize("file", ["0.jpg", "0.JPG", "0.jpeg", "0.Png", "0.webp"])
def test_images_by_any_spelling(tmp_path: Path, named: str, file: str) -> None:
    path = tmp_path / "t.txt"
    path.write_text(f"IMGID:{named}\nAnn\tB-PER\n")
    (tmp_path / "images").mkdir()
    image = tmp_path / "images" / file
    Image.new("RGB", (4, 4)).save(image, "PNG")
    stream = stream_from_files(train=path, test=path, kind="ner", image_folder=image.parent)
    assert stream.tasks[0].train[0].visual.key[0] == str(image)


def test_an_image_id_with_two_files(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("IMGID:a\nAnn\tB-PER\n")
    for name in ("a.jpg", "a.png"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"a\.jpg, a\.png"):
        stream_from_files(train=path, test=path, kind="ner", image_folder=tmp_path)
    path.write_text("IMGID:a.png\nAnn\tB-PER\n")
    stream = stream_from_files(train=path, test=path, kind="ner", image_folder=tmp_path)
    assert stream.tasks[0].train[0].visual.key[0] == str(tmp_path / "a.png")


def test_images_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("IMGID:a\nAnn\tB-PER\n\nBo\tB-PER\n")
    options: dict[str, Any] = {"train": path, "test": path, "kind": "ner"}
    with pytest.raises(ImageError):
        stream_from_files(**options, image_folder=tmp_path)
    blank = stream_from_files(**options, image_folder=tmp_path, missing_images="blank")
    assert {s.visual.image for s in blank.tasks[0].train} == {BLANK}
    assert (blank.provenance["image_files_blank"], blank.provenance["samples_without_image"]) == (
        1,
        2,
    )
    text = stream_from_files(**options)
    assert {s.visual.image for s in text.tasks[0].train} == {None}


# ---- YAML --------------------------------------------------------------------------------------


def test_yaml_says_the_same(tmp_path: Path) -> None:
    write_conll(tmp_path / "all.txt")
    yaml = tmp_path / "corpus.yaml"
    yaml.write_text("train: all.txt\ntest: [all.txt]\nkind: ner\ntasks: [[ORG], [LOC, PER]]\n")
    expected = entities(tmp_path, tasks=[["ORG"], ["LOC", "PER"]])
    assert stream_from_yaml(yaml) == expected
    mapping = {"train": "all.txt", "test": "all.txt", "kind": "ner", "tasks": [["ORG"]]}
    assert len(stream_from_mapping(mapping, tmp_path).tasks) == 1
    assert len(stream_from_yaml(yaml, tasks=1).tasks) == 1


def test_every_mistake_in_yaml_at_once(tmp_path: Path) -> None:
    yaml = tmp_path / "corpus.yaml"
    yaml.write_text("trian: all.txt\nkind: nre\nmulti_type: rare\n")
    with pytest.raises(ConfigError) as caught:
        stream_from_yaml(yaml)
    assert [p.split(": ")[0] for p in caught.value.problems].count(f"{yaml}:1") == 1
    assert any("did you mean 'train'" in p for p in caught.value.problems)
    assert len(caught.value.problems) == 3


def test_settings_and_arguments_are_the_same() -> None:
    import dataclasses
    import inspect

    from mkgc_cl.data.files import FilesSettings

    arguments = inspect.signature(stream_from_files).parameters
    assert {f.name for f in dataclasses.fields(FilesSettings)} == set(arguments)


# ---- growing -----------------------------------------------------------------------------------


def test_a_stream_grows_by_a_task(tmp_path: Path) -> None:
    first = entities(tmp_path, tasks=["PER"])
    more = entities(tmp_path, tasks=["LOC", "ORG"], name="later")
    stream = grown(first, more)
    assert stream.labels.classes == ("PER", "LOC", "ORG")
    assert stream.tasks == (*first.tasks, *more.tasks)
    assert stream.labels.outputs[:3] == first.labels.outputs
    for wrong in (
        entities(tmp_path, tasks=["PER"], name="later"),
        entities(tmp_path, tasks=["LOC"]),
    ):
        with pytest.raises(DataError):
            grown(first, wrong)


# ---- the benchmarks, read as anybody's files ---------------------------------------------------


def content(task: Task) -> list[Any]:
    labels = [
        [(s.tokens, s.tags if not isinstance(s, RelationSample) else (s.head, s.tail, s.relation))]
        for split in (task.train, task.valid, task.test)
        for s in split
    ]
    return labels


@pytest.mark.data
def test_the_rarest_type_is_the_rule_of_the_released_imner(data_root: Path) -> None:
    folder = data_root / "MNER" / "data" / "twitter2017"
    files = {split: folder / f"{split}.txt" for split in ("train", "valid", "test")}
    released = imner_stream(data_root, missing_images="blank")
    ours = stream_from_files(**files, kind="ner", order=released.labels.classes)
    assert list(map(content, ours.tasks)) == list(map(content, released.tasks))


@pytest.mark.data
def test_imre_from_its_full_files(data_root: Path) -> None:
    folder = data_root / "MRE" / "data" / "txt"
    names = {"train": "train", "valid": "val", "test": "test"}
    files = {split: folder / f"ours_{name}.txt" for split, name in names.items()}
    released = imre_stream(data_root, missing_images="blank", tasks=5, build=True)
    groups = [list(task.classes) for task in released.tasks]
    ours = stream_from_files(**files, kind="re", tasks=groups)
    assert list(map(content, ours.tasks)) == list(map(content, released.tasks))
    left: Any = ours.provenance["left_out"]
    assert left["train: samples of '/per/misc/race', in no task"] == 6
