"""How much of the labels words tell, images tell, and both: a cheap linear reader.

The reader gets the mention, or the pair, and has to name the type or the relation; it never learns
class by class. It measures the synthetic stream, not the toolkit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mkgc_cl.data.samples import RelationSample, Sample, TaggingSample, TaskStream
from mkgc_cl.errors import DataError

Features = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Readings:
    """Share of test cases the reader gets right, 0 to 1.

    Args:
        text: from the words alone.
        image: from the image alone.
        both: from both.
    """

    text: float
    image: float
    both: float


MEASURED: dict[str, Readings] = {
    "ner": Readings(text=0.715, image=0.756, both=0.820),
    "re": Readings(text=0.709, image=0.833, both=0.869),
}
"""Mean of seeds 0 and 1 with default sizes and shares, but 400 test samples, as printed by
``python -m mkgc_cl.data.demo --seeds 0 1 --test-size 400``.

Words alone leave a gap that the image closes, and the image alone leaves another that the words
close; ``tests/data/test_demo.py`` measures both again."""


@dataclass(frozen=True, slots=True)
class _Case:
    words: dict[str, float]
    pixels: Features
    label: str


def _marked(tokens: Sequence[str], marks: Sequence[tuple[str, int, int]]) -> dict[str, float]:
    """Words of a sample outside the marked spans, and each mark's name and neighbours."""
    inside = {place for _, start, end in marks for place in range(start, end)}
    found = {f"w={word}": 1.0 for at, word in enumerate(tokens) if at not in inside}
    for mark, start, end in marks:
        found[f"{mark}={' '.join(tokens[start:end])}"] = 1.0
        for place in (start - 2, start - 1, end, end + 1):
            if 0 <= place < len(tokens) and place not in inside:
                side = place - start if place < start else place - end + 1
                found[f"{mark}{side:+d}={tokens[place]}"] = 1.0
    return found


def _pixels(sample: Sample) -> Features:
    """An 8 x 8 thumbnail, and for the left and right half its colours' spread and edges."""
    if sample.visual.image is None:
        raise DataError("the probe reads the whole image, this sample has none", sample=sample.uid)
    image = sample.visual.image.read()
    full = np.asarray(image, dtype=np.float64) / 255.0
    thumbnail = np.asarray(image.resize((8, 8)), dtype=np.float64) / 255.0
    parts = [thumbnail.ravel()]
    for half in np.array_split(full, 2, axis=1):
        across, down = np.abs(np.diff(half, axis=1)), np.abs(np.diff(half, axis=0))
        parts += [half.mean((0, 1)), half.std((0, 1)), across.mean((0, 1)), down.mean((0, 1))]
    return np.concatenate(parts)


def _cases(sample: Sample) -> list[_Case]:
    if isinstance(sample, RelationSample):
        marks = [("h", *sample.head), ("t", *sample.tail)]
        return [_Case(_marked(sample.tokens, marks), _pixels(sample), sample.relation)]
    starts = [place for place, tag in enumerate(sample.tags) if tag.startswith("B-")]
    pixels = _pixels(sample) if starts else np.empty(0)
    return [
        _Case(
            _marked(sample.tokens, [("x", start, _end(sample, start))]),
            pixels,
            sample.tags[start][2:],
        )
        for start in starts
    ]


def _end(sample: TaggingSample, start: int) -> int:
    end = start + 1
    while end < len(sample.tags) and sample.tags[end].startswith("I-"):
        end += 1
    return end


def probe(stream: TaskStream) -> Readings:
    """Train the reader on all tasks at once and score it on all test samples.

    Args:
        stream: a synthetic stream; any other with whole images works too.

    Returns:
        Accuracy on the visible mentions (``"ner"``) or the pairs, N/A included (``"re"``).
    """
    train = [case for task in stream.tasks for sample in task.train for case in _cases(sample)]
    test = [case for task in stream.tasks for sample in task.test for case in _cases(sample)]
    words, words_test = _word_features(train, test)
    pixels, pixels_test = _pixel_features(train, test)
    labels, truth = [case.label for case in train], [case.label for case in test]
    return Readings(
        text=_accuracy(words, labels, words_test, truth),
        image=_accuracy(pixels, labels, pixels_test, truth),
        both=_accuracy(
            np.hstack([words, pixels]), labels, np.hstack([words_test, pixels_test]), truth
        ),
    )


def _word_features(train: list[_Case], test: list[_Case]) -> tuple[Features, Features]:
    from sklearn.feature_extraction import DictVectorizer

    vectorizer = DictVectorizer(sparse=False)
    fitted = vectorizer.fit_transform([case.words for case in train])
    return fitted, vectorizer.transform([case.words for case in test])


def _pixel_features(train: list[_Case], test: list[_Case]) -> tuple[Features, Features]:
    """Pixel features with mean 0 and norm about 3: neither side of the reader drowns the other."""
    stacked = np.stack([case.pixels for case in train])
    mean, deviation = stacked.mean(0), stacked.std(0) + 1e-6
    scale = 3.0 / np.sqrt(stacked.shape[1])
    fitted = (stacked - mean) / deviation * scale
    return fitted, (np.stack([case.pixels for case in test]) - mean) / deviation * scale


def _accuracy(
    features: Features, labels: list[str], features_test: Features, truth: list[str]
) -> float:
    from sklearn.linear_model import LogisticRegression

    reader = LogisticRegression(C=1.0, tol=1e-3, max_iter=400)
    reader.fit(features, labels)
    return float(np.mean(reader.predict(features_test) == np.array(truth)))


def mean_readings(readings: Sequence[Readings]) -> Readings:
    """Average readings of several seeds."""
    return Readings(
        text=float(np.mean([reading.text for reading in readings])),
        image=float(np.mean([reading.image for reading in readings])),
        both=float(np.mean([reading.both for reading in readings])),
    )
