"""UMGF (Zhang et al. 2021): a graph of words and objects, fused through a gate for every pair."""

from __future__ import annotations

from typing import get_args

import torch
from torch import nn

from mkgc_cl._checks import at_least, one_of, require
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
from mkgc_cl.models.graph_fusion import GraphFusion, ObjectAttention
from mkgc_cl.models.heads import LinearHead
from mkgc_cl.models.images import Objects, object_pixels, object_plan, visual_encoder
from mkgc_cl.models.output import ModelOutput
from mkgc_cl.models.whole_encoder import plain_stream
from mkgc_cl.seeds import seeded


class UMGFModel(MultimodalModel):
    """Multimodal graph fusion: BERT, one vector per object, and a CRF over ``[BERT x ; fused x]``.

    RELEASED CODE takes four crops that were found by grounding the names of all entity types, so
    that the first task sees what later ones are about. Here objects are the crops a sample comes
    with (grounding of its noun phrases, then detected ones), or the whole image as the only object.

    Relations are a port of ours, which the paper does not have: ``[BERT x ; fused x]`` at both
    start markers and a linear layer.

    Args:
        labels: the stream's classes.
        text: an encoder of BERT's family, or one that is run whole
            (:mod:`mkgc_cl.models.whole_encoder`).
        tokenizer: its tokenizer.
        vision: a timm backbone; the paper's is ResNet-152.
        train_vision: train the backbone, as its authors do.
        images: what the objects are: ``"crops"``, or ``"image"`` where a stream has no crops, or
            the caption of the image (its class token) as the only one.
        caption_tokenizer: of the text encoder that reads captions, ``vision``.
        objects: most objects a sample may have; those there are not take no part.
        width: width of the graph's nodes, a multiple of ``heads``.
        layers: number of fusion layers.
        heads: number of heads of the attention within words and within objects.
        object_attention: see :class:`~mkgc_cl.models.graph_fusion.GraphFusionLayer`.
        tagger: see :class:`~mkgc_cl.models.base.ExtractionModel`.
        max_text_length: most tokens a sample may have.
        freeze_lower: number of lowest text layers, embeddings included, that do not train.
        dropout: probability on the objects' projection and in the fusion layers, while training
            (RELEASED CODE: 0.4); nothing is dropped before the head.
        seed: seed of every parameter that is not pretrained.

    Raises:
        ConfigError: an option does not fit the encoders, or another option.
    """

    def __init__(
        self,
        labels: LabelSpace,
        *,
        text: nn.Module,
        tokenizer: WordTokenizer,
        vision: nn.Module,
        train_vision: bool = True,
        images: Objects = "crops",
        caption_tokenizer: WordTokenizer | None = None,
        objects: int = 4,
        width: int = 512,
        layers: int = 6,
        heads: int = 8,
        object_attention: ObjectAttention = "full",
        tagger: Tagger = "crf",
        max_text_length: int = 128,
        freeze_lower: int = 0,
        dropout: float = 0.4,
        seed: int = 0,
    ) -> None:
        sizes = {"objects": objects, "width": width, "layers": layers, "heads": heads}
        wrong = [line for name, size in sizes.items() for line in at_least(name, size, 1)]
        if not wrong and width % heads:
            wrong = [f"width={width} is not a multiple of heads={heads}; give one"]
        require(
            one_of("images", images, get_args(Objects)),
            one_of("object_attention", object_attention, get_args(ObjectAttention)),
            wrong,
            common_problems(tagger, freeze_lower, dropout),
        )
        encoder = visual_encoder(vision, images=images, train_backbone=train_vision)
        plan = object_plan(images, side=getattr(encoder, "side", 0), most=objects)
        super().__init__(
            labels,
            tokenizer=tokenizer,
            max_text_length=max_text_length,
            views=plan,
            caption_tokenizer=caption_tokenizer,
            tagger=tagger,
            seed=seed,
        )
        self.text = plain_stream(text, max_length=max_text_length)
        self.vision = encoder
        self.objects = objects
        with seeded(seed, "fusion"):
            self.fusion = GraphFusion(
                text_width=self.text.width,
                object_width=encoder.width,
                width=width,
                layers=layers,
                heads=heads,
                dropout=dropout,
                object_attention=object_attention,
            )
        both = self.text.width + width
        self.head = LinearHead(
            width=both if labels.kind == "ner" else 2 * both,
            outputs=len(labels.outputs),
            seed=seed,
        )
        self.text.freeze_lower(freeze_lower)

    def forward(self, batch: MultimodalBatch) -> ModelOutput:
        """Encode a batch and score it."""
        mask = batch.attention_mask
        text, _ = self.text(batch.input_ids, mask, [])
        if isinstance(self.vision, CaptionEncoder):
            found, present = self.vision.objects_of(batch)
        else:
            pixels, present = object_pixels(batch, self.processor.views, self.objects)
            found = self.vision.objects(pixels, present)
        fused = self.fusion(text, mask, found, present, batch.visual_index)
        both = torch.cat([text, fused], dim=-1)
        if self.labels.kind == "re":
            features = relation_states(batch, both, "entity-markers")
            return self.scored(batch, text, features, features=features)
        words = word_states(batch, both)
        return self.scored(batch, text, words, features=both[:, 0], words=words)
