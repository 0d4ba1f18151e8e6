"""Parts of a model described so that they can be built again: options, readout, decisions."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mkgc_cl.errors import ConfigError
from mkgc_cl.inference.encoders import build_text, describe_text
from mkgc_cl.models import (
    ExtractionModel,
    GaussianOptions,
    GaussianReadout,
    MemoryAttentionReadout,
    PrototypeReadout,
    TextModel,
)
from mkgc_cl.models.base import Decision, Readout
from mkgc_cl.models.branch import GaussianBranch
from mkgc_cl.models.prior import PriorCorrection

_PARTS = (
    *("self", "labels", "text", "tokenizer", "vision", "caption_tokenizer"),
    *("beside", "beside_tokenizer"),
)


def options_of(model: ExtractionModel) -> dict[str, Any]:
    """Options that a model was built with, defaults of today among them."""
    parameters = inspect.signature(type(model).__init__).parameters
    defaults = {name: p.default for name, p in parameters.items() if name not in _PARTS}
    found: dict[str, Any] = json.loads(json.dumps({**defaults, **model.built_with}))
    return found


def tupled(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as they were before JSON made lists of tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}


def describe_readout(readout: Readout | None) -> dict[str, Any] | None:
    """Describe a readout; its numbers are the model's.

    Raises:
        ConfigError: it is of a kind that cannot be built again.
    """
    if readout is None:
        return None
    found: dict[str, Any] = {"kind": type(readout).__name__}
    if isinstance(readout, GaussianReadout):
        return found | {"width": readout.width, "options": asdict(readout.options)}
    if isinstance(readout, PrototypeReadout):
        outputs, width = readout.prototypes.shape
        return found | {"outputs": outputs, "width": width, "metric": readout.metric}
    if isinstance(readout, MemoryAttentionReadout):
        return found | readout.sizes
    raise ConfigError([f"a readout of the kind {found['kind']} cannot be saved"])


def build_readout(described: Mapping[str, Any] | None, model: ExtractionModel) -> Readout | None:
    """Build what :func:`describe_readout` described.

    Raises:
        ConfigError: there is no such kind.
    """
    if described is None:
        return None
    given = {key: value for key, value in described.items() if key != "kind"}
    if described["kind"] == "GaussianReadout":
        options = GaussianOptions(**given["options"])
        return GaussianReadout(model.labels.outputs, width=int(given["width"]), options=options)
    if described["kind"] == "PrototypeReadout":
        return PrototypeReadout(**given)
    if described["kind"] == "MemoryAttentionReadout":
        return MemoryAttentionReadout(model.head, **given)
    raise ConfigError([f"there is no readout of the kind {described['kind']!r}"])


def describe_decisions(model: ExtractionModel) -> list[dict[str, Any]]:
    """Describe what decides behind a model's readout, in order.

    Raises:
        ConfigError: one is of a kind that cannot be built again.
    """
    return [_describe_decision(decision) for decision in model.decisions]


def build_decisions(
    described: Sequence[Mapping[str, Any]], model: ExtractionModel, *, path: Path
) -> None:
    """Give a model what :func:`describe_decisions` described.

    Raises:
        ConfigError: there is no such kind.
        DataError: an encoder in it is not described.
    """
    for one in described:
        if one["kind"] == "PriorCorrection":
            model.decisions.append(PriorCorrection(len(model.labels.outputs)))
        elif one["kind"] == "GaussianBranch":
            # it reads the tokens of the model's batches, so its own tokenizer is never asked
            frozen = TextModel(
                model.labels,
                text=build_text(one["text"], path=path),
                tokenizer=model.processor.tokenizer,
                **tupled(one["options"]),
            )
            gaussian = build_readout(one["gaussian"], frozen)
            if not isinstance(gaussian, GaussianReadout):
                raise ConfigError(["a Gaussian branch stands on a GaussianReadout"])
            markers = {int(theirs): int(mine) for theirs, mine in one["markers"]}
            weight = float(one["weight"])
            GaussianBranch(frozen, gaussian, weight=weight, markers=markers).attach(model)
        else:
            raise ConfigError([f"there is no decision of the kind {one['kind']!r}"])


def _describe_decision(decision: Decision | Any) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": type(decision).__name__}
    if isinstance(decision, PriorCorrection):
        return found
    if isinstance(decision, GaussianBranch):
        return found | {
            "text": describe_text(decision.frozen.text),
            "options": options_of(decision.frozen),
            "gaussian": describe_readout(decision.gaussian),
            "weight": decision.weight,
            "markers": [list(pair) for pair in decision.markers.items()],
        }
    raise ConfigError([f"a decision of the kind {found['kind']} cannot be saved"])
