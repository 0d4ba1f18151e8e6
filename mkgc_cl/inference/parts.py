"""What an extractor is made of: one part tags words, one scores relations.

A part scores batches and decodes scores. It is a readout in closed form over a frozen encoder,
which goes on learning, or a whole trained model, which is used as it is.
"""

from __future__ import annotations

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.processor import Processor
from mkgc_cl.data.samples import LabelSpace, TaskKind
from mkgc_cl.data.views import ViewPlan
from mkgc_cl.errors import ConfigError
from mkgc_cl.inference.encoder import FrozenEncoder, check_layers
from mkgc_cl.models.base import ExtractionModel
from mkgc_cl.models.captions import CAPTION_LENGTH
from mkgc_cl.models.gaussian import GaussianOptions, GaussianReadout
from mkgc_cl.models.gaussian.solve import LinearScores
from mkgc_cl.models.heads import UNSEEN_LOGIT, log_probabilities
from mkgc_cl.models.layer_features import (
    PARTS,
    default_layers,
    layer_states,
    linear_word_scores,
    read_layers,
)

FloatArray = NDArray[np.float64]

REMEMBERED = 1024
"""Most texts whose token ids are kept: between counting them and reading them."""


class Part(ABC):
    """Scores of tags, or of relations.

    Attributes:
        labels: the classes it knows.
        processor: makes its batches.
    """

    labels: LabelSpace
    processor: Processor

    @property
    def kind(self) -> TaskKind:
        """Whether it tags or relates."""
        return self.labels.kind

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether it has learnt anything."""

    @property
    @abstractmethod
    def learnt(self) -> tuple[str, ...]:
        """The classes that it has learnt."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Digest of what it has learnt."""

    @abstractmethod
    def scores(self, batch: MultimodalBatch) -> Tensor:
        """Score a batch: (B, C) of relations or (B, W, C) of words, what was not learnt masked."""

    @abstractmethod
    def posterior(self, scores: Tensor) -> Tensor:
        """Probabilities (..., C) of scores (..., C)."""

    @abstractmethod
    def best_tags(self, texts: Sequence[Tensor]) -> list[list[int]]:
        """Best grammatical sequence of tags of each text, from scores (W, C) of its words."""


class LogPosteriors(Part):
    """A part whose scores are log posteriors of single words, or of relations."""

    _barred: FloatArray

    def posterior(self, scores: Tensor) -> Tensor:
        """Probabilities (..., C) of log posteriors (..., C)."""
        return scores.exp()

    def best_tags(self, texts: Sequence[Tensor]) -> list[list[int]]:
        """Best grammatical sequence of tags of each text, from scores (W, C) of its words."""
        if self.kind != "ner":
            raise ConfigError(["relations have no tags"])
        return grammatical(texts, self._barred)


