"""The dual-stream model: BERT and ViT side by side, hand in hand through a shared key."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from mkgc_cl._checks import at_least, one_of, require
from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.samples import LabelSpace
from mkgc_cl.data.tokenizer import WordTokenizer
from mkgc_cl.data.visuals import Images
from mkgc_cl.models.attention import KeyShape
from mkgc_cl.models.backbones import MultimodalModel
from mkgc_cl.models.base import (
    Pooling,
    Tagger,
    common_problems,
    relation_states,
    word_states,
)
from mkgc_cl.models.captions import CaptionStream, share_weights
from mkgc_cl.models.heads import FusionHead, HeadOutput
from mkgc_cl.models.image_plan import view_plan
from mkgc_cl.models.output import DualStreamOutput
from mkgc_cl.models.text import TextStream
from mkgc_cl.models.vision import VisionStream
from mkgc_cl.seeds import generator, seeded

Interaction = Literal["shared-key", "self"]


class DualStreamModel(MultimodalModel):
    """Text encoder and ViT whose top layers attend through one learnable key (paper, section 4).

    Args:
        labels: the stream's classes; every output exists from the start and is masked until
            :meth:`observe` announces its class, so no run can know the future.
        text: a BERT-family encoder.
        tokenizer: its tokenizer.
        vision: a timm ViT, of any width and number of heads, see :meth:`vision_keys`.
        interaction: ``"shared-key"`` (eq. 10) or ``"self"`` (ordinary attention: "w/o MI").
        interaction_layers: number of top layers that interact and return their maps (paper: 3).
        key_shape: ``"per-position"``, or ``"single"`` (RELEASED CODE: inert, see
            :class:`~mkgc_cl.models.attention.SharedKeyAttention`).
        pooling: what a relation is read from: the class tokens of both streams (eq. 2) or the start
            markers of both entities and the visual class token.
        images: which images become tokens; ``"crops"`` is the released code's input. With
            ``"captions"`` the vision stream reads words: ``vision`` is then a text encoder.
        caption_tokenizer: of that encoder; that of the text by default.
        share_captions: let it have the weights of the text encoder, its bias maps apart; see
            :func:`~mkgc_cl.models.captions.share_weights`.
        tagger: see :class:`~mkgc_cl.models.base.ExtractionModel`.
        max_text_length: most tokens a sample may have.
        freeze_lower: number of lowest layers of both streams, embeddings included, that do not
            train.
        freeze_vision: the same of the vision stream alone, where it is another.
        dropout: probability on tagging features while training (RELEASED CODE: 0.1).
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
        interaction: Interaction = "shared-key",
        interaction_layers: int = 3,
        key_shape: KeyShape = "per-position",
        pooling: Pooling = "cls",
        images: Images = "image",
        caption_tokenizer: WordTokenizer | None = None,
        share_captions: bool = False,
        tagger: Tagger = "crf",
        max_text_length: int = 128,
        freeze_lower: int = 0,
        freeze_vision: int | None = None,
        dropout: float = 0.1,
        seed: int = 0,
    ) -> None:
        require(
            one_of("images", images, get_args(Images)),
            one_of("interaction", interaction, get_args(Interaction)),
            one_of("key_shape", key_shape, get_args(KeyShape)),
            one_of("pooling", pooling, get_args(Pooling)),
            at_least("interaction_layers", interaction_layers, 0),
            ["share_captions is for images='captions'; leave it out"]
            if share_captions and images != "captions"
            else [],
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
        # a generator each, so that what one part draws does not depend on whether another is there
        source = {part: generator(seed, f"{part}-parameters") for part in ("text", "vision", "key")}
        shared = interaction == "shared-key"
        self.text = TextStream(
            text,
            interaction_layers=interaction_layers,
            shared_key=shared,
            max_length=max_text_length,
            generator=source["text"],
        )
        stream = CaptionStream if images == "captions" else VisionStream
        self.vision: VisionStream | CaptionStream = stream(
            vision,
            plan=plan,
            interaction_layers=interaction_layers,
            shared_key=shared,
            generator=source["vision"],
        )
        if isinstance(self.vision, CaptionStream) and share_captions:
            share_weights(self.vision, self.text)
        width = self.text.width
        positions = 1 if key_shape == "single" else max(max_text_length, self.vision.length)
        self.shared_keys = nn.ParameterList()
        for _ in range(interaction_layers if shared else 0):
            key = torch.empty(positions, width)
            nn.init.xavier_uniform_(key, generator=source["key"])
            self.shared_keys.append(nn.Parameter(key))
        # PAPER: both encoders are equally wide (768). Where they are not, learned linear maps on
        # the vision side stand between: each layer's key comes to the ViT's width (a bias would be
        # one number for all columns of a map, which the softmax cancels), and the visual class
        # token to the text's, where eq. (3) adds a position embedding of BERT's to it.
        self.key_projections = nn.ModuleList()
        self.projection: nn.Module | None = None
        if self.vision.width != width:
            with seeded(seed, "projection"):
                self.projection = nn.Linear(self.vision.width, width)
                self.key_projections.extend(
                    nn.Linear(width, self.vision.width, bias=False) for _ in self.shared_keys
                )
        self.pooling = pooling
        two_markers = labels.kind == "re" and pooling == "entity-markers"
        self.head = FusionHead(
            text_width=2 * width if two_markers else width,
            vision_width=width,
            outputs=len(labels.outputs),
            seed=seed,
        )
        self.dropout = nn.Dropout(dropout if labels.kind == "ner" else 0.0)
        self.text.freeze_lower(freeze_lower)
        self.vision.freeze_lower(freeze_lower if freeze_vision is None else freeze_vision)

    def vision_keys(self) -> list[Tensor]:
        """Shared keys as the vision stream reads them: (n_max, D_v), or (1, D_v) of a single one.

        Each stream cuts a key into its own heads, so their numbers may differ: its maps have as
        many, and are distilled against those of the same stream.
        """
        if not self.key_projections:
            return list(self.shared_keys)
        pairs = zip(self.key_projections, self.shared_keys, strict=True)
        return [bring(key) for bring, key in pairs]

    def forward(self, batch: MultimodalBatch) -> DualStreamOutput:
        """Encode a batch and score it; see :class:`~mkgc_cl.models.output.DualStreamOutput`."""
        text_mask = batch.attention_mask
        text, text_maps = self.text(batch.input_ids, text_mask, list(self.shared_keys))
        vision, vision_mask, vision_maps = self.vision.read(batch, self.vision_keys())
        visual = vision[:, 0]
        if self.projection is not None:
            visual = self.projection(visual)
        visual = visual[batch.visual_index]  # (B, D)
        words = None
        if self.labels.kind == "re":
            features = torch.cat([relation_states(batch, text, self.pooling), visual], dim=-1)
            read = (features[:, : -visual.shape[1]], visual)
        else:
            features = torch.cat([text[:, 0], visual], dim=-1)
            # PAPER: eq. (3) adds BERT's position embedding of the word to the visual class token.
            placed = visual[:, None] + self.text.positions(batch.word_starts)
            words = torch.cat([word_states(batch, text), placed], dim=-1)
            read = tuple(self.dropout(part) for part in words.chunk(2, dim=-1))
        scores = HeadOutput(*map(self.spread, self.head(*read, outputs=self.seen_ids)))
        return DualStreamOutput(
            logits=scores.logits,
            seen=self.seen_ids,
            text_logits=scores.text,
            vision_logits=scores.vision,
            features=features,
            text_states=text,
            text_mask=text_mask,
            vision_states=vision,
            visual=visual,
            vision_mask=vision_mask,
            visual_index=batch.visual_index,
            text_maps=tuple(scores.view_as(scores) for scores in text_maps),
            vision_maps=tuple(scores.view_as(scores) for scores in vision_maps),
            word_features=words,
            word_mask=batch.get("word_mask"),
        )
