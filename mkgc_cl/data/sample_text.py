"""Token ids of one sample: words, markers round its entities, a caption behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mkgc_cl.data.sample_checks import check_form
from mkgc_cl.data.samples import RelationSample, Sample, TaggingSample
from mkgc_cl.data.tokenizer import WordTokenizer


@dataclass(frozen=True, slots=True)
class EncodedText:
    """Token ids of one sample and where its words or markers start.

    Of a relation also which entities each token is a piece of: 0 none, 1 the head, 2 the tail, 3
    both (markers are pieces of none). ``own`` is the number of tokens without a caption behind.
    """

    input_ids: tuple[int, ...]
    starts: tuple[int, ...]
    entities: tuple[int, ...] = ()
    own: int = 0

    def followed_by(self, caption: Sequence[int], sep_id: int) -> EncodedText:
        """The same with the token ids of a caption behind it, if it has any."""
        behind = (*caption, sep_id) if caption else ()
        entities = (*self.entities, *[0] * len(behind)) if self.entities else ()
        return replace(self, input_ids=(*self.input_ids, *behind), entities=entities)


def encode_sample(sample: Sample, tokenizer: WordTokenizer) -> EncodedText:
    """Encode a sample: a tagging sample word by word, a relation with its four markers.

    Raises:
        DataError: its words, tags or spans are not of the form they must have.
    """
    check_form(sample)
    words = tokenizer.encode_words(sample.tokens)
    ids = [tokenizer.cls_id]
    starts: list[int] = []
    entities: list[int] = []
    if isinstance(sample, TaggingSample):
        for pieces in words:
            starts.append(len(ids))
            ids.extend(pieces)
    else:
        starts, entities = _encode_marked(sample, tokenizer, words, ids)
    ids.append(tokenizer.sep_id)
    entities += [0] * (len(ids) - len(entities)) if entities else []
    return EncodedText(tuple(ids), tuple(starts), tuple(entities), len(ids))


def _encode_marked(
    sample: RelationSample, tokenizer: WordTokenizer, words: list[list[int]], ids: list[int]
) -> tuple[list[int], list[int]]:
    """Append words with markers round both entities.

    Returns where the start markers stand, and the entities of every token so far.

    RELEASED CODE loses the closing marker of an entity that ends the sample and crosses markers
    where the tail ends as the head starts; here closing markers come first at every gap.
    """
    head_open, head_close, tail_open, tail_close = tokenizer.marker_ids
    starts = [0, 0]
    entities: list[int] = []
    for gap in range(len(words) + 1):
        # Inner entity closes first, outer opens first, so markers nest wherever spans do.
        closing = [
            (span[0], slot, marker)
            for slot, (span, marker) in enumerate(
                ((sample.head, head_close), (sample.tail, tail_close))
            )
            if span[1] == gap
        ]
        ids.extend(marker for *_, marker in sorted(closing, reverse=True))
        opening = [
            (-span[1], slot, marker)
            for slot, (span, marker) in enumerate(
                ((sample.head, head_open), (sample.tail, tail_open))
            )
            if span[0] == gap
        ]
        for _, slot, marker in sorted(opening):
            starts[slot] = len(ids)
            ids.append(marker)
        if gap < len(words):
            within = [span[0] <= gap < span[1] for span in (sample.head, sample.tail)]
            entities += [0] * (len(ids) - len(entities))  # what opens the sample, and markers
            entities += [within[0] + 2 * within[1]] * len(words[gap])
            ids.extend(words[gap])
    return starts, entities
