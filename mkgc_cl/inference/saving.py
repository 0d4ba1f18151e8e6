"""Any model of the toolkit as a folder: it predicts after loading as it did before, to the bit.

``config.json`` holds what the model is built of, its labels by name among it; the weights are
safetensors. Nothing in a folder is code, and nothing outside it is needed but this package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mkgc_cl._files import write_atomic
from mkgc_cl.data.samples import LabelSpace
from mkgc_cl.errors import ConfigError, DataError
from mkgc_cl.inference.card import CardFacts, model_card
from mkgc_cl.inference.described import (
    build_decisions,
    build_readout,
    describe_decisions,
    describe_readout,
    options_of,
    tupled,
)
from mkgc_cl.inference.encoders import (
    build_text,
    describe_text,
    describe_vision,
    load_tokenizer,
    save_tokenizer,
)
from mkgc_cl.inference.folders import (
    CONFIG,
    read_saved,
    read_tensors,
    remove_unnamed,
    saving,
    write_config,
    write_tensors,
)
from mkgc_cl.models import (
    DualStreamModel,
    ExtractionModel,
    MEGAModel,
    MKGformerModel,
    TextModel,
    UMGFModel,
    UMTModel,
)
from mkgc_cl.models.encoders import load_backbone
from mkgc_cl.models.images import visual_encoder

FORMAT = "mkgc_cl.model/2"
CAPTION_TOKENIZER = "caption-tokenizer"
MODELS: dict[str, type[ExtractionModel]] = {
    kind.__name__: kind
    for kind in (DualStreamModel, MEGAModel, MKGformerModel, TextModel, UMGFModel, UMTModel)
}
_USE = """from mkgc_cl.inference import Extractor, from_pretrained

