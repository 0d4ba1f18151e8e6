"""MEGA: relations from entity markers and the objects of the image (Zheng et al. 2021)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import nn

from mkgc_cl._checks import one_of, require
from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.samples import LabelSpace
from mkgc_cl.data.tokenizer import WordTokenizer
from mkgc_cl.models.backbones import MultimodalModel
from mkgc_cl.models.base import (
    Tagger,
    common_problems,
    relation_states,
    word_states,
)
from mkgc_cl.models.captions import CaptionEncoder
from mkgc_cl.models.heads import LinearHead
from mkgc_cl.models.images import Objects, object_plan, slot_pixels, visual_encoder
from mkgc_cl.models.object_fusion import ObjectFusion
from mkgc_cl.models.output import ModelOutput
from mkgc_cl.models.whole_encoder import plain_stream
from mkgc_cl.seeds import seeded

Alignments = Literal["both", "semantic"]

CROPS = 3
"""Crops of each kind that count as objects."""


class MEGAModel(MultimodalModel):
    """Text encoder, one vector per object, and two alignments between them.

    Relations: with ``x = [h_head ; h_tail]`` at the start markers and o of
    :class:`~mkgc_cl.models.object_fusion.ObjectFusion`, the head reads ``W_2 [x ; o]``. Tags are a
    port of ours: the head reads ``[h_i ; o]`` of each word, with a CRF above.

    PAPER: objects are the ten of a scene graph, with features of a detector. Here they are the
    crops that come with the data sets (grounding, then detected ones), seen by the backbone alone.

    The structural alignment is read from the batch's key ``alignment``: (B, T, N) float, tokens by
    object slots, as :mod:`mkgc_cl.data.alignment` makes it from a parse of the words and a scene
    graph of the objects. No download holds either, and the standard
    :class:`~mkgc_cl.data.processor.Processor` has no parser.

    Args:
        labels: the stream's classes.
        text: an encoder of BERT's family, or one that is run whole
            (:mod:`mkgc_cl.models.whole_encoder`).
        tokenizer: its tokenizer.
        vision: a timm backbone, of any width.
        images: the objects: ``"crops"``, or ``"image"`` for the whole image as the only one, where
            there are no crops, or its caption (the class token) as the only one.
        caption_tokenizer: of the text encoder that reads captions, ``vision``.
        alignments: ``"both"``, or ``"semantic"`` alone where samples have no structural one.
        train_vision: train the image backbone; else it stays as it is, for ever.
        tagger: see :class:`~mkgc_cl.models.base.ExtractionModel`.
        max_text_length: most tokens a sample may have.
        freeze_lower: number of lowest text layers, embeddings included, that do not train.
        dropout: probability on what the head reads while training.
        seed: seed of every parameter that is not pretrained.

    Raises:
        ConfigError: an option is unknown or does not fit the encoders.
        DataError: later, by a batch without the alignment that ``"both"`` reads.
    """

    def __init__(
        self,
        labels: LabelSpace,
        *,
        text: nn.Module,
        tokenizer: WordTokenizer,
        vision: nn.Module,
        images: Objects = "crops",
        caption_tokenizer: WordTokenizer | None = None,
        alignments: Alignments = "both",
        train_vision: bool = False,
        tagger: Tagger = "crf",
        max_text_length: int = 128,
        freeze_lower: int = 0,
        dropout: float = 0.5,
        seed: int = 0,
    ) -> None:
        require(
            one_of("images", images, get_args(Objects)),
            one_of("alignments", alignments, get_args(Alignments)),
            common_problems(tagger, freeze_lower, dropout),
        )
        encoder = visual_encoder(vision, images=images, train_backbone=train_vision)
        super().__init__(
            labels,
            tokenizer=tokenizer,
            max_text_length=max_text_length,
            views=object_plan(images, side=getattr(encoder, "side", 0), most=CROPS),
            caption_tokenizer=caption_tokenizer,
            tagger=tagger,
            seed=seed,
        )
        self.text = plain_stream(text, max_length=max_text_length)
        self.vision = encoder
        relations = labels.kind == "re"
        width = (2 if relations else 1) * self.text.width
        objects = ObjectFusion(
            text_width=self.text.width,
            object_width=self.vision.width,
            width=width,
            structural=alignments == "both",
            seed=seed,
        )
        self.fusion = nn.ModuleDict({"objects": objects})
        if relations:
            with seeded(seed, "merge-parameters"):
                self.fusion["merge"] = nn.Linear(2 * width, width)
        read = width if relations else 2 * width
        self.head = LinearHead(width=read, outputs=len(labels.outputs), seed=seed)
        self.dropout = nn.Dropout(dropout)
        self.text.freeze_lower(freeze_lower)

    def forward(self, batch: MultimodalBatch) -> ModelOutput:
        """Encode a batch and score it."""
        mask = batch.attention_mask
        states, _ = self.text(batch.input_ids, mask, [])
        if isinstance(self.vision, CaptionEncoder):
            vectors, present = self.vision.objects_of(batch)
        else:
            # slot by slot: an alignment has a column a slot
            pixels, present = slot_pixels(batch, self.processor.views)
            vectors = self.vision.objects(pixels, present)
        rows = batch.visual_index
        objects = self.fusion["objects"](
            states, mask, vectors[rows], present[rows], batch.alignment
        )
        if self.labels.kind == "ner":
            words = word_states(batch, states)
            beside = objects[:, None].expand(-1, words.shape[1], -1)
            words = torch.cat([words, beside], dim=-1)
            return self.scored(
                batch,
                states,
                self.dropout(words),
                features=torch.cat([states[:, 0], objects], dim=-1),
                words=words,
            )
        entities = relation_states(batch, states, "entity-markers")
        features = self.fusion["merge"](torch.cat([entities, objects], dim=-1))
        return self.scored(batch, states, self.dropout(features), features=features)
