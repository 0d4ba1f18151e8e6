"""The fingerprint of a stream: anything it shows changes it, where its files lie does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from mkgc_cl.data.images import BLANK, FileImage
from mkgc_cl.data.provenance import content_fingerprint, text_fingerprint
from mkgc_cl.data.samples import (
    LabelSpace,
    Place,
    RelationSample,
    Task,
    TaskStream,
    VisualInput,
)


def painted(folder: Path, level: int) -> FileImage:
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (4, 4), (level, 0, 0)).save(folder / "a.png")
    return FileImage(folder / "a.png")


def stream(visual: VisualInput) -> TaskStream:
    sample = RelationSample("p", ("Jordan", "met", "Ann"), (0, 1), (2, 3), "peer", visual)
    task = Task("T1", ("peer",), (sample,), (), (replace(sample, uid="q"),))
    return TaskStream("made", LabelSpace("re", ("peer",), na="None"), (task,), {})


def test_it_follows_the_bytes_of_the_images_and_not_their_place(tmp_path: Path) -> None:
    first, again, other = (
        content_fingerprint(stream(VisualInput(painted(tmp_path / name, level))))
        for name, level in (("one", 1), ("two", 1), ("three", 2))
    )
    assert first == again
    assert first != other
    assert content_fingerprint(stream(VisualInput(BLANK))) not in (first, other)
    crop = VisualInput(None, (painted(tmp_path / "one", 1),))
    assert content_fingerprint(stream(crop)) != first


def test_that_of_the_text_leaves_images_and_uids_aside(tmp_path: Path) -> None:
    blank = stream(VisualInput(BLANK))
    assert text_fingerprint(stream(VisualInput(painted(tmp_path / "one", 1)))) == (
        text_fingerprint(blank)
    )
    assert text_fingerprint(with_sample(blank, uid="r")) == text_fingerprint(blank)
    for change in ({"tokens": ("Jordan", "met", "Bo")}, {"tail": (1, 2)}, {"relation": "None"}):
        assert text_fingerprint(with_sample(blank, **change)) != text_fingerprint(blank)


def with_sample(made: TaskStream, **changes: object) -> TaskStream:
    (task,) = made.tasks
    return replace(made, tasks=(replace(task, train=(replace(task.train[0], **changes),)),))


def test_where_the_text_was_read_does_not_count() -> None:
    made = stream(VisualInput())
    read = with_sample(made, place=Place(Path("samples.txt"), 1))
    assert content_fingerprint(read) == content_fingerprint(with_sample(made))
    assert read == with_sample(made)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: with_sample(s, uid="r"),
        lambda s: with_sample(s, tokens=("Jordan", "meets", "Ann")),
        lambda s: with_sample(s, head=(1, 2)),
        lambda s: with_sample(s, relation="None"),
        lambda s: replace(s, tasks=(replace(s.tasks[0], test=()),)),
        lambda s: replace(s, tasks=(replace(s.tasks[0], name="T2"),)),
        lambda s: replace(s, tasks=(replace(s.tasks[0], classes=()),)),
        lambda s: replace(s, labels=LabelSpace("re", ("peer", "x"), na="None")),
        lambda s: replace(s, labels=LabelSpace("re", ("peer",), na="other")),
    ],
)
def test_every_word_label_and_split_counts(change: Callable[[TaskStream], TaskStream]) -> None:
    made = stream(VisualInput())
    assert content_fingerprint(made) == content_fingerprint(stream(VisualInput()))
    assert content_fingerprint(change(made)) != content_fingerprint(made)
