"""What every sample must obey, wherever it comes from: spans inside the words, BIO tags."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from mkgc_cl.data.samples import LabelSpace, RelationSample, Sample, TaggingSample
from mkgc_cl.data.textfile import are_words, is_text, shown
from mkgc_cl.errors import DataError, gathered


def fault(sample: Sample, message: str) -> DataError:
    """Return the error that tells what is wrong with ``sample``, and where it was read."""
    path, line = sample.place or (None, None)
    return DataError(message, path=path, line=line, sample=sample.uid)


def check_sample(sample: Sample, labels: LabelSpace) -> None:
    """Check one sample against its stream; the readers check more, with the line of the file.

    Raises:
        DataError: what :func:`check_form` finds, a label the stream lacks, another number of tags
            than of words, or an inside tag that continues nothing.
    """
    check_form(sample)
    unknown = [name for name in labels_of(sample) if name not in labels.outputs]
    if unknown:
        raise fault(
            sample,
            f"label {unknown[0]!r} is not one of the stream's {list(labels.outputs)}; correct it, "
            "or add its class to the label space and to a task",
        )
    if isinstance(sample, TaggingSample):
        _check_tags(sample)


def check_form(sample: Sample) -> None:
    """Check what a model reads of a sample, whatever its labels are.

    Raises:
        DataError: no words, a word that is no text, or a span that is empty or outside the words.
    """
    if not sample.tokens:
        raise fault(sample, "expected at least one word, found none; drop it")
    words: tuple[object, ...] = sample.tokens
    if not are_words(words):
        (word, *_) = (word for word in words if not isinstance(word, str) or not is_text(word))
        raise fault(
            sample,
            f"expected words of text that UTF-8 can write, found {shown(word)}; correct it",
        )
    if isinstance(sample, RelationSample):
        _check_spans(sample)


def require_known(samples: Iterable[Sample], known: Collection[str], *, task: str) -> None:
    """Check that samples to be trained on have labels that the model scores by now.

    It masks what no task has brought yet: their loss would be that of the mask.

    Args:
        samples: the samples.
        known: names of the outputs that are scored.
        task: the task in which they are to be trained on.

    Raises:
        DataError: naming every sample with another label.
    """
    problems = []
    for sample in samples:
        unknown = [label for label in labels_of(sample) if label not in known]
        if unknown:
            problems.append(
                fault(
                    sample,
                    f"label {unknown[0]!r} is to be learnt in task {task!r}, but no task so far "
                    "has brought its class; train on the sample when its task has come",
                )
            )
    if problems:
        raise gathered(problems)


def labels_of(sample: Sample) -> tuple[str, ...]:
    """Names of the outputs that a sample is labelled with: its relation, or a tag for each word."""
    return (sample.relation,) if isinstance(sample, RelationSample) else sample.tags


def continues(tag: str, before: str) -> bool:
    """Whether the inside tag ``tag`` may stand after ``before``.

    >>> continues("I-PER", "B-PER"), continues("I-PER", "I-LOC"), continues("I-PER", "O")
    (True, False, False)
    """
    return before[:2] in ("B-", "I-") and before[2:] == tag[2:]


def _check_spans(sample: RelationSample) -> None:
    words = len(sample.tokens)
    for name, span in (("head", sample.head), ("tail", sample.tail)):
        numbers = len(span) == 2 and all(type(edge) is int for edge in span)
        if not numbers or not 0 <= span[0] < span[1] <= words:
            found = f"[{span[0]}, {span[1]})" if numbers else shown(span)
            raise fault(
                sample,
                f"expected a {name} span [start, end) inside the {words} words, not empty, found "
                f"{found}; correct the span",
            )


def _check_tags(sample: TaggingSample) -> None:
    if len(sample.tags) != len(sample.tokens):
        raise fault(
            sample,
            f"expected one tag for each of the {len(sample.tokens)} words, found "
            f"{len(sample.tags)} tags; tag every word, O where there is no entity",
        )
    before = "O"
    for word, tag in zip(sample.tokens, sample.tags, strict=True):
        if tag.startswith("I-") and not continues(tag, before):
            raise fault(
                sample,
                f"expected {tag} of {word!r} to follow B-{tag[2:]} or {tag}, found it after "
                f"{before}; an entity starts with B-{tag[2:]}",
            )
        before = tag
