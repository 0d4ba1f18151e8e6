"""Encoders and tokenizers, described so that they can be built again wherever they came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from mkgc_cl._files import write_atomic
from mkgc_cl.data.tokenizer import HashTokenizer, PretrainedTokenizer, WordTokenizer
from mkgc_cl.errors import ConfigError, DataError
from mkgc_cl.inference.folders import checked_bytes
from mkgc_cl.models.captions import CaptionEncoder, CaptionStream
from mkgc_cl.models.encoders import load_backbone
from mkgc_cl.seeds import seeded

_HERE_ONLY = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "auto_map")


def describe_text(stream: Any) -> dict[str, Any]:
    """Describe the architecture of a text encoder.

    Args:
        stream: a :class:`~mkgc_cl.models.text.TextStream` or a whole encoder.

    Raises:
        ConfigError: it carries no configuration.
    """
    config = getattr(stream, "config", None)
    if config is None:
        raise ConfigError(
            [
                "the text encoder has no 'config', so it could not be built again; build the model "
                "on one of transformers'"
            ]
        )
    plain = {key: value for key, value in config.to_dict().items() if key not in _HERE_ONLY}
    found: dict[str, Any] = json.loads(json.dumps(plain))
    return found


def build_text(described: Mapping[str, Any], *, path: Path) -> nn.Module:
    """Build a text encoder; its weights are drawn, and to be loaded.

    Raises:
        DataError: it is not described.
    """
    from transformers import AutoConfig, AutoModel

    try:
        rest = {key: value for key, value in described.items() if key not in _HERE_ONLY}
        config = AutoConfig.for_model(rest.pop("model_type"), **rest)
        with seeded(0, "text-encoder"):
            module: Any = AutoModel.from_config(config, trust_remote_code=False)
    except Exception as error:  # configurations check themselves, each in its way
        raise DataError(f"describes no text encoder ({error})", path=path) from error
    module.pooler = None
    return module  # type: ignore[no-any-return]


def save_tokenizer(
    tokenizer: WordTokenizer, folder: Path, *, name: str = "tokenizer"
) -> dict[str, Any]:
    """Write a tokenizer's files and return its description.

    Args:
        tokenizer: the tokenizer.
        folder: of the model.
        name: of the folder in it that the files go into.

    Raises:
        ConfigError: it is of a kind that cannot be saved.
    """
    if isinstance(tokenizer, HashTokenizer):
        return {"kind": "hash", "buckets": tokenizer.buckets, "markers": tokenizer.markers}
    if not isinstance(tokenizer, PretrainedTokenizer):
        raise ConfigError(
            [f"a {type(tokenizer).__name__} cannot be saved; use a PretrainedTokenizer"]
        )
    with TemporaryDirectory() as made:
        tokenizer.save(Path(made))
        files = {path.name: path.read_bytes() for path in sorted(Path(made).iterdir())}
    for file, data in files.items():
        path = folder / name / file
        # the one that is there is in use: it is left alone, or replaced in one step
        if not path.is_file() or path.read_bytes() != data:
            write_atomic(path, data)
    return {
        "kind": "pretrained",
        "markers": tokenizer.markers,
        "marker_ids": list(tokenizer.marker_ids),
        "files": [
            {"file": file, "sha256": hashlib.sha256(data).hexdigest()}
            for file, data in files.items()
        ],
    }


def load_tokenizer(
    described: Mapping[str, Any], folder: Path, *, name: str = "tokenizer"
) -> WordTokenizer:
    """Read a tokenizer that :func:`save_tokenizer` wrote, of the same ``name``.

    Raises:
        DataError: its files are not there, are others, or cannot be read.
    """
    if described.get("kind") == "hash":
        return HashTokenizer(buckets=int(described["buckets"]), markers=described["markers"])
    from transformers import AutoTokenizer

    files = folder / name
    for one in described.get("files", ()):
        checked_bytes(files, one)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(files), trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # readers of vocabularies raise errors of their own
        raise DataError(f"cannot be read as a tokenizer ({error})", path=files) from error
    first, second, third, fourth = described["marker_ids"]
    return PretrainedTokenizer(
        tokenizer, markers=described["markers"], marker_ids=(first, second, third, fourth)
    )


def describe_vision(vision: Any) -> dict[str, Any] | None:
    """Describe an image encoder: its timm architecture, and how pixels are normalized.

    Of one that reads captions in place of images, its text encoder.

    Args:
        vision: a stream or encoder of images or captions; ``None`` for a model that has none.

    Raises:
        ConfigError: it is of no known architecture.
    """
    if vision is None:
        return None
    if isinstance(vision, CaptionStream | CaptionEncoder):
        read = vision.stream if isinstance(vision, CaptionEncoder) else vision
        return {"captions": describe_text(read)}
    backbone = getattr(vision, "vit", None) or getattr(vision, "backbone", None)
    name = getattr(backbone, "architecture", None)
    if backbone is None or not isinstance(name, str):
        raise ConfigError(
            [
                "the image encoder does not say which architecture it is, so it could not be built "
                "again; make it with mkgc_cl.models.encoders.load_backbone"
            ]
        )
    shapes = {key: tuple(value.shape) for key, value in backbone.state_dict().items()}
    again = load_backbone(name, pretrained=False).state_dict()
    # attention that shares a key has other names than timm's
    if any(key in again and tuple(again[key].shape) != shape for key, shape in shapes.items()):
        raise ConfigError([f"the image encoder is not timm's {name!r} as it comes"])
    return {
        "architecture": name,
        "pixel_mean": vision.pixel_mean.flatten().tolist(),
        "pixel_std": vision.pixel_std.flatten().tolist(),
    }
