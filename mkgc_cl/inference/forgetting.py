"""Take samples out of what an extractor has learnt, as if they had never been seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from mkgc_cl.data.samples import RelationSample, Sample, TaskKind
from mkgc_cl.errors import DataError, gathered
from mkgc_cl.inference.changes import draft, relabel, require_closed_form
from mkgc_cl.inference.ledger import NOTHING
from mkgc_cl.inference.parts import ClosedForm
from mkgc_cl.inference.scoring import in_batches, relation_readings, tag_readings
from mkgc_cl.inference.seeing import require_captions

if TYPE_CHECKING:
    from mkgc_cl.inference.extractor import Extractor


def forget_samples(extractor: Extractor, samples: Sequence[Sample]) -> int:
    """Unlearn samples; see :meth:`Extractor.forget`."""
    kinds: dict[TaskKind, dict[str, Sample]] = {}
    for sample in samples:
        kind: TaskKind = "re" if isinstance(sample, RelationSample) else "ner"
        require_closed_form(extractor, [kind])
        kinds.setdefault(kind, {}).setdefault(extractor.ledgers[kind].digest(sample), sample)
    unknown = [
        DataError("it was never learnt, so it cannot be forgotten; take it out", sample=sample.uid)
        for kind, mine in kinds.items()
        for sample in mine.values()
        if not extractor.ledgers[kind].of(sample)
    ]
    if unknown:
        raise gathered(unknown)
    with draft(extractor, list(kinds)) as made:
        return sum(_unlearn(made, kind, list(mine.values())) for kind, mine in kinds.items())


def _unlearn(extractor: Extractor, kind: TaskKind, samples: Sequence[Sample]) -> int:
    part, ledger = cast(ClosedForm, extractor.parts[kind]), extractor.ledgers[kind]
    require_captions(part, samples)
    entries = [ledger.of(sample) for sample in samples]
    if kind == "ner":
        readings = tag_readings(part, [s.tokens for s in samples], [s.visual for s in samples])
    else:
        readings = relation_readings(part, [cast(RelationSample, s) for s in samples])
    for group, batch in in_batches(part, readings):
        features = part.features(batch)
        for row, index in enumerate(group):
            reading = readings[index]
            start, _, first, last = reading.window
            own: Tensor = features[row]
            own = own[first - start : last - start] if kind == "ner" else own[None]
            for entry in entries[reading.place]:
                taught, weights = entry.taught, entry.weights
                if kind == "ner":
                    taught, weights = taught[first:last], weights[first:last]
                words = [w for w, output in enumerate(taught) if output != NOTHING]
                part.readout.remove(
                    own[words],
                    torch.tensor([taught[w] for w in words], dtype=torch.long),
                    torch.tensor([weights[w] for w in words]).double() if weights else None,
                )
    for sample in samples:
        ledger.drop(sample)
    _drop_untaught(extractor, kind)
    return sum(map(len, entries))


def _drop_untaught(extractor: Extractor, kind: TaskKind) -> None:
    """Take out the classes that no sample is left of, and name the tasks that taught the others."""
    part = extractor.parts[kind]
    before = part.labels.classes
    left = part.learnt
    teachers: dict[str, list[str]] = {}
    for entry in extractor.ledgers[kind]:
        for output in {*entry.taught} - {NOTHING, 0}:
            name = part.labels.outputs[output]
            teachers.setdefault(name if kind == "re" else name[2:], []).append(entry.task)
    for name in before:
        found = teachers.get(name, [])
        if name not in left:
            extractor.tasks.pop(name, None)
        elif found and extractor.tasks.get(name) not in found:
            extractor.tasks[name] = found[0]
    relabel(extractor, kind, left)
