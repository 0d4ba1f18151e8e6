"""The text-only model of the continual baselines: one encoder, no picture."""

from __future__ import annotations

from typing import get_args

from torch import nn

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.samples import LabelSpace
from mkgc_cl.data.tokenizer import WordTokenizer
from mkgc_cl.data.views import ViewPlan
from mkgc_cl.models.base import (
    ExtractionModel,
    Pooling,
    Tagger,
    check_choices,
    relation_states,
    word_states,
)
from mkgc_cl.models.encoders import load_text_encoder
from mkgc_cl.models.heads import LinearHead
from mkgc_cl.models.output import ModelOutput
from mkgc_cl.models.text import TextStream
from mkgc_cl.seeds import seeded


class TextModel(ExtractionModel):
    """BERT with a relation head on entity markers, or a tagging head (Vanilla, EWC, EMR, ...).

    Args:
        labels: the stream's classes.
        text: a BERT-family encoder.
        tokenizer: its tokenizer.
        pooling: what a relation is read from: the start markers of both entities or ``[CLS]``.
        projection: put ``LN(GELU(W dropout(h)))`` between the markers and the relation head (Cui et
            al. 2021), which brings them to the encoder's width.
        tagger: see :class:`~mkgc_cl.models.base.ExtractionModel`.
        max_text_length: most tokens a post may have.
        freeze_lower: number of lowest layers, embeddings included, that do not train.
        dropout: probability on what the head reads (or, with ``projection``, the projection) while
            training.
        head_bias: give the head a bias.
        seed: seed of every parameter that is not pretrained.

    Raises:
        ConfigError: an option does not fit the encoder.
    """

    def __init__(
        self,
        labels: LabelSpace,
        *,
        text: nn.Module,
        tokenizer: WordTokenizer,
        pooling: Pooling = "entity-markers",
        projection: bool = False,
        tagger: Tagger = "crf",
        max_text_length: int = 128,
        freeze_lower: int = 0,
        dropout: float = 0.1,
        head_bias: bool = True,
        seed: int = 0,
    ) -> None:
        check_choices(
            {"pooling": pooling},
            {"pooling": get_args(Pooling)},
            {"freeze_lower": freeze_lower},
            dropout=dropout,
        )
        super().__init__(
            labels,
            tokenizer=tokenizer,
            max_text_length=max_text_length,
            views=ViewPlan(image=0),
            tagger=tagger,
            seed=seed,
        )
        self.text = TextStream.plain(text, max_length=max_text_length)
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        width = self.text.width
        self.projection: nn.Module | None = None
        if labels.kind == "re" and pooling == "entity-markers":
            width *= 2
            if projection:
                self.projection = _projection(width, self.text.width, seed)
                width = self.text.width
        self.head = LinearHead(width=width, outputs=len(labels.outputs), seed=seed, bias=head_bias)
        self.text.freeze_lower(freeze_lower)

    @classmethod
    def build(
        cls,
        labels: LabelSpace,
        *,
        text: str = "tiny",
        pretrained: bool = True,
        pooling: Pooling = "entity-markers",
        projection: bool = False,
        tagger: Tagger = "crf",
        max_text_length: int = 128,
        freeze_lower: int = 0,
        dropout: float = 0.1,
        head_bias: bool = True,
        seed: int = 0,
    ) -> TextModel:
        """Build the model from an encoder's name; see :mod:`mkgc_cl.models.encoders`."""
        encoder = load_text_encoder(text, pretrained=pretrained, seed=seed)
        return cls(
            labels,
            text=encoder.module,
            tokenizer=encoder.tokenizer,
            pooling=pooling,
            projection=projection,
            tagger=tagger,
            max_text_length=max_text_length,
            freeze_lower=freeze_lower,
            dropout=dropout,
            head_bias=head_bias,
            seed=seed,
        )

    def forward(self, batch: MultimodalBatch) -> ModelOutput:
        """Encode a batch and score it."""
        mask = batch["attention_mask"]
        states, _ = self.text(batch["input_ids"], mask, [])
        if self.labels.kind == "ner":
            words = word_states(batch, states)
            return self.scored(
                batch, states, self.head(self.dropout(words)), features=states[:, 0], words=words
            )
        features = relation_states(batch, states, self.pooling)
        read = self.dropout(features)
        if self.projection is not None:
            read = features = self.projection(read)
        return self.scored(batch, states, self.head(read), features=features)


def _projection(wide: int, width: int, seed: int) -> nn.Sequential:
    with seeded(seed, "projection"):
        return nn.Sequential(nn.Linear(wide, width), nn.GELU(), nn.LayerNorm(width))
