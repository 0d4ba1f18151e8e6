"""What every model is: a label space of which more and more is seen, a head's scores, a loss."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mkgc_cl._checks import at_least, one_of, require, unit_interval
from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.processor import IGNORED, Processor
from mkgc_cl.data.samples import LabelSpace
from mkgc_cl.data.tokenizer import WordTokenizer
from mkgc_cl.data.views import ViewPlan
from mkgc_cl.errors import ConfigError
from mkgc_cl.models.heads import (
    BioGrammar,
    FusionHead,
    GrowableCRF,
    LinearHead,
    log_probabilities,
    spread,
)
from mkgc_cl.models.output import ModelOutput

if TYPE_CHECKING:
    from typing_extensions import Self

Pooling = Literal["cls", "entity-markers"]
Tagger = Literal["crf", "softmax"]


class Readout(nn.Module, ABC):
    """Scores that replace the head's when a model predicts (prototypes, a memory network).

    A part of the model, so that a saved model predicts as it did.
    """

    @abstractmethod
    def forward(self, output: ModelOutput) -> Tensor:
        """Score a batch: (B, C) or (B, W, C); only the outputs ``output.seen`` are read."""


class Decision(nn.Module, ABC):
    """Changes scores when a model predicts, after head and readout (a prior, another branch).

    A part of the model, so that a saved model predicts as it did.
    """

    @abstractmethod
    def forward(self, output: ModelOutput, scores: Tensor) -> Tensor:
        """Change the scores (B, C) or (B, W, C) of a batch."""


class ExtractionModel(nn.Module, ABC):
    """A model of one stream: it reads a :class:`MultimodalBatch` and returns a ``ModelOutput``.

    Every output exists from the start and is masked until :meth:`observe` announces its class, so
    no run can know the future and the head needs no surgery between tasks. Only what was seen is
    computed: not even how many classes are to come has an influence. Subclasses write
    :meth:`forward`, and leave their head to :meth:`scored`.

    Args:
        labels: the stream's classes.
        tokenizer: the text encoder's tokenizer.
        max_text_length: most tokens a sample may have.
        views: which images the model looks at.
        tagger: what scores tag sequences: ``"crf"``, or ``"softmax"``, word by word, decoded under
            the grammar of BIO. Relations have neither.
        seed: seed of the CRF.

    Attributes:
        seen: (C,) bool, the outputs announced so far.
        seen_ids: (K,) their ids, in order.
        built_with: the plain options it was built with, which a saved model is built again from.
        readout: what scores samples in an evaluation in place of the head; ``None`` for the head.
        decisions: what changes these scores then, in order.

    Raises:
        ConfigError: ``tagger`` is unknown.
    """

    seen: Tensor
    seen_ids: Tensor
    head: FusionHead | LinearHead
    text: Any
    built_with: dict[str, object]

    def __new__(cls, *args: Any, **options: Any) -> Self:
        """Note the options, whatever the subclass makes of them."""
        model = super().__new__(cls)
        plain = {name: value for name, value in options.items() if _is_plain(value)}
        object.__setattr__(model, "built_with", plain)
        return model

    def __init__(
        self,
        labels: LabelSpace,
        *,
        tokenizer: WordTokenizer,
        max_text_length: int,
        views: ViewPlan,
        caption_tokenizer: WordTokenizer | None = None,
        tagger: Tagger = "crf",
        seed: int = 0,
    ) -> None:
        super().__init__()
        require(one_of("tagger", tagger, get_args(Tagger)))
        outputs = len(labels.outputs)
        self.labels = labels
        self.processor = Processor(
            labels,
            tokenizer=tokenizer,
            max_text_length=max_text_length,
            views=views,
            caption_tokenizer=caption_tokenizer,
        )
        tags = labels.kind == "ner"
        self.crf = GrowableCRF(outputs=outputs, seed=seed) if tags and tagger == "crf" else None
        self.grammar = BioGrammar(labels.outputs) if tags and tagger == "softmax" else None
        self.readout: Readout | None = None
        self.decisions = nn.ModuleList()
        self.register_buffer("seen", torch.zeros(outputs, dtype=torch.bool))
        # kept beside, so that a forward pass need not wait for the device to count
        self.register_buffer("seen_ids", torch.zeros(0, dtype=torch.long), persistent=False)
        nn.Module.register_load_state_dict_post_hook(self, _number_seen)

    @abstractmethod
    def forward(self, batch: MultimodalBatch) -> ModelOutput:
        """Encode a batch and score it."""

    def get_extra_state(self) -> Tensor:
        """Names of the outputs, kept with the weights: rows alone do not say whose they are."""
        return torch.frombuffer(
            bytearray(json.dumps(self.labels.outputs).encode()), dtype=torch.uint8
        )

    def set_extra_state(self, state: Tensor) -> None:
        """Check that weights which are loaded have the same outputs, in the same order.

        Raises:
            ConfigError: naming the first that differs.
        """
        saved = json.loads(bytes(state.cpu().tolist()))
        if tuple(saved) != self.labels.outputs:
            raise ConfigError(
                [
                    f"the weights are of a model with the outputs {saved}, this one has "
                    f"{list(self.labels.outputs)}: in another order labels would be swapped; "
                    "build the model with the labels it was saved with"
                ]
            )

    @property
    def readout_width(self) -> int:
        """Width F of the features that a readout reads: the head's."""
        return int(self.head.rows.shape[1])

    def scored(
        self,
        batch: MultimodalBatch,
        states: Tensor,
        read: Tensor,
        *,
        features: Tensor,
        words: Tensor | None = None,
    ) -> ModelOutput:
        """Score a batch with a head of one stream, outputs not seen yet masked.

        Args:
            batch: the batch.
            states: (B, T, D) of the text encoder.
            read: (B, F) or (B, W, F) what the head reads, with the dropout of training.
            features: (B, F) of the sample.
            words: (B, W, F) what the tagging head reads, without; ``None`` for relations.
        """
        return ModelOutput(
            logits=self.spread(self.head(read, outputs=self.seen_ids)),
            seen=self.seen_ids,
            features=features,
            text_states=states,
            text_mask=batch.attention_mask,
            word_features=words,
            word_mask=None if words is None else batch.word_mask,
        )

    def observe(self, classes: Sequence[str]) -> None:
        """Unmask the outputs of ``classes`` (and of N/A or ``O``)."""
        self.seen[list(self.labels.output_ids(classes))] = True
        _number_seen(self)

    def loss(
        self, output: ModelOutput, targets: Tensor, *, reduction: Literal["mean", "none"] = "mean"
    ) -> Tensor:
        """Task loss of a batch, among the outputs that it scores (``output.seen``).

        Cross-entropy for relations; for tags the negative CRF log-likelihood of a sentence, or with
        the softmax tagger the mean cross-entropy of its words.

        Args:
            output: of :meth:`forward`.
            targets: (B,) relation ids, or (B, W) tag ids padded with -100.
            reduction: mean over the batch, or one value per sample (B,).
        """
        mask = targets != IGNORED
        if self.crf is not None:
            tags = targets.clamp(min=0)  # padding is masked; the CRF wants valid ids there too
            losses = -self.crf.log_likelihood(output.logits, tags, mask=mask, seen=output.seen)
        elif self.labels.kind == "ner":
            losses = negative_log(output.logits, targets, seen=output.seen)
            losses = losses.sum(dim=1) / mask.sum(dim=1)
        else:
            losses = negative_log(output.logits, targets, seen=output.seen)
        return losses.mean() if reduction == "mean" else losses

    @torch.no_grad()
    def read_out(self, output: ModelOutput) -> Tensor:
        """Scores to predict from: head or readout, then decisions; outputs not seen yet masked."""
        if self.readout is None and not self.decisions:
            return output.logits
        scores = output.logits if self.readout is None else self.readout(output)
        for decision in self.decisions:
            scores = decision(output, scores)
        return self.spread(scores.index_select(-1, self.seen_ids))

    @torch.no_grad()
    def decode(self, output: ModelOutput) -> list[list[int]]:
        """Best output ids: one per sample for relations, one per word (Viterbi) for tags."""
        decoded: list[list[int]]
        if self.crf is not None:
            decoded = self.crf.decode(output.logits, mask=output.word_mask)
        elif self.grammar is not None:
            words = log_probabilities(output.logits, output.seen)
            decoded = self.grammar.decode(words, mask=output.word_mask)
        else:
            decoded = [[int(best)] for best in output.logits.argmax(dim=-1)]
        return decoded

    def spread(self, scores: Tensor) -> Tensor:
        """Put scores (..., K) of the outputs seen so far among all: (..., C), at least float32."""
        # losses and the CRF want single precision at least, whatever the encoders ran in
        exact = torch.promote_types(scores.dtype, torch.float32)
        return spread(scores.to(exact), self.seen_ids, outputs=len(self.seen))


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | bool | int | float)


