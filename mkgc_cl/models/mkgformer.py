"""MKGformer: BERT and a ViT fused level by level (Chen et al. 2022), read from the text alone."""

from __future__ import annotations

from typing import get_args

from torch import nn

from mkgc_cl._checks import at_least, one_of, require
from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.samples import LabelSpace
from mkgc_cl.data.tokenizer import WordTokenizer
from mkgc_cl.data.visuals import Images
from mkgc_cl.models.backbones import MultimodalModel
from mkgc_cl.models.base import (
    Tagger,
    common_problems,
    relation_states,
    word_states,
)
from mkgc_cl.models.captions import CaptionStream
from mkgc_cl.models.heads import LinearHead
from mkgc_cl.models.image_plan import view_plan
from mkgc_cl.models.output import ModelOutput
from mkgc_cl.models.prefix_fusion import PrefixFusion
from mkgc_cl.models.text import TextStream
from mkgc_cl.models.vision import VisionStream
from mkgc_cl.seeds import generator


class MKGformerModel(MultimodalModel):
    """Text encoder and ViT with prefix-guided interaction and correlation-aware fusion.

    Relations are scored by ``W [h_<s> ; h_<o>] + b`` from the start markers of both entities, tags
    by a linear layer over each word's first token and a CRF (``tagger``). Native to both
    tasks; the systems M-[EWC], M-[R-Replay] and Joint Training of the MSPT paper are this model
    under a strategy.

    Args:
        labels: the stream's classes.
        text: a BERT-family encoder.
        tokenizer: its tokenizer.
        vision: a timm ViT, of any width and number of heads.
        fusion_layers: how many top layers interact; ``None`` for a third of the text encoder's, as
            in the paper (4 of 12), and at least one.
        images: which images become tokens. ``"crops"`` is the released code's input (RELEASED
            CODE says that it reads the whole image, and never does). With ``"captions"`` the layers
            of ``vision``, then a text encoder, read words as the blocks of a ViT do.
        caption_tokenizer: of that encoder; that of the text by default.
        tagger: see :class:`~mkgc_cl.models.base.ExtractionModel`.
        max_text_length: most tokens a sample may have.
        freeze_lower: number of lowest layers of both streams, embeddings included, that do not
            train.
        freeze_vision: the same of the vision stream alone, where it is another.
        dropout: probability on what the tagging head reads while training.
        train_head: let the head's linear layer learn. RELEASED CODE never hands the one of
            relations to its optimizer: with ``False`` it stays as drawn (a CRF learns either way).
        seed: seed of every parameter that is not pretrained.

    Raises:
        ConfigError: an option does not fit the encoders.
    """

    vision_kind = "vit"

    def __init__(
        self,
        labels: LabelSpace,
        *,
        text: nn.Module,
        tokenizer: WordTokenizer,
        vision: nn.Module,
        fusion_layers: int | None = None,
        images: Images = "image",
        caption_tokenizer: WordTokenizer | None = None,
        tagger: Tagger = "crf",
        max_text_length: int = 128,
        freeze_lower: int = 0,
        freeze_vision: int | None = None,
        dropout: float = 0.1,
        train_head: bool = True,
        seed: int = 0,
    ) -> None:
        require(
            one_of("images", images, get_args(Images)),
            common_problems(tagger, freeze_lower, dropout),
            at_least("freeze_vision", freeze_vision, 0, none="freeze_lower"),
        )
        plan = view_plan(images, vision)
        super().__init__(
            labels,
            tokenizer=tokenizer,
            max_text_length=max_text_length,
            views=plan,
            caption_tokenizer=caption_tokenizer,
            tagger=tagger,
            seed=seed,
        )
        self.text = TextStream.plain(text, max_length=max_text_length)
        stream = CaptionStream if images == "captions" else VisionStream
        self.vision: VisionStream | CaptionStream = stream(
            vision,
            plan=plan,
            interaction_layers=0,
            shared_key=False,
            generator=generator(seed, "vision-parameters"),
        )
        if fusion_layers is None:
            fusion_layers = max(1, len(self.text.layers) // 3)
        self.fusion = PrefixFusion(
            self.text,
            self.vision,
            layers=fusion_layers,
            generator=generator(seed, "fusion-parameters"),
            seed=seed,
        )
        markers = 2 if labels.kind == "re" else 1
        width, outputs = markers * self.text.width, len(labels.outputs)
        self.head = LinearHead(width=width, outputs=outputs, seed=seed)
        self.dropout = nn.Dropout(dropout)
        self.text.freeze_lower(freeze_lower)
        self.vision.freeze_lower(freeze_lower if freeze_vision is None else freeze_vision)
        if isinstance(self.vision, VisionStream):
            self.vision.vit.norm.requires_grad_(False)  # words read the blocks, nobody beyond
        if not train_head:
            self.head.requires_grad_(False)

    def forward(self, batch: MultimodalBatch) -> ModelOutput:
        """Encode a batch and score it."""
        mask = batch.attention_mask
        states = self.fusion(
            self.text,
            self.vision,
            words=(self.text.embeddings(input_ids=batch.input_ids), mask),
            patches=self.vision.lower(batch, len(self.vision.blocks) - len(self.fusion.weights)),
            visual_index=batch.visual_index,
        )
        if self.labels.kind == "ner":
            words = word_states(batch, states)
            return self.scored(
                batch, states, self.dropout(words), features=states[:, 0], words=words
            )
        features = relation_states(batch, states, "entity-markers")
        return self.scored(batch, states, features, features=features)
