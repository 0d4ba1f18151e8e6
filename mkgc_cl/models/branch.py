"""A second answer beside a model's own: Gaussian classes on a frozen encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.errors import ConfigError
from mkgc_cl.models.base import Decision, ExtractionModel
from mkgc_cl.models.gaussian import GaussianReadout
from mkgc_cl.models.heads import log_probabilities
from mkgc_cl.models.output import ModelOutput
from mkgc_cl.models.text_model import TextModel


class GaussianBranch(Decision):
    r"""Decide by two answers, the model's own and that of a Gaussian readout.

    .. math:: \log p = w \log p_{\mathrm{Gaussian}} + (1 - w) \log p_{\mathrm{model}}

    a product of experts (Hinton, 2002) whose weights sum to 1. The readout stands on a frozen
    encoder of its own, which reads the tokens of the model's batches; only the markers of entities
    are replaced by those that it knows. Before anything is taught, the model decides alone.

    :meth:`attach` lets the model's outputs carry the frozen encoder's features in evaluation mode,
    where :class:`~mkgc_cl.strategies.GaussianReadoutPlugin` finds them.

    Args:
        frozen: the encoder, read by layers.
        gaussian: its readout.
        weight: w, 0 to 1; choose it on validation.
        markers: ids of the frozen encoder's markers by those of the model's.

    Raises:
        ConfigError: the weight is out of range.
    """

    def __init__(
        self,
        frozen: TextModel,
        gaussian: GaussianReadout,
        *,
        weight: float,
        markers: Mapping[int, int],
    ) -> None:
        super().__init__()
        if not 0 <= weight <= 1:
            raise ConfigError([f"weight={weight}; give 0 to 1"])
        self.frozen = frozen.requires_grad_(False).eval()
        self.gaussian = gaussian
        self.weight = weight
        self.markers = dict(markers)

    def attach(self, model: ExtractionModel) -> None:
        """Decide for a model from now on.

        Raises:
            ConfigError: it tags by a CRF, whose emissions are no probabilities.
        """
        if model.crf is not None:
            raise ConfigError(
                [
                    "a Gaussian branch weighs the probabilities of single words, which a CRF does "
                    "not give; build the model with tagger='softmax'"
                ]
            )
        model.decisions.append(self)
        model.register_forward_hook(self._carry)

    def train(self, mode: bool = True) -> GaussianBranch:
        """Leave the frozen encoder in evaluation mode, whatever the model is in."""
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, output: ModelOutput, scores: Tensor) -> Tensor:
        """Weigh the model's scores (..., C) against the readout's."""
        if not self.gaussian.taught or output.layer_features is None:
            return scores
        own = log_probabilities(scores.double(), output.seen)
        other: Tensor = self.gaussian(output)
        return self.weight * other + (1 - self.weight) * own

    def _carry(
        self, model: nn.Module, inputs: tuple[Any, ...], output: ModelOutput
    ) -> ModelOutput | None:
        """Hook: put the frozen encoder's features into an output of evaluation mode."""
        if model.training:
            return None
        batch: MultimodalBatch = inputs[0]
        ids = batch["input_ids"].clone()
        for theirs, mine in self.markers.items():
            ids[batch["input_ids"] == theirs] = mine
        with torch.no_grad():
            read = self.frozen(MultimodalBatch({**batch, "input_ids": ids}, uids=batch.uids))
        return replace(output, layer_features=read.layer_features)


def branch_of(model: ExtractionModel) -> GaussianBranch | None:
    """The branch of a model that has one."""
    found = [decision for decision in model.decisions if isinstance(decision, GaussianBranch)]
    return found[0] if found else None