class ClosedForm(LogPosteriors):
    """A Gaussian readout of a frozen encoder: its classes grow with what it learns.

    Args:
        kind: what it is to learn.
        encoder: the encoder.
        classes: the classes that there is room for.
        negative: name of no relation.
        layers: whose states are read; by default those of
            :func:`~mkgc_cl.models.layer_features.default_layers`.
        options: of the readout.
        readout: what was learnt, in place of an empty readout.
        captions: read the caption of the image behind the text (ITA; Wang et al., NAACL 2022), as
            far as the encoder's window leaves room.
    """

    def __init__(
        self,
        kind: TaskKind,
        encoder: FrozenEncoder,
        *,
        classes: Sequence[str] = (),
        negative: str = "None",
        layers: tuple[int, ...] | None = None,
        options: GaussianOptions | None = None,
        readout: GaussianReadout | None = None,
        captions: bool = False,
    ) -> None:
        self.encoder = encoder
        self.captions = captions
        chosen = default_layers(encoder.depth, kind) if layers is None else layers
        self.layers = check_layers(chosen, encoder.depth)
        self.labels = LabelSpace(kind, tuple(classes), negative if kind == "re" else None)
        width = PARTS[kind] * encoder.width * len(self.layers)
        self.readout = (
            GaussianReadout(self.labels.outputs, width=width, options=options)
            if readout is None
            else readout
        )
        if self.readout.width != width or self.readout.outputs != self.labels.outputs:
            raise ConfigError(
                [
                    f"a readout of width {self.readout.width} and outputs "
                    f"{list(self.readout.outputs)}, where width {width} and outputs "
                    f"{list(self.labels.outputs)} are read"
                ]
            )
        self._digest: tuple[Tensor, object, str] | None = None
        self._renew()

    def _renew(self) -> None:
        self.processor = Processor(
            self.labels,
            tokenizer=self.encoder.tokenizer,
            max_text_length=self.encoder.max_length,
            views=views_of(captions=self.captions),
            remembered=REMEMBERED,
        )
        self._barred = barred_by_grammar(self.labels.outputs)

    @property
    def ready(self) -> bool:
        """Whether it has learnt anything."""
        return self.readout.taught

    @property
    def learnt(self) -> tuple[str, ...]:
        """The classes that it has learnt."""
        known = self.readout.statistics.known.tolist()
        labels = self.labels
        return tuple(name for name in labels.classes if known[labels.output_ids([name])[1]])

    @property
    def fingerprint(self) -> str:
        """Digest of encoder, layers, options, counts and means; kept until more is learnt."""
        learnt = self.readout.statistics
        now = (learnt.means._version, self.labels, float(self.readout.temperature))
        if self._digest is None or self._digest[0] is not learnt.means or self._digest[1] != now:
            digest = hashlib.sha256(self.encoder.fingerprint.encode())
            read: tuple[object, ...] = (self.labels.outputs, self.layers, self.readout.options)
            read += (now[2], *(["captions"] if self.captions else []))
            digest.update(repr(read).encode("utf-8", "surrogatepass"))
            for tensor in (learnt.counts, learnt.means):
                digest.update(tensor.cpu().numpy().tobytes())
            self._digest = (learnt.means, now, digest.hexdigest()[:12])
        return self._digest[2]

    def copied(self) -> ClosedForm:
        """Return one of the same encoder that has learnt the same and learns on by itself."""
        made = copy.copy(self)
        made.readout = self.readout.copied()
        return made

    def relabel(self, classes: Sequence[str], renamed: dict[str, str] | None = None) -> None:
        """Change the classes; see :meth:`GaussianReadout.relabeled`.

        Args:
            classes: the classes from now on.
            renamed: new names of present outputs, where they change.
        """
        labels = LabelSpace(self.kind, tuple(classes), self.labels.na)
        self.readout = self.readout.relabeled(labels.outputs, renamed)
        self.labels = labels
        self._renew()

    @torch.no_grad()
    def features(self, batch: MultimodalBatch) -> Tensor:
        """Read a batch: (B, F) of relations, (B, W, F) of words."""
        return read_layers(self.encoder.stream, batch, self.layers)

    def scores(self, batch: MultimodalBatch) -> Tensor:
        """Log posteriors of a batch."""
        solved, plain = self.readout.solution(), self.readout.lift is None
        if self.kind == "re" or not plain or not isinstance(solved, LinearScores):
            return self.readout.log_posterior(self.features(batch))
        with torch.no_grad():
            states = layer_states(self.encoder.stream, batch, self.layers)
            found = linear_word_scores(
                batch, states, rows=solved.rows, bias=solved.bias, center=solved.center
            )
            return self.readout.posterior_of(found)


