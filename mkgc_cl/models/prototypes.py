"""Classes as prototypes: means of their exemplars' features, and scores against them."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeVar, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from mkgc_cl._checks import one_of, require
from mkgc_cl.errors import ConfigError
from mkgc_cl.models.base import ExtractionModel, Readout
from mkgc_cl.models.heads import spread
from mkgc_cl.models.output import ModelOutput

Metric = Literal["dot", "cosine"]
Kind = TypeVar("Kind", bound="PrototypeMemory")


class Prototypes(NamedTuple):
    """One vector per class: ``vectors`` (C, F), and which classes have one: ``known`` (C,) bool."""

    vectors: Tensor
    known: Tensor

    def to(self, device: torch.device | str) -> Prototypes:
        """Return them on ``device``."""
        return Prototypes(self.vectors.to(device), self.known.to(device))

    def scores(self, features: Tensor, *, metric: Metric = "dot") -> Tensor:
        """Score features (N, F) against every prototype: (N, C), classes without one masked."""
        # at least single precision, whatever the encoders ran in
        features = features.to(torch.promote_types(features.dtype, self.vectors.dtype))
        known = self.known.nonzero().flatten()
        vectors = self.vectors.index_select(0, known)
        if metric == "cosine":
            features, vectors = F.normalize(features, dim=-1), F.normalize(vectors, dim=-1)
        return spread(features @ vectors.T, known, outputs=len(self.known))


def class_prototypes(
    features: Tensor, labels: Tensor, *, classes: int, unit_norm: bool = True
) -> Prototypes:
    """Mean feature of every class (Han et al. 2020, eq. 5; Cui et al. 2021, section 3.3).

    Args:
        features: (N, F) features of exemplars; none is fine.
        labels: (N,) ids of their classes, from 0.
        classes: number of classes C.
        unit_norm: bring every exemplar to length 1 first, so that none outweighs the others.

    >>> found = class_prototypes(
    ...     torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.tensor([1, 1]), classes=2)
    >>> found.vectors.tolist(), found.known.tolist()
    ([[0.0, 0.0], [0.5, 0.5]], [False, True])
    """
    members = F.normalize(features, dim=-1) if unit_norm else features
    total = members.new_zeros(classes, members.shape[1]).index_add_(0, labels, members)
    counts = torch.bincount(labels, minlength=classes)
    return Prototypes(total / counts.clamp(min=1)[:, None], counts > 0)


def predicting_prototypes(
    features: Tensor, labels: Tensor, *, rows: Tensor, seen: Tensor, mix_head_rows: bool
) -> Prototypes:
    """Prototypes of length 1 to predict from (EMAR with BERT).

    A seen class without an exemplar is represented by its row of the head alone: without a
    prototype it could never be predicted.

    Args:
        features: (N, F) features of exemplars.
        labels: (N,) ids of their classes.
        rows: (C, F) rows of the head.
        seen: (C,) bool, the classes that may be predicted.
        mix_head_rows: count the row of a class as one more exemplar of it.
    """
    classes = len(rows)
    alone = ~class_prototypes(features, labels, classes=classes).known
    added = (seen if mix_head_rows else seen & alone).nonzero().flatten()
    mixed = class_prototypes(
        torch.cat([features, rows[added]]), torch.cat([labels, added]), classes=classes
    )
    return Prototypes(F.normalize(mixed.vectors, dim=-1), mixed.known)


class PrototypeMemory(Readout):
    """A readout that holds prototypes, as buffers: a saved model predicts as it did.

    Args:
        outputs: number of outputs C.
        width: width F of the features.
    """

    prototypes: Tensor
    known: Tensor

    def __init__(self, *, outputs: int, width: int) -> None:
        super().__init__()
        self.register_buffer("prototypes", torch.zeros(outputs, width))
        self.register_buffer("known", torch.zeros(outputs, dtype=torch.bool))

    def store(self, prototypes: Prototypes) -> None:
        """Take a copy of the prototypes that count from now on."""
        self.prototypes.copy_(prototypes.vectors.detach())
        self.known.copy_(prototypes.known)

    @classmethod
    def of(cls: type[Kind], model: ExtractionModel) -> Kind:
        """Return the readout of a model of relations, which must be of this kind.

        Raises:
            ConfigError: it has none, another one, or one of another size.
        """
        shape = tuple(model.head.rows.shape)
        found = model.readout
        if not isinstance(found, cls):
            raise ConfigError(
                [
                    f"the model's readout is {type(found).__name__}, the method predicts from a "
                    f"{cls.__name__}; set model.readout to one before the optimizer is built and "
                    "before a saved state is loaded"
                ]
            )
        if tuple(found.prototypes.shape) != shape:
            raise ConfigError(
                [
                    f"the {cls.__name__} holds {tuple(found.prototypes.shape)} prototypes, the "
                    f"model's head has {shape} rows; build it with outputs={shape[0]}, "
                    f"width={shape[1]}"
                ]
            )
        return found


class PrototypeReadout(PrototypeMemory):
    """Predict the class whose prototype is most like the sample.

    Before any prototype is stored, the head predicts.

    Args:
        outputs: number of outputs C.
        width: width F of the features.
        metric: ``"dot"`` (Han et al. 2020) or ``"cosine"``.

    Raises:
        ConfigError: the metric is unknown.
    """

    def __init__(self, *, outputs: int, width: int, metric: Metric = "dot") -> None:
        require(one_of("metric", metric, get_args(Metric)))
        super().__init__(outputs=outputs, width=width)
        self.metric: Metric = metric

    def forward(self, output: ModelOutput) -> Tensor:
        """Score a batch's features (B, F): (B, C)."""
        if not bool(self.known.any()):
            return output.logits
        stored = Prototypes(self.prototypes, self.known)
        return stored.scores(output.features, metric=self.metric)
