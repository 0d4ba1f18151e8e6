"""What stands beside a text, an image or a caption, and what a model reads of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from mkgc_cl.data.images import FileImage
from mkgc_cl.data.samples import Sample, VisualInput
from mkgc_cl.errors import DataError, gathered
from mkgc_cl.inference.documents import Document
from mkgc_cl.inference.parts import Part


def shown_with(
    base: Document, image: str | Path | None, caption: str | None, parts: Iterable[Part]
) -> Document:
    """Put an image, or its caption, beside a text.

    An image that no model reads is kept as the text's source; words that none reads are a mistake.

    Args:
        base: the text.
        image: path of the image.
        caption: the caption.
        parts: what is to read it.

    Raises:
        DataError: no part reads captions, or the caption is no text.
    """
    if image is not None:
        # of a sample, which has an image of its own, too
        seen = replace(base.visual, image=FileImage(Path(image)))
        base = replace(base, image=str(image), visual=seen)
    if caption is not None:
        if not any(part.processor.views.caption for part in parts):
            raise DataError(
                "a caption for an extractor that reads none; leave it out, or make one with "
                "Extractor.from_encoder(..., captions=True)"
            )
        base = replace(base, visual=replace(base.visual, caption=caption))
    return base


def visuals_of(part: Part, documents: Sequence[Document]) -> list[VisualInput]:
    """Return what a part reads beside each text; a path is opened where it reads images alone.

    Raises:
        DataError: naming every text without the image or caption that the part reads.
    """
    looks = part.processor.views.image
    seen = [
        replace(one.visual, image=FileImage(Path(one.image)))
        if looks and one.image is not None and one.visual.image is None
        else one.visual
        for one in documents
    ]
    wanting = [
        _wanting(part, visual, image=one.image, sample=one.uid or f"number {place}")
        for place, (one, visual) in enumerate(zip(documents, seen, strict=True))
        if one.tokens
    ]
    _require(wanting)
    return seen


def require_captions(part: Part, samples: Sequence[Sample]) -> None:
    """Check that samples have the captions that a part learns from.

    Raises:
        DataError: naming every one that has none.
    """
    _require([_wanting(part, one.visual, image=None, sample=one.uid) for one in samples])


def _wanting(
    part: Part, visual: VisualInput, *, image: str | None, sample: str
) -> DataError | None:
    """What a part reads and a text does not have."""
    views = part.processor.views
    if views.image and visual.image is None:
        what, other = "image", "a caption" if visual.caption is not None else None
        words = "looks at images"
    elif views.caption and visual.caption is None:
        what, words = "caption", "reads captions"
        other = "an image" if image is not None or visual.image is not None else None
    else:
        return None
    found = "none" if other is None else f"{other}, which it does not read"
    return DataError(
        f"the model {words} and the text has {found}; give {what}=, or a record with '{what}'",
        sample=sample,
    )


def _require(wanting: Sequence[DataError | None]) -> None:
    problems = [problem for problem in wanting if problem is not None]
    if problems:
        raise gathered(problems)
