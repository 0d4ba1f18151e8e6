"""UMT (Yu et al. 2020): coupled cross-modal attention, guided by spans found in the text alone."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor, nn

from mkgc_cl._checks import at_least, one_of, require, unit_interval
from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.processor import IGNORED
from mkgc_cl.data.samples import LabelSpace
from mkgc_cl.data.tokenizer import WordTokenizer
from mkgc_cl.errors import ConfigError
from mkgc_cl.models.backbones import MultimodalModel
from mkgc_cl.models.base import (
    Tagger,
    common_problems,
    relation_states,
    word_states,
)
from mkgc_cl.models.coupled import CoupledFusion, Projections
from mkgc_cl.models.heads import GrowableCRF, LinearHead
from mkgc_cl.models.images import object_plan, visual_encoder
from mkgc_cl.models.output import ModelOutput, SpanOutput
from mkgc_cl.models.span_tags import SPAN_TAGS, conversion_matrix, span_of
from mkgc_cl.models.whole_encoder import plain_stream
from mkgc_cl.seeds import derive

GridOf = Literal["image", "captions"]


class UMTModel(MultimodalModel):
    """Unified multimodal transformer: BERT, the grid of the whole image, and a span detector.

    Tagging: emissions are ``(1 - c) E + c E_span M`` with ``M`` the
    :func:`~mkgc_cl.models.span_tags.conversion_matrix` of the types seen so far; the span detector
    has a CRF and a loss of its own. It knows no types, so it is shared by all tasks.

    Relations are a port of ours, which the paper does not have: no span detector, the fused states
    at both start markers and a linear layer.

    RELEASED CODE crops and mirrors every image at random, once and for ever, test samples' too; its
    CRFs have tags for word-pieces, padding and special tokens. Here images are whole, and the
    CRFs run over words.

    Args:
        labels: the stream's classes.
        text: an encoder of BERT's family, or one that is run whole
            (:mod:`mkgc_cl.models.whole_encoder`).
        tokenizer: its tokenizer.
        vision: a timm backbone; the paper's is ResNet-152. For captions a text encoder.
        images: the grid is that of the whole image, or the words of its caption.
        caption_tokenizer: of the encoder of captions.
        train_vision: train the backbone (RELEASED CODE: frozen).
        projections: see :class:`~mkgc_cl.models.coupled.CoupledFusion`.
        conversion: weight c of the converted span emissions; 0 leaves them out.
        span_loss: weight of the span detector's loss; 0 leaves it out.
        tagger: see :class:`~mkgc_cl.models.base.ExtractionModel`; spans have a CRF either way.
        max_text_length: most tokens a sample may have.
        freeze_lower: number of lowest text layers, embeddings included, that do not train.
        dropout: probability on the text encoder's states and in the fusion layers, while training;
            nothing is dropped before the heads.
        seed: seed of every parameter that is not pretrained.

    Raises:
        ConfigError: an option does not fit the encoders.
    """

    def __init__(
        self,
        labels: LabelSpace,
        *,
        text: nn.Module,
        tokenizer: WordTokenizer,
        vision: nn.Module,
        images: GridOf = "image",
        caption_tokenizer: WordTokenizer | None = None,
        train_vision: bool = False,
        projections: Projections = "one",
        conversion: float = 0.5,
        span_loss: float = 0.5,
        tagger: Tagger = "crf",
        max_text_length: int = 128,
        freeze_lower: int = 0,
        dropout: float = 0.1,
        seed: int = 0,
    ) -> None:
        require(
            one_of("projections", projections, get_args(Projections)),
            one_of("images", images, get_args(GridOf)),
            unit_interval("conversion", conversion),
            at_least("span_loss", span_loss, 0),
            common_problems(tagger, freeze_lower, dropout),
        )
        encoder = visual_encoder(vision, images=images, train_backbone=train_vision)
        super().__init__(
            labels,
            tokenizer=tokenizer,
            max_text_length=max_text_length,
            views=object_plan(images, side=getattr(encoder, "side", 0), most=0),
            caption_tokenizer=caption_tokenizer,
            tagger=tagger,
            seed=seed,
        )
        self.text = plain_stream(text, max_length=max_text_length)
        self.vision = encoder
        tags = labels.kind == "ner"
        self.fusion = CoupledFusion(
            width=self.text.width,
            grid_width=encoder.width,
            heads=self.text.heads,  # of the encoder's own shape
            inner=self.text.inner,
            dropout=dropout,
            projections=projections,
            auxiliary=tags,
            seed=seed,
        )
        self.dropout = nn.Dropout(dropout)
        self.conversion = conversion
        self.span_loss = span_loss
        width = self.text.width
        self.head = LinearHead(
            width=2 * width if tags else 4 * width, outputs=len(labels.outputs), seed=seed
        )
        self.aux_head: LinearHead | None = None
        self.aux_crf: GrowableCRF | None = None
        if tags:
            spans, own = len(SPAN_TAGS), derive(seed, "spans")
            self.aux_head = LinearHead(width=width, outputs=spans, seed=own)
            self.aux_crf = GrowableCRF(outputs=spans, seed=own)
        self.text.freeze_lower(freeze_lower)

    def forward(self, batch: MultimodalBatch) -> ModelOutput:
        """Encode a batch and score it; a :class:`~mkgc_cl.models.output.SpanOutput` for tags."""
        mask = batch.attention_mask
        text, _ = self.text(batch.input_ids, mask, [])
        states = self.dropout(text)  # one draw for both branches
        fused = self.fusion(states, mask, *self.vision.grid_of(batch), batch.visual_index)
        if self.aux_head is None or self.fusion.auxiliary is None:
            features = relation_states(batch, fused, "entity-markers")
            return self.scored(batch, text, features, features=features)
        words = word_states(batch, fused)
        spans = self.aux_head(word_states(batch, self.fusion.auxiliary(states, states, mask)))
        converted = spans @ conversion_matrix(self.seen_ids).to(spans.dtype)
        own = self.head(words, outputs=self.seen_ids)
        return SpanOutput(
            logits=self.spread((1 - self.conversion) * own + self.conversion * converted),
            seen=self.seen_ids,
            features=fused[:, 0],
            text_states=text,
            text_mask=mask,
            word_features=words,
            word_mask=batch.word_mask,
            span_logits=spans,
        )

    def loss(
        self, output: ModelOutput, targets: Tensor, *, reduction: Literal["mean", "none"] = "mean"
    ) -> Tensor:
        """Task loss of a batch; for tags the span detector's loss is added.

        Spans are those of the targets: in a stream, entities of other tasks count as O.

        Args:
            output: of :meth:`forward`.
            targets: (B,) relation ids, or (B, W) tag ids padded with -100.
            reduction: mean over the batch, or one value per sample (B,).

        Raises:
            ConfigError: an output without span emissions is to be scored against tags.
        """
        main = super().loss(output, targets, reduction=reduction)
        if self.aux_crf is None:
            return main
        if not isinstance(output, SpanOutput):
            raise ConfigError(
                [f"UMTModel.loss reads span emissions; {type(output).__name__} has none"]
            )
        spans = span_of(targets).clamp(min=0)  # padding is masked, see the base
        likelihood: Tensor = self.aux_crf(
            output.span_logits, spans, mask=targets != IGNORED, reduction=reduction
        )
        return main - self.span_loss * likelihood
