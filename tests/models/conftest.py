"""Samples with images of noise, and models small enough to work out by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mkgc_cl.data.samples import (
    LabelSpace,
    RelationSample,
    Sample,
    TaggingSample,
    TaskKind,
    VisualInput,
)
from mkgc_cl.models import DualStreamModel


@dataclass(frozen=True)
class Noise:
    """An image of random pixels; equal names, equal pixels."""

    name: str

    @property
    def key(self) -> str:
        return f"noise/{self.name}"

    def read(self) -> Image.Image:
        seed = int(hashlib.sha256(self.name.encode()).hexdigest()[:8], 16)
        return Image.fromarray(
            np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        )

    def fingerprint(self) -> str:
        return self.key


RELATIONS = LabelSpace("re", ("peer", "part_of", "held_on"), na="None")
TAGS = LabelSpace("ner", ("PER", "LOC"))
WORDS = ("Jordan", "won", "in", "Paris", "again", "#goal", "!", "Ann", "Lee", "left")


def _image(image: str, crops: int) -> VisualInput:
    return VisualInput(
        Noise(image),
        tuple(Noise(f"{image}/g{i}") for i in range(crops)),
        tuple(Noise(f"{image}/d{i}") for i in range(max(0, crops - 1))),
    )


def _sample(
    uid: str, *, kind: TaskKind = "re", length: int = 5, image: str = "a", crops: int = 0
) -> Sample:
    start = sum(map(ord, uid))
    tokens = tuple(WORDS[(start + i) % len(WORDS)] for i in range(length))
    visual = _image(image, crops)
    if kind == "re":
        relation = RELATIONS.outputs[start % len(RELATIONS.outputs)]
        return RelationSample(uid, tokens, (0, 2), (length - 1, length), relation, visual)
    tags = tuple(TAGS.outputs[(start + i) % 2] for i in range(length))
    return TaggingSample(uid, tokens, tags, visual)


@pytest.fixture
def make_sample() -> Callable[..., Sample]:
    """Makes a sample; its words, label and image follow from what it is called."""
    return _sample


@pytest.fixture
def stir() -> Callable[[nn.Module], nn.Module]:
    """Draw every parameter large: fresh weights attend almost evenly and hide mistakes.

    In double precision, so that what is equal on paper is equal to many digits.
    """

    def apply(module: nn.Module) -> nn.Module:
        source = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in module.parameters():
                fan = parameter.shape[-1] if parameter.dim() > 1 else 4
                parameter.normal_(0, 2 * fan**-0.5, generator=source)
        return module.double()

    return apply


@pytest.fixture
def build(stir: Callable[[nn.Module], nn.Module]) -> Callable[..., DualStreamModel]:
    """Builds a stirred tiny model in evaluation mode that has seen every class."""

    def make(kind: TaskKind = "re", *, seen: bool = True, **options: object) -> DualStreamModel:
        labels = RELATIONS if kind == "re" else TAGS
        model = DualStreamModel.build(labels, **options)  # type: ignore[arg-type]
        stir(model)
        if seen:
            model.observe(labels.classes)
        return model.eval()

    return make
