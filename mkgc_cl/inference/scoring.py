"""Scores of many texts: windows of long ones, batches of like length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.samples import RelationSample, Sample, TaggingSample, VisualInput
from mkgc_cl.inference.parts import Part
from mkgc_cl.inference.windows import Window, batches, crop, windows

BATCH_TOKENS = 1024
"""Most tokens of a batch: what keeps an ordinary core's caches busy and no more."""
BATCH_SAMPLES = 32
OVERLAP = 32
"""Most tokens that two windows of a long text share."""
TOKENIZED = 64
"""Texts whose words the tokenizer is given together."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What goes through the encoder at once.

    Args:
        place: of its text, or its pair, among those that were asked for.
        sample: its words.
        window: of its text, in words.
    """

    place: int
    sample: Sample
    window: Window


def tag_readings(
    part: Part, tokens: Sequence[Sequence[str]], visuals: Sequence[VisualInput]
) -> list[Reading]:
    """Cut texts into what the encoder takes; a text without words is nothing to read."""
    found = []
    for place, (words, visual) in enumerate(zip(tokens, visuals, strict=True)):
        if place % TOKENIZED == 0:
            # it keeps the pieces of words; a call costs more than the words of a text
            some = chain.from_iterable(tokens[place : place + TOKENIZED])
            part.processor.tokenizer.encode_words(list(dict.fromkeys(some)))
        if not words:
            continue
        whole = _untagged(tuple(words), visual)
        if _fits(part, whole):
            found.append(Reading(place, whole, Window(0, len(words), 0, len(words))))
            continue
        fitting, sizes, room = _fitting(part, words)
        for window in windows(sizes, room=room, overlap=min(OVERLAP, room // 4)):
            inside = _untagged(tuple(fitting[window.start : window.end]), visual)
            found.append(Reading(place, inside, window))
    return found


def relation_readings(part: Part, samples: Sequence[RelationSample]) -> list[Reading]:
    """Cut texts round their pairs; a pair that is further apart than a window is left out."""
    found = []
    cut_last: tuple[tuple[str, ...], tuple[list[str], list[int], int]] | None = None
    for place, sample in enumerate(samples):
        if _fits(part, sample):
            window = Window(0, len(sample.tokens), 0, len(sample.tokens))
            found.append(Reading(place, sample, window))
            continue
        # pairs of one text come one after the other: its words are cut once
        if cut_last is None or cut_last[0] is not sample.tokens:
            cut_last = (sample.tokens, _fitting(part, sample.tokens))
        whole, all_sizes, room = cut_last[1]
        inner = (min(sample.head[0], sample.tail[0]), max(sample.head[1], sample.tail[1]))
        # a word has a token or more, so what is further away cannot come in
        near = max(0, inner[0] - part.processor.max_text_length)
        far = inner[1] + part.processor.max_text_length
        fitting, sizes = whole[near:far], all_sizes[near:far]
        moved_in = (inner[0] - near, inner[1] - near)
        cut = crop(sizes, moved_in, room=room - len(part.processor.tokenizer.marker_ids))
        if cut is None:
            continue
        fitting = fitting[cut[0] : cut[1]]
        start, end = near + cut[0], near + cut[1]
        head, tail = ((a - start, b - start) for a, b in (sample.head, sample.tail))
        inside = RelationSample(
            sample.uid,
            tuple(fitting),
            head,
            tail,
            sample.relation,
            sample.visual,
        )
        found.append(Reading(place, inside, Window(start, end, start, end)))
    return found


def in_batches(part: Part, readings: Sequence[Reading]) -> list[tuple[list[int], MultimodalBatch]]:
    """Group readings of like length; returns their places with each batch."""
    lengths = [part.processor.count(reading.sample) for reading in readings]
    groups = batches(lengths, tokens=BATCH_TOKENS, most=BATCH_SAMPLES)
    return [
        (group, part.processor.batch([readings[place].sample for place in group]))
        for group in groups
    ]


def tag_scores(
    part: Part, tokens: Sequence[Sequence[str]], visuals: Sequence[VisualInput]
) -> list[Tensor]:
    """Scores of every word of every text: (W, C) each."""
    found: list[dict[int, Tensor]] = [{} for _ in tokens]  # of windows, by their first words
    readings = tag_readings(part, tokens, visuals)
    for group, batch in in_batches(part, readings):
        scores = part.scores(batch)
        for row, place in enumerate(group):
            start, _, first, last = readings[place].window
            found[readings[place].place][first] = scores[row, first - start : last - start]
    nothing = torch.zeros(0, len(part.labels.outputs))
    return [torch.cat([own[first] for first in sorted(own)]) if own else nothing for own in found]


def relation_scores(part: Part, samples: Sequence[RelationSample]) -> list[Tensor | None]:
    """Scores (C,) of every pair; ``None`` where it is too far apart for the encoder."""
    found: list[Tensor | None] = [None] * len(samples)
    readings = relation_readings(part, samples)
    for group, batch in in_batches(part, readings):
        for place, scores in zip(group, part.scores(batch), strict=True):
            found[readings[place].place] = scores
    return found


def _fits(part: Part, sample: Sample) -> bool:
    most = part.processor.max_text_length
    return len(sample.tokens) < most and part.processor.count(sample) <= most


def _untagged(words: tuple[str, ...], visual: VisualInput) -> TaggingSample:
    return TaggingSample("", words, ("O",) * len(words), visual)


def _fitting(part: Part, words: Sequence[str]) -> tuple[list[str], list[int], int]:
    """Words cut to half a window, their tokens, and the tokens of a window."""
    processor = part.processor
    room = processor.max_text_length - 2
    fitting = list(words)
    sizes = [len(ids) for ids in processor.tokenizer.encode_words(fitting)]
    for place, size in enumerate(sizes):
        while size > room // 2:
            # the first letters of a word of hundreds say what all of them would
            fitting[place] = fitting[place][: max(1, len(fitting[place]) * room // (2 * size) - 1)]
            size = len(processor.tokenizer.encode_words([fitting[place]])[0])
            if len(fitting[place]) == 1:
                break
        sizes[place] = size
    return fitting, sizes, room
