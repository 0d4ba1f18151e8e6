"""What every sample must obey, wherever it comes from: spans inside the words, BIO tags."""

from __future__ import annotations

from mkgc_cl.data.samples import LabelSpace, RelationSample, Sample, TaggingSample
from mkgc_cl.errors import DataError


def check_sample(sample: Sample, labels: LabelSpace) -> None:
    """Check one sample against its stream; the readers check more, with the line of the file.

    Raises:
        DataError: no words, a label the stream lacks, a span that is empty or outside the words,
            another number of tags than of words, or an inside tag that continues nothing.
    """
    if not sample.tokens:
        raise DataError("expected at least one word, found none; drop it", sample=sample.uid)
    named = (sample.relation,) if isinstance(sample, RelationSample) else sample.tags
    unknown = [name for name in named if name not in labels.outputs]
    if unknown:
        raise DataError(
            f"label {unknown[0]!r} is not one of the stream's {list(labels.outputs)}; correct it, "
            "or add its class to the label space and to a task",
            sample=sample.uid,
        )
    if isinstance(sample, RelationSample):
        _check_spans(sample)
    else:
        _check_tags(sample)


def continues(tag: str, before: str) -> bool:
    """Whether the inside tag ``tag`` may stand after ``before``.

    >>> continues("I-PER", "B-PER"), continues("I-PER", "I-LOC"), continues("I-PER", "O")
    (True, False, False)
    """
    return before[:2] in ("B-", "I-") and before[2:] == tag[2:]


def _check_spans(sample: RelationSample) -> None:
    for name, (start, end) in (("head", sample.head), ("tail", sample.tail)):
        if not 0 <= start < end <= len(sample.tokens):
            raise DataError(
                f"expected a {name} span [start, end) inside the {len(sample.tokens)} words, not "
                f"empty, found [{start}, {end}); correct the span",
                sample=sample.uid,
            )


def _check_tags(sample: TaggingSample) -> None:
    if len(sample.tags) != len(sample.tokens):
        raise DataError(
            f"expected one tag for each of the {len(sample.tokens)} words, found "
            f"{len(sample.tags)} tags; tag every word, O where there is no entity",
            sample=sample.uid,
        )
    before = "O"
    for word, tag in zip(sample.tokens, sample.tags, strict=True):
        if tag.startswith("I-") and not continues(tag, before):
            raise DataError(
                f"expected {tag} of {word!r} to follow B-{tag[2:]} or {tag}, found it after "
                f"{before}; an entity starts with B-{tag[2:]}",
                sample=sample.uid,
            )
        before = tag