def negative_log(logits: Tensor, targets: Tensor, *, seen: Tensor | None) -> Tensor:
    """Cross-entropy of each target among the outputs seen so far; 0 where it is padding.

    Args:
        logits: (..., C) scores.
        targets: (...) ids, padded with -100.
        seen: (K,) ids of the outputs that compete; ``None`` for all.

    Returns:
        (...), in the logits' precision.
    """
    found = log_probabilities(logits, seen).flatten(0, -2)
    return F.nll_loss(found, targets.flatten(), reduction="none").view_as(targets)


def _number_seen(model: ExtractionModel, *_: object) -> None:
    """Number what a model has seen, anew after an announcement or the loading of a state."""
    model.seen_ids = model.seen.nonzero().flatten()


def relation_states(batch: MultimodalBatch, states: Tensor, pooling: Pooling) -> Tensor:
    """What a relation is read from: (B, D) class token, or (B, 2D) both start markers.

    Args:
        batch: with ``marker_positions`` (B, 2).
        states: (B, T, D) of the text encoder.
        pooling: which.
    """
    if pooling == "cls":
        return states[:, 0]
    return gather_positions(states, batch.marker_positions).flatten(1)


def word_states(batch: MultimodalBatch, states: Tensor) -> Tensor:
    """State of every word's first token: (B, W, D) of (B, T, D)."""
    return gather_positions(states, batch.word_starts)


def gather_positions(states: Tensor, positions: Tensor) -> Tensor:
    """States (B, T, D) at ``positions`` (B, N): (B, N, D)."""
    return states.gather(1, positions[..., None].expand(-1, -1, states.shape[-1]))


def common_problems(tagger: str, freeze_lower: int, dropout: float) -> list[str]:
    """What is wrong with options that all models have; see :mod:`mkgc_cl._checks`."""
    return [
        *one_of("tagger", tagger, get_args(Tagger)),
        *at_least("freeze_lower", freeze_lower, 0),
        *unit_interval("dropout", dropout),
    ]
