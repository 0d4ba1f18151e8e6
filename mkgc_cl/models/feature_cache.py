"""Features of frozen encoders, kept on disk: every sample and every image is encoded once, ever."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.cache_folder import cache_folder
from mkgc_cl.models.feature_store import FeatureStore

logger = logging.getLogger(__name__)

FORMAT = 1
"""Raised by one when what is read of a layer, or a key, changes meaning."""

Encode = Callable[[MultimodalBatch], Mapping[int, Tensor]]
"""Encodes a batch: (B, F), or (B, W, F) of words, of every layer."""

_NO_PART = ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "architectures")
"""What a configuration says beside how its encoder computes."""


class FeatureCache:
    """What is read of an encoder's layers by sample, and of an image encoder by image.

    Layout (all of it may be deleted at any time)::

        <directory>/features/<encoder>/layer-8/<digest>.safetensors
        <directory>/features/<encoder>/vector/<digest>.safetensors

    ``<encoder>`` is a digest of weights and settings (:class:`EncoderDigest`). The key of a sample
    or an image is one of all that the encoder is shown of it: a sample that stands in several tasks
    is one, whatever its labels, and so is an image in several samples, whatever its name. Layers
    are kept one by one, so that choices of layers share theirs.

    Features depend in their last bits on what they were encoded beside; with the cache these are
    those of the run that was first. Files are checked, and any number of processes may use them:
    :class:`~mkgc_cl.models.feature_store.FeatureStore`. Where the folder cannot be written a
    warning says so, and everything is encoded as without a cache.

    Args:
        directory: folder of the caches; by default :func:`~mkgc_cl.data.cache_folder.cache_folder`.

    Attributes:
        encoded: samples that were encoded through it, because they were not there.
        encoded_images: images, or captions in their place, likewise.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory
        self.encoded = 0
        self.encoded_images = 0
        self._stores: dict[tuple[str, str], FeatureStore] = {}
        self._writable = True

    def __deepcopy__(self, memo: dict[int, object]) -> FeatureCache:
        """Share the cache: a model's frozen copy reads the same samples."""
        return self

    def read(
        self, batch: MultimodalBatch, *, encoder: str, layers: Sequence[int], encode: Encode
    ) -> dict[int, Tensor]:
        """Return features of a batch by layer, encoding those samples that are not kept.

        Args:
            batch: the batch.
            encoder: digest of the encoder.
            layers: the layers.
            encode: what encodes a batch.

        Returns:
            (B, F) of relations or (B, W, F) of words, in single precision; 0 on padding.
        """
        keys = sample_keys(batch)

        def run(rows: list[int]) -> dict[str, list[Tensor]]:
            index = torch.tensor(rows, device=batch["input_ids"].device)
            part = batch if len(rows) == len(keys) else batch.select(index)
            features = encode(part)
            self.encoded += len(rows)
            return {f"layer-{layer}": _by_sample(part, features[layer]) for layer in layers}

        found = self._read(keys, encoder, [f"layer-{layer}" for layer in layers], run)
        return {layer: _padded(batch, found[f"layer-{layer}"]) for layer in layers}

    def read_images(
        self,
        keys: Sequence[bytes],
        *,
        encoder: str,
        part: str,
        encode: Callable[[list[int]], Tensor],
    ) -> Tensor:
        """Return features of images, encoding those that are not kept, each once.

        Args:
            keys: one an image, see :func:`image_keys`.
            encoder: digest of the encoder.
            part: what is read of an image: a name of a folder.
            encode: what encodes the images of these rows: (N, P, D), or (N, 1, D) of one vector.

        Returns:
            (U, P, D) on the CPU, in single precision.
        """

        def run(rows: list[int]) -> dict[str, list[Tensor]]:
            features = encode(rows).detach().float().cpu()
            self.encoded_images += len(rows)
            return {part: list(features)}

        return torch.stack(self._read(keys, encoder, [part], run)[part])

    def _read(
        self,
        keys: Sequence[bytes],
        encoder: str,
        parts: Sequence[str],
        encode: Callable[[list[int]], Mapping[str, list[Tensor]]],
    ) -> dict[str, list[Tensor]]:
        """Features (R, F) of every key by part, encoding the rows of those that are not kept."""
        found = {part: self._store(encoder, part).find(keys) for part in parts}
        missing: dict[bytes, int] = {}
        for row, key in enumerate(keys):
            if any(key not in features for features in found.values()):
                missing.setdefault(key, row)
        if missing:
            encoded = encode(list(missing.values()))
            for part in parts:
                new = dict(zip(missing, encoded[part], strict=True))
                self._add(encoder, part, new)
                found[part].update(new)
        return {part: [found[part][key] for key in keys] for part in parts}

    def _store(self, encoder: str, part: str) -> FeatureStore:
        if (encoder, part) not in self._stores:
            root = self.directory or cache_folder()
            self._stores[encoder, part] = FeatureStore(root / "features" / encoder / part)
        return self._stores[encoder, part]

    def _add(self, encoder: str, part: str, features: Mapping[bytes, Tensor]) -> None:
        if not self._writable:
            return
        try:
            self._store(encoder, part).add(features)
        except OSError as error:
            self._writable = False
            logger.warning("features are not kept: %s", error)


