"""What an extractor costs beside the bare forward pass of its encoder, and what ONNX gains."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

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
    from mkgc_cl.models.text import TextStream
    from mkgc_cl.models.whole_encoder import WholeEncoder


@dataclass(frozen=True, slots=True)
class Overhead:
    """Tagging beside the encoder's forward passes, on the same batches.

    Args:
        ratio: processor time of tagging over that of the forward passes in it, the median over
            chunks of texts.
        alone: processor time of these passes over that of the encoder alone on the same batches,
            right before and right after; the median. 1 where tagging slows no pass down, but for
            the noise of a busy machine.
        chunks: how many chunks were measured.
        texts: how many texts were tagged.
        rate: texts tagged in a second of processor time.
        wall_rate: texts tagged in a second by the clock, other processes included.
    """

    ratio: float
    alone: float
    chunks: int
    texts: int
    rate: float
    wall_rate: float

    def __str__(self) -> str:
        return (
            f"tagging {self.texts:,} texts: {self.ratio:.3f} times the encoder's forward passes "
            f"(median of {self.chunks} chunks), which take {self.alone:.3f} times what they take "
            f"alone; {self.rate:,.0f} texts per second of CPU time, {self.wall_rate:,.0f} by the "
            "clock"
        )


class _Timed:
    """An encoder that counts the processor time of its forward passes."""

    def __init__(self, stream: TextStream | WholeEncoder) -> None:
        self.stream = stream
        self.spent = 0.0

    def layer_by_layer(self, *given: Any) -> Iterator[tuple[Tensor, Tensor | None]]:
        states = self.stream.layer_by_layer(*given)
        while True:
            start = time.process_time()
            found = next(states, None)
            self.spent += time.process_time() - start
            if found is None:
                return
            yield found


def tagging_overhead(
    extractor: Extractor, texts: Sequence[Sequence[str]], *, chunk: int = CHUNK
) -> Overhead:
    """Tag texts, and time the forward passes in it; run the encoder alone before and after.

    The processor's time is measured, which other processes of a busy machine stretch far less than
    the clock's. They do stretch it, by half from one second to the next where two cores share
    their units; so tagging is compared with the passes that it is made of, at the same moment, and
    these with the same passes alone.

    Args:
        extractor: what tags, in closed form.
        texts: words of each text.
        chunk: how many are read together.
    """
    part = cast(ClosedForm, extractor.parts["ner"])
    part.encoder.fingerprint  # noqa: B018  # kept; it reads all weights
    watched, timer = copy.copy(part), _Timed(part.encoder.stream)
    watched.encoder = copy.copy(part.encoder)
    watched.encoder.stream = cast("TextStream", timer)
    tagger = copy.copy(extractor)
    tagger.parts = {**extractor.parts, "ner": watched}
    # what prepares the encoder's batches must not know the words and texts that come to be tagged
    twin = copy.copy(part)
    twin.processor = Processor(
        part.labels,
        tokenizer=copy.deepcopy(part.encoder.tokenizer),
        max_text_length=part.encoder.max_length,
        views=part.processor.views,
    )
    ratios, alone, taken, elapsed = [], [], 0.0, 0.0
    for start in range(0, len(texts), chunk):
        read = [list(words) for words in texts[start : start + chunk]]
        readings = tag_readings(twin, read, [VisualInput()] * len(read))
        tag = partial(_tag, tagger, read)
        encode = partial(_encode, part, [batch for _, batch in in_batches(twin, readings)])
        if start == 0:  # threads, memory and code are warm afterwards
            _tag(tagger, [["a", "few", "words"]] * len(read))
            encode()
        before = timed(encode)
        timer.spent = 0.0
        full = timed(tag)
        passes = timer.spent
        after = timed(encode)
        ratios.append(full[0] / passes)
        alone.append(2 * passes / (before[0] + after[0]))
        taken += full[0]
        elapsed += full[1]
    return Overhead(
        ratio=statistics.median(ratios),
        alone=statistics.median(alone),
        chunks=len(ratios),
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
