"""Encoders by name, and models that are built from such names."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar, cast

from torch import nn

from mkgc_cl.data.samples import LabelSpace
from mkgc_cl.data.tokenizer import WordTokenizer
from mkgc_cl.models.base import ExtractionModel
from mkgc_cl.models.encoders import load_text_encoder, load_visual

VisionKind = Literal["vit", "any"]
Model = TypeVar("Model", bound="MultimodalModel")


@dataclass(frozen=True, slots=True)
class Backbones:
    """A text and an image encoder, as a model's constructor takes them.

    Args:
        text: a BERT-family encoder.
        tokenizer: its tokenizer.
        vision: a timm model, or a text encoder that reads captions.
        caption_tokenizer: of that text encoder.
    """

    text: nn.Module
    tokenizer: WordTokenizer
    vision: nn.Module
    caption_tokenizer: WordTokenizer | None

    @classmethod
    def load(
        cls,
        text: str,
        vision: str,
        *,
        kind: VisionKind,
        captions: bool = False,
        pretrained: bool,
        seed: int,
    ) -> Backbones:
        """Load both by name; see :mod:`mkgc_cl.models.encoders`.

        Args:
            text: name of the text encoder.
            vision: name of the image encoder.
            kind: ``"vit"`` where the model runs the layers of both, ``"any"`` where it reads what
                they say.
            captions: ``vision`` is a text encoder, which reads captions in place of images.
            pretrained: load pretrained weights where there are any.
            seed: seed of weights that are not pretrained.

        Raises:
            ConfigError: a name is unknown, or the image encoder is of another kind.
        """
        encoder = load_text_encoder(text, pretrained=pretrained, whole=kind == "any", seed=seed)
        image, caption_tokenizer = load_visual(
            vision, captions=captions, pretrained=pretrained, seed=seed, vit=kind == "vit"
        )
        return cls(encoder.module, encoder.tokenizer, image, caption_tokenizer)


class MultimodalModel(ExtractionModel):
    """A model of text and images.

    Attributes:
        vision_kind: the encoders it takes: those whose layers it runs, a ViT and one of BERT's
            family, or any.
    """

    vision_kind: ClassVar[VisionKind] = "any"

    @classmethod
    def build(
        cls: type[Model],
        labels: LabelSpace,
        *,
        text: str = "tiny",
        vision: str = "tiny",
        pretrained: bool = True,
        seed: int = 0,
        **options: Any,
    ) -> Model:
        """Build the model from encoder names; see :mod:`mkgc_cl.models.encoders`.

        Args:
            labels: the stream's classes.
            text: name of the text encoder.
            vision: name of the image encoder.
            pretrained: load pretrained weights where there are any.
            seed: seed of every parameter that is not pretrained.
            **options: those of the class.

        Raises:
            ConfigError: a name is unknown, or an option does not fit.
            TypeError: the class has no such option.
        """
        inspect.signature(cls).bind_partial(labels, **options)  # before encoders are loaded
        found = Backbones.load(
            text,
            text if options.get("share_captions") else vision,
            kind=cls.vision_kind,
            captions=options.get("images") == "captions",
            pretrained=pretrained,
            seed=seed,
        )
        make = cast(Any, cls)
        model: Model = make(
            labels,
            text=found.text,
            tokenizer=found.tokenizer,
            vision=found.vision,
            caption_tokenizer=found.caption_tokenizer,
            seed=seed,
            **options,
        )
        return model
