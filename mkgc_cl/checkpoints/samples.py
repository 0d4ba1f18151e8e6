"""Samples that travel with a checkpoint, their images included: the old data is not needed."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mkgc_cl.data.images import BLANK, ImageSource, decode
from mkgc_cl.data.samples import RelationSample, Sample, TaggingSample, VisualInput
from mkgc_cl.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class KeptImage:
    """An image whose pixels are kept with it.

    Args:
        key: of the source that it was read from.
        digest: fingerprint of that source.
        data: the pixels, as PNG.
    """

    key: str
    digest: str
    data: bytes = field(repr=False)

    def read(self) -> Image:
        """Return the image in mode RGB, as the source gave it."""
        return decode(self.data, self.key)

    def fingerprint(self) -> str:
        """Return the source's fingerprint."""
        return self.digest


def samples_state(samples: Iterable[Sample], *, images: bool) -> dict[str, Any]:
    """Return samples as a nested state.

    Args:
        samples: the samples.
        images: keep their images; else samples come back without, for a model of text.

    Raises:
        ImageError: an image cannot be read.
    """
    kept: dict[str, tuple[str, Tensor]] = {}

    def place(source: ImageSource) -> str | None:
        if source == BLANK:
            return None
        if source.key not in kept:
            file = io.BytesIO()
            source.read().save(file, format="PNG")
            pixels = torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)
            kept[source.key] = (source.fingerprint(), pixels)
        return source.key

    entries = []
    for sample in {s.identity: s for s in samples}.values():
        own = {f.name: getattr(sample, f.name) for f in fields(sample) if f.compare}
        visual: VisualInput = own.pop("visual")
        entry = {"kind": "re" if isinstance(sample, RelationSample) else "ner", **own}
        entry["caption"] = visual.caption
        if images:
            entry["image"] = None if visual.image is None else [place(visual.image)]
            entry["grounding"] = [place(source) for source in visual.grounding]
            entry["detected"] = [place(source) for source in visual.detected]
        entries.append(entry)
    return {"samples": entries, "images": kept}


def samples_of(state: Mapping[str, Any]) -> list[Sample]:
    """Return the samples of :func:`samples_state`.

    Raises:
        DataError: they are none.
    """
    found: dict[str | None, ImageSource] = {None: BLANK}
    try:
        for key, (digest, pixels) in state["images"].items():
            found[key] = KeptImage(key, digest, pixels.numpy().tobytes())
        samples: list[Sample] = []
        for given in state["samples"]:
            own = dict(given)
            image = own.pop("image", None)
            visual = VisualInput(
                image=None if image is None else found[image[0]],
                grounding=tuple(found[key] for key in own.pop("grounding", ())),
                detected=tuple(found[key] for key in own.pop("detected", ())),
                caption=own.pop("caption"),
            )
            kind = RelationSample if own.pop("kind") == "re" else TaggingSample
            samples.append(kind(**own, visual=visual))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"the samples of a checkpoint are damaged ({error!r})") from error
    return samples


def samples_digest(samples: Iterable[Sample]) -> str:
    """Return the sha256 of samples: their words and labels, in order."""
    whole = hashlib.sha256()
    for sample in samples:
        own = [getattr(sample, f.name) for f in fields(sample) if f.compare and f.name != "visual"]
        whole.update(repr(own).encode())
    return whole.hexdigest()