class Trained(Part):
    """A trained model, read through its own readout.

    Args:
        model: the model; it is put into evaluation mode.
    """

    def __init__(self, model: ExtractionModel) -> None:
        self.model = model.eval()
        self.labels = model.labels
        self.processor = model.processor

    @property
    def ready(self) -> bool:
        """Whether it has learnt anything."""
        return len(self.model.seen_ids) > 0

    @property
    def learnt(self) -> tuple[str, ...]:
        """The classes that it has seen."""
        seen = self.model.seen.tolist()
        labels = self.labels
        return tuple(name for name in labels.classes if seen[labels.output_ids([name])[1]])

    @cached_property
    def fingerprint(self) -> str:
        """Digest of outputs and weights."""
        digest = hashlib.sha256(repr(self.labels.outputs).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        return digest.hexdigest()[:12]

    @cached_property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.seen.device

    @torch.no_grad()
    def scores(self, batch: MultimodalBatch) -> Tensor:
        """Scores of a batch as the model's readout gives them."""
        output = self.model(batch.to(self.device))
        return self.model.read_out(output).cpu()

    def posterior(self, scores: Tensor) -> Tensor:
        """Softmax of scores (..., C) over what was learnt; under a CRF, of its emissions."""
        return log_probabilities(scores, self.model.seen_ids.cpu()).exp()

    def best_tags(self, texts: Sequence[Tensor]) -> list[list[int]]:
        """Best sequence of tags of each text, as the model decodes it."""
        return [self._decoded(scores) if len(scores) else [] for scores in texts]

    @torch.no_grad()
    def _decoded(self, scores: Tensor) -> list[int]:
        words = scores[None].to(self.device)
        mask = torch.ones(words.shape[:2], dtype=torch.bool, device=self.device)
        if self.model.crf is not None:
            return list(self.model.crf.decode(words, mask=mask)[0])
        if self.model.grammar is None:
            raise ConfigError(["relations have no tags"])
        seen = log_probabilities(words, self.model.seen_ids)
        return list(self.model.grammar.decode(seen, mask=mask)[0])


def part_of(model: ExtractionModel, encoder: FrozenEncoder | None = None) -> Part:
    """Make a part of a trained model: one that goes on learning, where its readout is closed form.

    Args:
        model: the model.
        encoder: its text encoder, where another part shares it.
    """
    readout = model.readout
    layers = getattr(model, "layers", ())
    # a frozen encoder reads text, or a caption behind it, and nothing decides behind its readout
    views = model.processor.views
    more = model.decisions or (views.looks and not views.behind)
    if not isinstance(readout, GaussianReadout) or not layers or not readout.taught or more:
        return Trained(model)
    stream = model.text
    shared = encoder or FrozenEncoder(
        stream.eval(),
        model.processor.tokenizer,
        name=str(getattr(getattr(stream, "config", None), "name_or_path", "") or "trained"),
        markers=getattr(model.processor.tokenizer, "markers", "new"),
    )
    known = [
        name
        for name in model.labels.classes
        if readout.statistics.known[list(model.labels.output_ids([name]))[1]]
    ]
    part = ClosedForm(
        model.labels.kind,
        shared,
        classes=model.labels.classes,
        negative=model.labels.na or "None",
        layers=tuple(layers),
        readout=readout,
        captions=views.behind,
    )
    part.relabel(known)  # a copy, without classes that never came
    return part


def views_of(*, captions: bool) -> ViewPlan:
    """What a frozen encoder reads: text alone, or a caption behind it."""
    if captions:
        return ViewPlan(image=0, caption=CAPTION_LENGTH, behind=True)
    return ViewPlan(image=0)


def barred_by_grammar(outputs: Sequence[str]) -> FloatArray:
    """What every output costs behind every other, and, in the last row, at the start: (C + 1, C).

    ``I-X`` stands behind ``B-X`` or ``I-X`` alone; all else is free.
    """
    found = np.zeros((len(outputs) + 1, len(outputs)))
    for place, name in enumerate(outputs):
        if name.startswith("I-"):
            allowed = {name, f"B-{name[2:]}"}
            found[[other not in allowed for other in outputs] + [True], place] = UNSEEN_LOGIT
    return found


def grammatical(texts: Sequence[Tensor], barred: FloatArray) -> list[list[int]]:
    """Viterbi for each text (W, C) in which the best tag of every word breaks the grammar."""
    if not texts:
        return []
    rows: FloatArray = torch.cat(list(texts)).double().numpy()
    ends = np.cumsum([len(scores) for scores in texts])
    starts = ends - [len(scores) for scores in texts]
    best = rows.argmax(axis=1)
    before = np.concatenate(([-1], best[:-1])) if len(best) else best
    before[starts[starts < ends]] = -1  # the first word of a text stands behind nothing
    broken = np.flatnonzero(barred[before, best])
    tags: list[int] = best.tolist()
    # texts side by side cost one call of each of these, not one a text
    for place in np.unique(np.searchsorted(ends, broken, side="right")).tolist():
        tags[starts[place] : ends[place]] = _viterbi(rows[starts[place] : ends[place]], barred)
    return [tags[start:end] for start, end in zip(starts, ends, strict=True)]


def _viterbi(rows: FloatArray, barred: FloatArray) -> list[int]:
    total = rows[0] + barred[-1]
    came_from = []
    for row in rows[1:]:
        through = total[:, None] + barred[:-1]
        came_from.append(through.argmax(axis=0))
        total = through.max(axis=0) + row
    tags = [int(total.argmax())]
    for earlier in reversed(came_from):
        tags.append(int(earlier[tags[-1]]))
    return tags[::-1]
