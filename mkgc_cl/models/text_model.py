"""The text-only model of the continual baselines: one encoder, no image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from mkgc_cl._checks import one_of, require
from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.samples import LabelSpace
from mkgc_cl.data.tokenizer import MarkerKind, WordTokenizer
from mkgc_cl.data.views import ViewPlan
from mkgc_cl.errors import ConfigError
from mkgc_cl.models.base import (
    ExtractionModel,
    Pooling,
    Tagger,
    common_problems,
    relation_states,
    word_states,
)
from mkgc_cl.models.captions import CAPTION_LENGTH, CaptionEncoder
from mkgc_cl.models.encoders import load_text_encoder, load_visual
from mkgc_cl.models.feature_cache import EncoderDigest, FeatureCache
from mkgc_cl.models.heads import LinearHead
from mkgc_cl.models.images import ImageEncoder, visual_encoder
from mkgc_cl.models.layer_features import PARTS, default_layers, head_part, layer_features
from mkgc_cl.models.output import ModelOutput
from mkgc_cl.models.whole_encoder import plain_stream
from mkgc_cl.seeds import seeded


class TextModel(ExtractionModel):
    """BERT with a relation head on entity markers, or a tagging head (Vanilla, EWC, EMR, ...).

    Args:
        labels: the stream's classes.
        text: an encoder of BERT's family, or one that is run whole
            (:mod:`mkgc_cl.models.whole_encoder`).
        tokenizer: its tokenizer.
        pooling: what a relation is read from: the start markers of both entities or ``[CLS]``.
        projection: put ``LN(GELU(W dropout(h)))`` between the markers and the relation head (Cui et
            al. 2021), which brings them to the encoder's width.
        tagger: see :class:`~mkgc_cl.models.base.ExtractionModel`.
        max_text_length: most tokens a sample may have.
        freeze_lower: number of lowest layers, embeddings included, that do not train.
        dropout: probability on what the head reads (or, with ``projection``, the projection) while
            training.
        head_bias: give the head a bias.
        layers: layers that a readout reads beside the head, 0 for the embeddings; see
            :mod:`mkgc_cl.models.layer_features`. By default none is; ``None`` is the last and
            one or two below it.
        captions: read the caption of the image behind the text (ITA; Wang et al., NAACL 2022), as
            far as ``max_text_length`` leaves room.
        beside: a frozen encoder of images, or of captions in their place, whose vector per sample
            stands beside the layers' features for a readout; the head never sees it.
        beside_tokenizer: of the encoder of captions.
        seed: seed of every parameter that is not pretrained.

    Attributes:
        cache: where features of layers are kept by sample, for an encoder that does not train;
            ``None`` encodes anew. A cached output has no ``text_states``, and of tags no
            ``features``: it is for readouts.

    Raises:
        ConfigError: an option does not fit the encoder.
    """

    cache: FeatureCache | None

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
        layers: Sequence[int] | None = (),
        captions: bool = False,
        beside: ImageEncoder | CaptionEncoder | None = None,
        beside_tokenizer: WordTokenizer | None = None,
        seed: int = 0,
    ) -> None:
        require(
            one_of("pooling", pooling, get_args(Pooling)),
            common_problems(tagger, freeze_lower, dropout),
        )
        super().__init__(
            labels,
            tokenizer=tokenizer,
            max_text_length=max_text_length,
            views=self._views(captions, beside),
            caption_tokenizer=beside_tokenizer,
            tagger=tagger,
            seed=seed,
        )
        self.text = plain_stream(text, max_length=max_text_length)
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
        self.layers = self._checked(layers)
        self.vision = beside
        if beside is not None and not self.layers:
            raise ConfigError(["images stand beside the features of layers; give layers, too"])
        self.cache = None
        self._digest = EncoderDigest(self.text, getattr(text, "config", None))

    @staticmethod
    def _views(captions: bool, beside: ImageEncoder | CaptionEncoder | None) -> ViewPlan:
        told = CAPTION_LENGTH if captions or isinstance(beside, CaptionEncoder) else 0
        if captions and beside is not None:
            raise ConfigError(["captions are read behind the text or beside it; leave one out"])
        side = beside.side if isinstance(beside, ImageEncoder) else 0
        return ViewPlan(image=side, caption=told, behind=captions)

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
        layers: Sequence[int] | None = (),
        markers: MarkerKind = "new",
        captions: bool = False,
        beside: str | None = None,
        images: Literal["image", "captions"] = "image",
        seed: int = 0,
    ) -> TextModel:
        """Build the model from an encoder's name; see :mod:`mkgc_cl.models.encoders`.

        ``beside`` names an encoder of ``images`` (or of captions in their place).
        """
        require(one_of("images", images, ("image", "captions")))
        frozen, beside_tokenizer = None, None
        if beside is not None:
            module, beside_tokenizer = load_visual(
                beside, captions=images == "captions", pretrained=pretrained, seed=seed, vit=False
            )
            frozen = visual_encoder(module, images=images, train_backbone=False)
        encoder = load_text_encoder(
            text, pretrained=pretrained, markers=markers, whole=True, seed=seed
        )
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
            layers=layers,
            captions=captions,
            beside=frozen,
            beside_tokenizer=beside_tokenizer,
            seed=seed,
        )

    @property
    def readout_width(self) -> int:
        """Width of what a readout reads: of the layers' features, or of the head's where none."""
        if not self.layers:
            return super().readout_width
        beside = 0 if self.vision is None else self.vision.width
        return PARTS[self.labels.kind] * int(self.text.width) * len(self.layers) + beside

    def forward(self, batch: MultimodalBatch) -> ModelOutput:
        """Encode a batch and score it; in evaluation mode also read the layers for a readout."""
        if self.training or not self.layers:
            states, _ = self.text(batch.input_ids, batch.attention_mask, [])
            return self._read(batch, states)
        if self.cache is not None:
            return self._cached(batch, self.cache)
        kept = self._states(batch)
        output = self._read(batch, kept[len(self.text.layers)])
        features = layer_features(batch, [kept[layer] for layer in self.layers])
        return replace(output, layer_features=self._with_images(batch, features))

    def _with_images(self, batch: MultimodalBatch, features: Tensor) -> Tensor:
        """Put the vector of the image, or of its caption, beside the features of the text."""
        if self.vision is None:
            return features
        seen = self.vision.vectors_of(batch)[batch.visual_index].to(features.dtype)
        if features.dim() == 3:
            seen = seen[:, None].expand(-1, features.shape[1], -1)
        return torch.cat([features, seen], dim=-1)

    def _states(self, batch: MultimodalBatch) -> dict[int, Tensor]:
        """States (B, T, D) of the layers that are read, and of the last."""
        run = self.text.layer_by_layer(batch.input_ids, batch.attention_mask, [])
        wanted = {*self.layers, len(self.text.layers)}
        return {depth: states for depth, (states, _) in enumerate(run) if depth in wanted}

    @torch.no_grad()
    def _cached(self, batch: MultimodalBatch, cache: FeatureCache) -> ModelOutput:
        def encode(part: MultimodalBatch) -> Mapping[int, Tensor]:
            return {n: layer_features(part, [states]) for n, states in self._states(part).items()}

        last = len(self.text.layers)
        layers = sorted({*self.layers, last})
        found = cache.read(batch, encoder=self._digest(), layers=layers, encode=encode)
        read = head_part(found[last], self.labels.kind, self.pooling)
        nothing = read.new_empty(0)
        features = torch.cat([found[layer] for layer in self.layers], dim=-1)
        if self.labels.kind == "ner":
            output = self.scored(batch, nothing, read, features=nothing, words=read)
        else:
            read = read if self.projection is None else self.projection(read)
            output = self.scored(batch, nothing, read, features=read)
        return replace(output, layer_features=self._with_images(batch, features))

    def _read(self, batch: MultimodalBatch, states: Tensor) -> ModelOutput:
        if self.labels.kind == "ner":
            words = word_states(batch, states)
            return self.scored(
                batch, states, self.dropout(words), features=states[:, 0], words=words
            )
        features = relation_states(batch, states, self.pooling)
        read = self.dropout(features)
        if self.projection is not None:
            read = features = self.projection(read)
        return self.scored(batch, states, read, features=features)

    def _checked(self, layers: Sequence[int] | None) -> tuple[int, ...]:
        depth = len(self.text.layers)
        if layers is None:
            return default_layers(depth, self.labels.kind)
        wrong = [
            f"layers names {layer}, but the text encoder has layers 0 (embeddings) to {depth}"
            for layer in layers
            if not 0 <= layer <= depth
        ]
        if len(set(layers)) < len(layers):
            wrong.append(f"layers names one twice: {list(layers)}")
        if wrong:
            raise ConfigError(wrong)
        return tuple(layers)


def _projection(wide: int, width: int, seed: int) -> nn.Sequential:
    with seeded(seed, "projection"):
        return nn.Sequential(nn.Linear(wide, width), nn.GELU(), nn.LayerNorm(width))