extractor = Extractor.from_model(from_pretrained("FOLDER"))
extractor("Jordan beat Chelsea in London")"""


def save_pretrained(
    model: ExtractionModel, folder: str | Path, *, facts: CardFacts | None = None
) -> None:
    """Write a model into a folder.

    The description is written last, in one step: a folder that held a model holds the old one until
    then.

    Args:
        model: the model, with its readout if it has one.
        folder: the folder; it is made.
        facts: what the model card says beside what the model is.

    Raises:
        ConfigError: a part of it could not be built again.
        OutputError: the folder holds something else.
        OSError: it cannot be written.
    """
    folder = Path(folder)
    if MODELS.get(type(model).__name__) is not type(model):
        raise ConfigError(
            [f"a {type(model).__name__} cannot be saved; there are {', '.join(MODELS)}"]
        )
    described: dict[str, Any] = {
        "model": type(model).__name__,
        "options": options_of(model),
        "labels": asdict(model.labels),
        "outputs": list(model.labels.outputs),
        "seen": [name for name, seen in zip(model.labels.outputs, model.seen, strict=True) if seen],
        "text": describe_text(model.text),
        "vision": describe_vision(getattr(model, "vision", None)),
        "images": asdict(model.processor.views),
        "readout": describe_readout(model.readout),
        "decisions": describe_decisions(model),
    }
    with saving(folder, FORMAT):
        _save(model, described, folder, facts or CardFacts())


def _save(
    model: ExtractionModel, described: dict[str, Any], folder: Path, facts: CardFacts
) -> None:
    tokenizer, of_captions = model.processor.tokenizer, model.processor.caption_tokenizer
    described["tokenizer"] = save_tokenizer(tokenizer, folder)
    described["caption_tokenizer"] = (
        None
        if of_captions is tokenizer
        else save_tokenizer(of_captions, folder, name=CAPTION_TOKENIZER)
    )
    described["weights"] = write_tensors(folder, "model", _once(model))
    said = {
        "model": described["model"],
        "kind": {"re": "relations", "ner": "entities"}[model.labels.kind],
        "classes": model.labels.classes,
        "seen so far": described["seen"],
        "text encoder": described["text"].get("model_type"),
    }
    write_config(folder, FORMAT, described)
    write_atomic(folder / "README.md", model_card(facts, described=said, use=_USE))
    remove_unnamed(folder, {described["weights"]["file"]})


def from_pretrained(folder: str | Path, *, labels: LabelSpace | None = None) -> ExtractionModel:
    """Read a model that :func:`save_pretrained` wrote, in evaluation mode.

    Args:
        folder: the folder.
        labels: classes that it must have, in this order; by default whatever it has.

    Raises:
        DataError: naming the file that is missing, damaged, something else, or of a newer version;
            or other labels than those that are asked for.
    """
    folder = Path(folder)
    return read_saved(folder, FORMAT, partial(_load, folder, labels))


def _load(folder: Path, labels: LabelSpace | None, described: Mapping[str, Any]) -> ExtractionModel:
    path = folder / CONFIG
    try:
        model = _build(described, folder)
        weights = read_tensors(folder, described["weights"])
    except (
        *(KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError),
        ConfigError,
    ) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"describes no model that can be built ({error})", path=path) from error
    if labels is not None and labels != model.labels:
        raise DataError(
            f"expected the labels {list(labels.outputs)}, found {list(model.labels.outputs)}: "
            "another order would swap them; use the labels of the model, model.labels",
            path=path,
        )
    try:
        twice = {name: weights[first] for name, first in _shared(model).items()}
        model.load_state_dict({**weights, **twice})
    except (RuntimeError, KeyError, ConfigError) as error:
        raise DataError(
            f"its weights do not fit its description ({str(error).splitlines()[-1].strip()})",
            path=folder / str(described["weights"]["file"]),
        ) from error
    return model.eval()


def _build(described: Mapping[str, Any], folder: Path) -> ExtractionModel:
    path = folder / CONFIG
    kind = MODELS.get(str(described["model"]))
    if kind is None:
        raise DataError(
            f"expected one of {', '.join(MODELS)}, found {described['model']!r}", path=path
        )
    given = described["labels"]
    labels = LabelSpace(given["kind"], tuple(given["classes"]), given["na"])
    if list(labels.outputs) != described["outputs"]:
        raise DataError("its labels and its outputs do not fit together", path=path)
    parts: dict[str, Any] = {
        "text": build_text(described["text"], path=path),
        "tokenizer": load_tokenizer(described["tokenizer"], folder),
    }
    vision = described["vision"]
    told = vision is not None and "captions" in vision
    if vision is not None:
        if told:
            backbone = build_text(vision["captions"], path=path)
        else:
            backbone = load_backbone(str(vision["architecture"]), pretrained=False)
        if kind is TextModel:  # there it stands beside what a readout reads
            images = "captions" if told else "image"
            parts["beside"] = visual_encoder(backbone, images=images, train_backbone=False)
        else:
            parts["vision"] = backbone
    if described["caption_tokenizer"] is not None:
        name = "beside_tokenizer" if kind is TextModel else "caption_tokenizer"
        parts[name] = load_tokenizer(described["caption_tokenizer"], folder, name=CAPTION_TOKENIZER)
    build: Callable[..., ExtractionModel] = kind
    model = build(labels, **parts, **tupled(described["options"]))
    if vision is not None and not told:
        for name in ("pixel_mean", "pixel_std"):
            buffer: torch.Tensor = getattr(model.vision, name)
            buffer.copy_(torch.tensor(vision[name], dtype=buffer.dtype).view_as(buffer))
    model.readout = build_readout(described["readout"], model)
    build_decisions(described.get("decisions", ()), model, path=path)
    return model


def _shared(model: ExtractionModel) -> dict[str, str]:
    """Parameters that stand under a second name (of captions, which share the text's encoder)."""
    first: dict[int, str] = {}
    named = model.named_parameters(remove_duplicate=False)
    found = {name: first.setdefault(id(parameter), name) for name, parameter in named}
    return {name: other for name, other in found.items() if name != other}


def _once(model: ExtractionModel) -> dict[str, torch.Tensor]:
    """The weights of a model, each once."""
    shared = _shared(model)
    return {name: value for name, value in model.state_dict().items() if name not in shared}
