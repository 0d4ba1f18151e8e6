"""F1 of each type and relation on labelled samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mkgc_cl.data.samples import RelationSample, Sample, TaggingSample
from mkgc_cl.inference.documents import document
from mkgc_cl.inference.prediction import predict
from mkgc_cl.inference.report import counts_by_type
from mkgc_cl.metrics.counts import spans

if TYPE_CHECKING:
    from mkgc_cl.inference.extractor import Extractor


def f1_by_type(extractor: Extractor, samples: Sequence[Sample]) -> dict[str, float]:
    """F1 of each type and relation, 0 to 1; those that it is not defined of are left out.

    See :meth:`Extractor.score`.
    """
    found: dict[str, float] = {}
    tagged = [sample for sample in samples if isinstance(sample, TaggingSample)]
    related = [sample for sample in samples if isinstance(sample, RelationSample)]
    if tagged and extractor.types:
        read = predict(extractor, [document(s) for s in tagged], constrain=False, relate=False)
        pairs = (
            ({(str(e.type), e.start, e.end) for e in one.entities}, spans(sample.tags))
            for one, sample in zip(read, tagged, strict=True)
        )
        found.update({name: counts.f1 for name, counts in counts_by_type(pairs).items()})
    if related and extractor.relations:
        read = predict(extractor, [document(s) for s in related], constrain=False)
        marks = (
            (
                {(r.type, 0, 1) for r in one.relations},
                {(s.relation, 0, 1)} - {(extractor.negative, 0, 1)},
            )
            for one, s in zip(read, related, strict=True)
        )
        found.update({name: counts.f1 for name, counts in counts_by_type(marks).items()})
    return {name: f1 for name, f1 in found.items() if f1 == f1}


def f1_of_known(extractor: Extractor, samples: Sequence[Sample]) -> dict[str, float]:
    """F1 of what an extractor has learnt, of nothing else that samples are labelled with."""
    known = {*extractor.types, *extractor.relations}
    scored = f1_by_type(extractor, samples) if samples and known else {}
    return {name: f1 for name, f1 in scored.items() if name in known}
