"""Every sample of every split is looked at before the first task, for the model that reads it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mkgc_cl.data import imner_stream
from mkgc_cl.data.images import BLANK, FileImage
from mkgc_cl.data.processor import Processor
from mkgc_cl.data.readiness import require_readable
from mkgc_cl.data.samples import Sample, TaskStream, VisualInput
from mkgc_cl.data.tokenizer import HashTokenizer
from mkgc_cl.data.views import ViewPlan
from mkgc_cl.errors import DataError, ImageError

SPLITS = ("train", "valid", "test")


@pytest.fixture
def stream(download: Path) -> TaskStream:
    return imner_stream(download, missing_images="blank")


def reader(stream: TaskStream, *, longest: int = 32, views: ViewPlan | None = None) -> Processor:
    return Processor(
        stream.labels,
        tokenizer=HashTokenizer(buckets=97),
        max_text_length=longest,
        views=views or ViewPlan(image=8),
    )


def last(stream: TaskStream, split: str) -> Sample:
    """The last sample of a split."""
    return next(s for task in reversed(stream.tasks) for s in reversed(getattr(task, split)))


def changed(stream: TaskStream, visuals: dict[str, VisualInput]) -> TaskStream:
    """Give the samples of these uids other images, in every task."""

    def change(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
        return tuple(replace(s, visual=visuals.get(s.uid, s.visual)) for s in samples)

    tasks = tuple(
        replace(task, **{split: change(getattr(task, split)) for split in SPLITS})
        for task in stream.tasks
    )
    return replace(stream, tasks=tasks)


def test_a_image_that_is_broken_in_the_last_task_is_found(
    stream: TaskStream, tmp_path: Path
) -> None:
    visuals, broken = {}, []
    for split in SPLITS:
        broken.append(tmp_path / f"{split}.jpg")
        broken[-1].write_bytes(b"\xff\xd8\xff")
        visuals[last(stream, split).uid] = VisualInput(FileImage(broken[-1]))
    odd = changed(stream, visuals)
    with pytest.raises(ImageError, match="3 mistakes") as caught:
        require_readable(odd, reader(odd))
    assert [problem.path for problem in caught.value.problems] == broken
    require_readable(odd, reader(odd, views=ViewPlan(image=0)))  # a model that reads text alone
    require_readable(stream, reader(stream))


def test_what_is_wrong_names_the_line_of_the_file(stream: TaskStream, download: Path) -> None:
    odd = changed(stream, {last(stream, "test").uid: VisualInput()})
    with pytest.raises(DataError) as caught:
        require_readable(odd, reader(odd, longest=6))
    path = download / "MNER/data/twitter2017/test.txt"
    # of six sentences the fourth is the longest: 7 with the ends; each of four tasks has it
    found = [(p.path, p.line) for p in caught.value.problems if p.sample == "mner/test/3"]
    assert found == [(path, 16)]
    found = [(p.path, p.line) for p in caught.value.problems if p.sample == "mner/test/5"]
    assert found == [(path, 27)]
    assert len(caught.value.problems) == 4


def test_crops_are_asked_for_by_task_in_training_and_by_split_elsewhere(
    stream: TaskStream,
) -> None:
    crops = ViewPlan(image=0, grounding=8)
    shown = {s.uid: VisualInput(None, (BLANK,)) for t in stream.tasks for s in t.train}
    for split in ("valid", "test"):
        shown[last(stream, split).uid] = VisualInput(None, (BLANK,))
    everywhere = changed(stream, shown)
    require_readable(everywhere, reader(stream, views=crops))
    bare = {s.uid: VisualInput() for s in everywhere.tasks[2].train}
    with pytest.raises(DataError, match="none of these") as caught:
        require_readable(changed(everywhere, bare), reader(stream, views=crops))
    assert caught.value.sample == everywhere.tasks[2].train[0].uid
