"""From samples to batches: text encoded once, images resized once, padding to the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

import numpy as np
import torch
from torch import Tensor

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.files.segments import cut_words
from mkgc_cl.data.image_cache import ImageCache
from mkgc_cl.data.images import BLANK, ImageSource
from mkgc_cl.data.sample_checks import fault, labels_of
from mkgc_cl.data.sample_text import EncodedText, encode_sample
from mkgc_cl.data.samples import LabelSpace, RelationSample, Sample
from mkgc_cl.data.tokenizer import WordTokenizer
from mkgc_cl.data.views import ViewPlan
from mkgc_cl.errors import DataError, ImageError, gathered

IGNORED = -100
"""Label of padding positions."""

REMEMBERED = 2**16
"""Most samples whose token ids are kept: a served model reads a new one with every request."""


class Processor:
    """Encode samples of one stream for one model.

    Args:
        labels: the stream's classes.
        tokenizer: the text encoder's tokenizer.
        max_text_length: most tokens a sample may have.
        views: which images become tokens, and their sides.
        cache: decoded images by side; made on demand where absent.
        caption_tokenizer: of the encoder that reads captions; that of the text by default.
        remembered: most samples whose token ids are kept.
    """

    def __init__(
        self,
        labels: LabelSpace,
        *,
        tokenizer: WordTokenizer,
        max_text_length: int,
        views: ViewPlan,
        cache: dict[int, ImageCache] | None = None,
        caption_tokenizer: WordTokenizer | None = None,
        remembered: int = REMEMBERED,
    ) -> None:
        self.labels = labels
        self.remembered = remembered
        self.tokenizer = tokenizer
        self.max_text_length = max_text_length
        self.views = views
        self.caption_tokenizer = caption_tokenizer or tokenizer
        self._captions: dict[str, tuple[int, ...]] = {}
        self._outputs = {name: index for index, name in enumerate(labels.outputs)}
        self._text: dict[tuple[object, ...], EncodedText] = {}
        self._caches = {} if cache is None else dict(cache)
        self._decoded: dict[int, set[str]] = {}  # keys of prepared images by side

    def __deepcopy__(self, memo: dict[int, object]) -> Processor:
        """Share the processor: it is a cache, and a model's frozen copy reads the same samples."""
        return self

    def prepare(self, samples: Sequence[Sample]) -> None:
        """Encode text and decode images of ``samples`` ahead of training.

        Raises:
            DataError: all that is wrong with any of them: words or labels that the model does not
                know, more tokens than it takes, no whole image where it looks at it, images that
                are missing or broken (these alone: an ImageError).
        """
        problems: list[DataError] = []
        longest = 0
        for sample in samples:
            with suppress(DataError):  # told of below
                longest = max(longest, len(self._text_of(sample).input_ids))
        by_side: dict[int, dict[str, ImageSource]] = {}

        def look(sample: Sample) -> None:
            for side, source in self._slots(sample):
                # Every evaluation comes by with the same samples; the cache would lock its folder
                # and look at every file again.
                if source.key not in self._decoded.get(side, ()):
                    by_side.setdefault(side, {})[source.key] = source

        for sample in samples:
            for read in (partial(self._fitting, longest=longest), self.target, look):
                try:
                    read(sample)
                except DataError as error:
                    problems.append(error)
        for side, sources in by_side.items():
            problems += self._decode(side, sources)
        if problems:
            raise gathered(problems)

    def _decode(self, side: int, sources: Mapping[str, ImageSource]) -> list[DataError]:
        """Decode images ahead; return what is wrong with those that cannot be."""
        cache = self._cache(side)
        try:
            cache.prepare(sources.values())
        except ImageError:
            # it names the first few in one message; the good ones are in the cache
            errors = (_broken(cache, source) for source in sources.values())
            return [error for error in errors if error is not None]
        except DataError as error:
            return [error]
        self._decoded.setdefault(side, set()).update(sources)
        return []

    def require_crops(self, samples: Sequence[Sample]) -> None:
        """Check that a model which looks at crops has some to look at.

        One sample may have none; a whole task without any comes from a stream built without them.

        Raises:
            DataError: the model looks at crops, and none of ``samples`` has one.
        """
        kinds = [
            kind for kind in ("grounding", "detected") if getattr(self.views, kind) and samples
        ]
        if kinds and not any(getattr(s.visual, kind) for s in samples for kind in kinds):
            raise DataError(
                f"the model looks at crops ({' and '.join(kinds)}), but none of these "
                f'{len(samples):,} samples has one; build the stream with images="crops" or '
                '"image+crops", give samples VisualInput(grounding=..., detected=...), or build '
                'the model with images="image"',
                sample=samples[0].uid,
            )

    def encode(self, sample: Sample) -> EncodedText:
        """Return the token ids of a sample, kept for the last :data:`REMEMBERED` ones.

        Raises:
            DataError: the model does not take so many, or its words cannot be read.
        """
        return self._fitting(sample)

    def _fitting(self, sample: Sample, *, longest: int = 0) -> EncodedText:
        """The same; the error names the length ``longest`` of others, if that is more."""
        text = self._text_of(sample)
        tokens = len(text.input_ids)
        if tokens > self.max_text_length:
            raise fault(
                sample,
                f"{tokens} tokens, but the model takes {self.max_text_length}; build the model "
                f"with max_text_length={max(tokens, longest)} or more, or shorten the sample",
            )
        return text

    def _text_of(self, sample: Sample) -> EncodedText:
        spans = (sample.head, sample.tail) if isinstance(sample, RelationSample) else ()
        # A uid used twice must not return another's text or markers.
        behind = sample.visual.caption if self.views.behind else None
        key = (sample.uid, sample.tokens, spans, behind)
        known = self._text.get(key)
        if known is None:
            known = self._encode(sample)
            while len(self._text) >= self.remembered:
                self._text.pop(next(iter(self._text)), None)  # the oldest
            self._text[key] = known
        return known

    def count(self, sample: Sample) -> int:
        """Number of tokens of a sample, whether or not the model takes so many.

        Raises:
            DataError: its words cannot be read.
        """
        return len(self._text_of(sample).input_ids)

    def length(self, sample: Sample) -> int:
        """Number of tokens of a sample."""
        return len(self.encode(sample).input_ids)

    def target(self, sample: Sample) -> tuple[int, ...]:
        """Output ids of a sample: one relation, or one tag a word.

        Raises:
            DataError: a label that the model's stream does not have.
        """
        try:
            return tuple(self._outputs[name] for name in labels_of(sample))
        except KeyError as error:
            raise fault(
                sample,
                f"label {error.args[0]!r} is not one of the stream's {list(self.labels.outputs)}; "
                "correct it, or build the model with the labels of its stream",
            ) from error

    def collate(
        self, samples: Sequence[Sample], *, replayed: Sequence[bool] | None = None
    ) -> tuple[MultimodalBatch, Tensor]:
        """Pad samples to one batch.

        Args:
            samples: the samples.
            replayed: which of them come from a memory; none by default.

        Returns:
            The batch, and its labels: (B,) relation ids or (B, W) tag ids padded with -100.
        """
        batch = self.batch(samples, replayed=replayed)
        targets = [self.target(sample) for sample in samples]
        if self.labels.kind == "re":
            return batch, torch.tensor([target[0] for target in targets])
        return batch, _pad(targets, IGNORED)

    def batch(
        self, samples: Sequence[Sample], *, replayed: Sequence[bool] | None = None
    ) -> MultimodalBatch:
        """Pad samples to one batch, whatever their labels; see :meth:`collate`."""
        encoded = [self.encode(sample) for sample in samples]
        ids = _pad([text.input_ids for text in encoded], self.tokenizer.pad_id)
        lengths = torch.tensor([len(text.input_ids) for text in encoded])
        tensors = {
            "input_ids": ids,
            "attention_mask": torch.arange(ids.shape[1])[None] < lengths[:, None],
            "replayed": torch.tensor(replayed or [False] * len(samples), dtype=torch.bool),
        }
        starts = _pad([text.starts for text in encoded], 0)
        if self.labels.kind == "re":
            tensors["marker_positions"] = starts
            tensors["entities"] = _pad([text.entities for text in encoded], 0)
        else:
            words = torch.tensor([len(text.starts) for text in encoded])
            tensors["word_starts"] = starts
            tensors["text_lengths"] = torch.tensor([text.own for text in encoded])
            tensors["word_mask"] = torch.arange(starts.shape[1])[None] < words[:, None]
        tensors.update(self._visual(samples))
        return MultimodalBatch(tensors, uids=tuple(sample.uid for sample in samples))

    def _encode(self, sample: Sample) -> EncodedText:
        text = encode_sample(sample, self.tokenizer)
        room = min(self.views.caption, self.max_text_length - text.own - 1)
        if not self.views.behind or room <= 0:
            return text
        return text.followed_by(self._caption(sample)[:room], self.tokenizer.sep_id)

    def _caption(self, sample: Sample) -> tuple[int, ...]:
        """Token ids of a sample's caption, without what opens and closes it."""
        caption = sample.visual.caption
        if caption is None:
            raise fault(
                sample,
                'the model reads captions, but the sample has none; build the stream with images="'
                'captions", or give the sample VisualInput(caption="")',
            )
        known = self._captions.get(caption)
        if known is None:
            words = [caption[start:end] for start, end in cut_words(caption)]
            pieces = self.caption_tokenizer.encode_words(words) if words else []
            known = tuple(piece for word in pieces for piece in word)
            self._captions[caption] = known
        return known

    def _told(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """Captions of distinct samples, all padded to the plan's length."""
        tokenizer, most = self.caption_tokenizer, self.views.caption
        rows = [
            [tokenizer.cls_id, *self._caption(sample)[: most - 2], tokenizer.sep_id]
            for sample in samples
        ]
        ids = torch.full((len(rows), most), tokenizer.pad_id)
        mask = torch.zeros(len(rows), most, dtype=torch.bool)
        for row, own in enumerate(rows):
            ids[row, : len(own)] = torch.tensor(own)
            mask[row, : len(own)] = True
        return {"caption_ids": ids, "caption_mask": mask}

    def _slots(self, sample: Sample) -> list[tuple[int, ImageSource]]:
        """Images of a sample with the side each is resized to, crops without a file left out."""
        views, visual = self.views, sample.visual
        slots: list[tuple[int, ImageSource]] = []
        if views.caption:
            self._caption(sample)
        if views.image:
            slots.append((views.image, _whole_image(sample)))
        for side, crops in ((views.grounding, visual.grounding), (views.detected, visual.detected)):
            if side:
                slots.extend((side, crop) for crop in crops[: views.crops])
        return slots

    def _cache(self, side: int) -> ImageCache:
        if side not in self._caches:
            self._caches[side] = ImageCache(side)
        return self._caches[side]

    def _visual(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """Distinct visual inputs of a batch: samples that share images share one row."""
        rows: dict[tuple[str, ...], int] = {}
        distinct = []
        for sample in samples:
            if sample.visual.key not in rows:
                rows[sample.visual.key] = len(rows)
                distinct.append(sample)
        tensors = {"visual_index": torch.tensor([rows[s.visual.key] for s in samples])}
        views = self.views
        if views.caption and not views.behind:
            tensors.update(self._told(distinct))
        if views.image:
            sources = [_whole_image(sample) for sample in distinct]
            tensors["images"] = _channels_first(self._cache(views.image).batch(sources))
        present = np.zeros((len(distinct), len(views.crop_sides)), dtype=bool)
        kinds = (
            [(views.grounding, [s.visual.grounding for s in distinct])] if views.grounding else []
        )
        kinds += [(views.detected, [s.visual.detected for s in distinct])] if views.detected else []
        slot = 0
        for side, crops in kinds:
            for position in range(views.crops):
                found = [c[position] if position < len(c) else None for c in crops]
                present[:, slot] = [source is not None for source in found]
                pixels = self._cache(side).batch([source or BLANK for source in found])
                tensors[f"crop_{slot}"] = _channels_first(pixels)
                slot += 1
        tensors["crops_present"] = torch.from_numpy(present)
        return tensors


def _broken(cache: ImageCache, source: ImageSource) -> ImageError | None:
    """Say what is wrong with one image."""
    try:
        cache.get(source)
    except ImageError as error:
        return error
    return None


def _whole_image(sample: Sample) -> ImageSource:
    if sample.visual.image is None:
        raise fault(
            sample,
            "the model looks at the whole image, but the sample has none; build the stream with "
            'images="image" or "image+crops", or the model with images="crops", or give the sample '
            "VisualInput(image=BLANK)",
        )
    return sample.visual.image


def _pad(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Stack rows of ids, padded at the end with ``value``."""
    longest = max(len(row) for row in rows)
    # One tensor of all rows: a tensor a row costs five times as much.
    padded = [[*row, *[value] * (longest - len(row))] for row in rows]
    return torch.tensor(padded, dtype=torch.long)


def _channels_first(pixels: np.ndarray) -> Tensor:
    """(N, S, S, 3) uint8 pixels as an (N, 3, S, S) tensor."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
