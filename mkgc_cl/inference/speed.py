"""What an extractor costs beside the bare forward pass of its encoder, and what ONNX gains."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import torch

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.processor import Processor
from mkgc_cl.data.samples import VisualInput
from mkgc_cl.inference.documents import document
from mkgc_cl.inference.extraction import Extraction
from mkgc_cl.inference.extractor import CHUNK
from mkgc_cl.inference.parts import ClosedForm
from mkgc_cl.inference.prediction import predict
from mkgc_cl.inference.scoring import in_batches, tag_readings

if TYPE_CHECKING:
    from mkgc_cl.inference.extractor import Extractor


@dataclass(frozen=True, slots=True)
class Overhead:
    """Tagging beside the encoder alone, on the same texts.

    Args:
        ratio: processor time of tagging over that of the forward passes, the median over pairs.
        pairs: how many times both were measured, one right after the other.
        texts: how many texts were tagged.
        rate: texts tagged in a second of processor time.
        wall_rate: texts tagged in a second by the clock, other processes included.
    """

    ratio: float
    pairs: int
    texts: int
    rate: float
    wall_rate: float

    def __str__(self) -> str:
        return (
            f"tagging {self.texts:,} texts: {self.ratio:.3f} times the encoder's forward pass "
            f"(median of {self.pairs} pairs), {self.rate:,.0f} texts per second of CPU time, "
            f"{self.wall_rate:,.0f} by the clock"
        )


def tagging_overhead(
    extractor: Extractor, texts: Sequence[Sequence[str]], *, chunk: int = CHUNK
) -> Overhead:
    """Tag texts, and run the encoder alone over the same batches, in turns.

    The processor's time is measured, which other processes of a busy machine stretch far less than
    the clock's; a pair of neighbours is compared, so that what is left of that cancels.

    Args:
        extractor: what tags, in closed form.
        texts: words of each text.
        chunk: how many are read together.
    """
    part = cast(ClosedForm, extractor.parts["ner"])
    # what prepares the encoder's batches must not know the words and texts that come to be tagged
    twin = copy.copy(part)
    twin.processor = Processor(
        part.labels,
        tokenizer=copy.deepcopy(part.encoder.tokenizer),
        max_text_length=part.encoder.max_length,
        views=part.processor.views,
    )
    ratios, taken, elapsed = [], 0.0, 0.0
    for number, start in enumerate(range(0, len(texts), chunk)):
        read = [list(words) for words in texts[start : start + chunk]]
        readings = tag_readings(twin, read, [VisualInput()] * len(read))
        tag = partial(_tag, extractor, read)
        encode = partial(_encode, part, [batch for _, batch in in_batches(twin, readings)])
        if number == 0:  # threads, memory and code are warm afterwards
            _tag(extractor, [["a", "few", "words"]] * len(read))
            encode()
        if number % 2:
            bare, full = timed(encode), timed(tag)
        else:
            full, bare = timed(tag), timed(encode)
        ratios.append(full[0] / bare[0])
        taken += full[0]
        elapsed += full[1]
    return Overhead(
        ratio=statistics.median(ratios),
        pairs=len(ratios),
        texts=len(texts),
        rate=len(texts) / taken,
        wall_rate=len(texts) / elapsed,
    )


def _tag(extractor: Extractor, texts: Sequence[Sequence[str]]) -> None:
    documents = [document(words) for words in texts]
    predict(extractor, documents, constrain=False, relate=False)


@torch.no_grad()
def _encode(part: ClosedForm, batches: Sequence[MultimodalBatch]) -> None:
    """The forward passes alone, up to the deepest layer that is read."""
    deepest = max(part.layers)
    for batch in batches:
        states = part.encoder.stream.layer_by_layer(batch.input_ids, batch.attention_mask, [])
        for _ in islice(states, deepest + 1):
            pass


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of processor time, and by the clock, that something takes."""
    processor, clock = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - processor, time.perf_counter() - clock


@dataclass(frozen=True, slots=True)
class Parity:
    """An extractor beside its export, on the same texts.

    Args:
        texts: how many there were.
        different: how many of them are answered with another entity or relation.
        score: largest difference of a probability among the others.
        torch: texts answered in a second by PyTorch, of processor time, one thread.
        onnx: the same by ONNX Runtime.
    """

    texts: int
    different: int
    score: float
    torch: float
    onnx: float

    def __str__(self) -> str:
        return (
            f"{self.texts:,} texts: {self.different:,} answered otherwise, scores within "
            f"{self.score:.1g}; texts per second of CPU time, one thread: "
            f"{self.torch:,.0f} by PyTorch, {self.onnx:,.0f} by ONNX Runtime "
            f"({self.onnx / self.torch:.2f} times as many)"
        )


def parity(extractor: Extractor, exported: Extractor, texts: Sequence[Any]) -> Parity:
    """Ask an extractor and its export the same, in turns, with one thread.

    Args:
        extractor: the extractor.
        exported: its export; its threads are those it was loaded with.
        texts: texts or records.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        spent = {"torch": 0.0, "onnx": 0.0}
        answers: dict[str, list[Extraction]] = {"torch": [], "onnx": []}
        for start in range(0, len(texts), CHUNK):
            some = list(texts[start : start + CHUNK])
            for name, one in (("torch", extractor), ("onnx", exported)):
                if start == 0:
                    one(some[:1])  # what is solved and allocated at the first call
                seconds, _ = timed(lambda o=one, s=some, n=name: answers[n].extend(o(s)))  # type: ignore[misc]
                spent[name] += seconds
    finally:
        torch.set_num_threads(threads)
    both = list(zip(answers["torch"], answers["onnx"], strict=True))
    alike = [(_said(one), _said(other)) for one, other in both]
    scores = [
        abs(a - b)
        for one, other in alike
        if one.keys() == other.keys()
        for a, b in ((one[key], other[key]) for key in one)
    ]
    return Parity(
        texts=len(texts),
        different=sum(one.keys() != other.keys() for one, other in alike),
        score=max(scores, default=0.0),
        torch=len(texts) / spent["torch"],
        onnx=len(texts) / spent["onnx"],
    )


def _said(found: Extraction) -> dict[tuple[object, ...], float]:
    """Scores of what was found, by what it is."""
    said: dict[tuple[object, ...], float] = {
        (e.start, e.end, e.type): e.score for e in found.entities
    }
    return said | {(r.head, r.tail, r.type, "re"): r.score for r in found.relations}
