"""Streams with one modality taken away."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from mkgc_cl.data.controls import BLANK_WORD, controlled
from mkgc_cl.data.demo import demo_stream
from mkgc_cl.data.images import BLANK
from mkgc_cl.data.samples import VisualInput
from mkgc_cl.errors import DataError
from mkgc_cl.scenarios import make_benchmark

SIZES = {"train_per_task": 12, "valid_per_task": 8, "test_size": 30}


def samples(stream: Any, split: str) -> dict[str, Any]:
    return {sample.uid: sample for task in stream.tasks for sample in getattr(task, split)}


@pytest.mark.parametrize("kind", ["re", "ner"])
@pytest.mark.parametrize("control", ["none", "shuffled-images", "blank-images", "blank-text"])
def test_only_what_the_control_names_changes(kind: Any, control: Any) -> None:
    stream = demo_stream(kind, **SIZES)
    changed = controlled(stream, control)
    make_benchmark(changed)  # still well formed: one sample a uid, spans within the words
    assert changed.labels == stream.labels
    assert changed.provenance.get("control") == (None if control == "none" else control)
    for split in ("train", "valid", "test"):
        before, after = samples(stream, split), samples(changed, split)
        assert before.keys() == after.keys()
        for uid, sample in before.items():
            other = after[uid]
            assert getattr(other, "relation", None) == getattr(sample, "relation", None)
            assert getattr(other, "tags", None) == getattr(sample, "tags", None)
            assert len(other.tokens) == len(sample.tokens)
            if control == "blank-text":
                assert set(other.tokens) == {BLANK_WORD}
            else:
                assert other.tokens == sample.tokens
            if control == "blank-images":
                assert other.visual == VisualInput(BLANK)
            elif control != "shuffled-images":
                assert other.visual == sample.visual
        if control == "shuffled-images":
            images = [Counter(s.visual.key for s in p.values()) for p in (before, after)]
            assert images[0] == images[1]
            moved = sum(after[uid].visual is not before[uid].visual for uid in before)
            assert moved == len(before)  # a cycle: nobody keeps its own


def test_blank_images_are_as_many_as_there_were() -> None:
    """A model of crops still finds crops, and sees nothing on them."""
    stream = demo_stream("re", **SIZES)
    task = stream.tasks[0]
    image = task.train[0].visual.image
    assert image is not None
    crops = VisualInput(None, (image, image), (image,))
    first = replace(task, train=(replace(task.train[0], visual=crops), *task.train[1:]))
    changed = controlled(replace(stream, tasks=(first, *stream.tasks[1:])), "blank-images")
    assert changed.tasks[0].train[0].visual == VisualInput(None, (BLANK, BLANK), (BLANK,))


def test_a_shuffle_is_its_seeds() -> None:
    stream = demo_stream("re", **SIZES)
    one, same, other = (controlled(stream, "shuffled-images", seed=n) for n in (1, 1, 2))
    assert one == same
    assert one != other


def test_there_is_no_other_control() -> None:
    with pytest.raises(DataError, match="no control 'no-text'; there are none, shuffled-images"):
        controlled(demo_stream("re", **SIZES), "no-text")  # type: ignore[arg-type]