class EncoderDigest:
    """Digest of an encoder: of every weight, of its settings, and of how it is run.

    Taken anew only where a weight was written to since.

    Args:
        module: the encoder.
        settings: its configuration, where it has one that its weights do not show.
    """

    def __init__(self, module: nn.Module, settings: object = None) -> None:
        self._module = module
        self._settings = described(settings)
        self._known: tuple[object, str] | None = None

    def __call__(self) -> str:
        """The digest, for the device and the precision of this moment."""
        tensors = {**self._module.state_dict(keep_vars=True)}
        now = [(name, value.data_ptr(), value._version) for name, value in tensors.items()]
        if self._known is None or self._known[0] != now:
            self._known = (now, self._of_weights(tensors))
        device = next((value.device.type for value in tensors.values()), "cpu")
        cast = torch.is_autocast_enabled(device)
        precision = str(torch.get_autocast_dtype(device)) if cast else "as it is"
        words = json.dumps([FORMAT, self._known[1], device, precision])
        return hashlib.sha256(words.encode()).hexdigest()[:32]

    def _of_weights(self, tensors: Mapping[str, Tensor]) -> str:
        digest = hashlib.sha256(self._settings.encode())
        for name, value in sorted(tensors.items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(_bytes(value))
        return digest.hexdigest()


def described(settings: object) -> str:
    """A configuration of ``transformers`` in words, without what says nothing of how it computes.

    >>> described(None)
    'null'
    """
    to_dict: Any = getattr(settings, "to_dict", None)
    plain = {} if to_dict is None else to_dict()
    kept = {name: value for name, value in plain.items() if name not in _NO_PART}
    return json.dumps(kept or settings, sort_keys=True, default=str)


def structure(module: nn.Module) -> list[object]:
    """Plain settings of every part of an encoder (heads, strides, eps): what no weight shows."""
    return [
        (name, type(part).__qualname__, {n: v for n, v in vars(part).items() if _says(n, v)})
        for name, part in module.named_modules()
    ]


def _says(name: str, value: object) -> bool:
    if name == "training" or name.startswith("_"):
        return False
    if isinstance(value, tuple):
        return all(_says("item", item) for item in value)
    return isinstance(value, bool | int | float | str)


def image_keys(shown: Tensor, *beside: Tensor) -> list[bytes]:
    """Key of every image: a digest of all that an encoder is shown of it.

    Args:
        shown: (U, ...) pixels as they were cut and resized, or other rows in place of images.
        beside: what the encoder makes of them before its first layer: mean and deviation.
    """
    salt = hashlib.sha256()
    for tensor in (shown[:0], *beside):
        salt.update(f"{tensor.dtype} {tuple(tensor.shape)}\n".encode())
        salt.update(_bytes(tensor))
    keys = []
    for row in shown.cpu():
        digest = salt.copy()
        digest.update(_bytes(row))
        keys.append(digest.digest())
    return keys


def _bytes(tensor: Tensor) -> memoryview:
    plain = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
    data: memoryview = plain.numpy().data
    return data


def sample_keys(batch: MultimodalBatch) -> list[bytes]:
    """Key of every sample of a batch: a digest of its tokens and of where it is read."""
    mask = batch["attention_mask"].cpu()
    columns = [batch["input_ids"].cpu()]
    if "word_starts" in batch:
        starts, read = batch["word_starts"].cpu(), batch["word_mask"].cpu()
        kind = "words"
    else:
        columns.append(batch["entities"].cpu())
        starts = batch["marker_positions"].cpu()
        read = torch.ones_like(starts, dtype=torch.bool)
        kind = "relation"
    keys = []
    for row in range(len(mask)):
        shown = [column[row][mask[row]].tolist() for column in columns]
        shown.append(starts[row][read[row]].tolist())
        keys.append(hashlib.sha256(json.dumps([kind, shown]).encode()).digest())
    return keys


def _by_sample(batch: MultimodalBatch, features: Tensor) -> list[Tensor]:
    """Features (B, F) or (B, W, F) cut into (1, F) or (W_i, F) of each sample, on the CPU."""
    values = features.detach().float().cpu()
    if "word_mask" not in batch:
        return list(values[:, None])
    words = batch["word_mask"].sum(dim=1).tolist()
    return [sample[:count] for sample, count in zip(values, words, strict=True)]


def _padded(batch: MultimodalBatch, samples: Sequence[Tensor]) -> Tensor:
    """The inverse of :func:`_by_sample`, on the batch's device."""
    device = batch["input_ids"].device
    if "word_mask" not in batch:
        return torch.cat(list(samples)).to(device)
    return nn.utils.rnn.pad_sequence(list(samples), batch_first=True).to(device)
