"""Controls: the same stream with one modality taken away, to see what a model makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, get_args

from mkgc_cl.data.images import BLANK
from mkgc_cl.data.samples import Sample, Task, TaskStream, VisualInput
from mkgc_cl.errors import DataError

Control = Literal["none", "shuffled-images", "blank-images", "blank-text"]

BLANK_WORD = "_"
"""Stands for every word of a sample without text; spans and tags keep their places."""


def controlled(stream: TaskStream, control: Control, *, seed: int = 0) -> TaskStream:
    """Return a stream whose samples lack what the control takes away, in every split alike.

    Args:
        stream: the stream.
        control: ``"shuffled-images"`` gives every sample the images of another sample of its split,
            ``"blank-images"`` the blank image (no words of a caption) in place of each,
            ``"blank-text"`` the same word throughout; ``"none"`` changes nothing.
        seed: seed of the shuffle.

    Raises:
        DataError: there is no such control.
    """
    if control not in get_args(Control):
        raise DataError(f"no control {control!r}; there are {', '.join(get_args(Control))}")
    if control == "none":
        return stream
    if control == "shuffled-images":
        others = {split: _others(stream, split, seed) for split in ("train", "valid", "test")}

    def change(sample: Sample, split: str) -> Sample:
        if control == "shuffled-images":
            return replace(sample, visual=others[split][sample.uid])
        if control == "blank-images":
            return replace(sample, visual=_blanked(sample.visual))
        return replace(sample, tokens=(BLANK_WORD,) * len(sample.tokens))

    tasks = tuple(_changed(task, change) for task in stream.tasks)
    return replace(stream, tasks=tasks, provenance={**stream.provenance, "control": control})


def _blanked(visual: VisualInput) -> VisualInput:
    return VisualInput(
        image=None if visual.image is None else BLANK,
        grounding=(BLANK,) * len(visual.grounding),
        detected=(BLANK,) * len(visual.detected),
        caption=None if visual.caption is None else "",
    )


def _changed(task: Task, change: Callable[[Sample, str], Sample]) -> Task:
    return replace(
        task,
        train=tuple(change(sample, "train") for sample in task.train),
        valid=tuple(change(sample, "valid") for sample in task.valid),
        test=tuple(change(sample, "test") for sample in task.test),
    )


def _others(stream: TaskStream, split: str, seed: int) -> dict[str, VisualInput]:
    """Images of another sample for every sample of a split: a cycle through a random order.

    By uid, not by place: a tagged sentence stands in several tasks and has one image.
    """
    import torch

    from mkgc_cl.seeds import generator

    samples = [sample for task in stream.tasks for sample in getattr(task, split)]
    visuals = {sample.uid: sample.visual for sample in samples}
    uids = sorted(visuals)
    order = torch.randperm(len(uids), generator=generator(seed, f"shuffled-images/{split}"))
    drawn = [uids[index] for index in order.tolist()]
    return {uid: visuals[drawn[place - 1]] for place, uid in enumerate(drawn)}
