"""Changes of an extractor: made on a draft, and taken over as a whole or not at all."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from mkgc_cl.data.samples import TaskKind
from mkgc_cl.errors import ConfigError
from mkgc_cl.inference.constraints import TypeConstraints
from mkgc_cl.inference.documents import is_name
from mkgc_cl.inference.ledger import Ledger
from mkgc_cl.inference.parts import ClosedForm, Part

if TYPE_CHECKING:
    from mkgc_cl.inference.extractor import Extractor


@contextmanager
def draft(extractor: Extractor, kinds: Collection[TaskKind]) -> Iterator[Extractor]:
    """Yield a copy of an extractor to be changed, which becomes the extractor at the end.

    Whatever raises in between, an interrupt too, leaves the extractor as it was, and whoever reads
    it meanwhile sees what it was.

    Args:
        extractor: what changes.
        kinds: of the parts that change.

    Raises:
        ConfigError: one of these was trained by gradient.
    """
    require_closed_form(extractor, kinds)
    made = copy.copy(extractor)
    made.parts = {
        kind: part.copied() if kind in kinds and isinstance(part, ClosedForm) else part
        for kind, part in extractor.parts.items()
    }
    made.ledgers = {kind: ledger.copied() for kind, ledger in extractor.ledgers.items()}
    made.tasks = dict(extractor.tasks)
    yield made
    made.constraints = constraints_of(made.parts, made.ledgers)
    # one step of the interpreter, which no signal divides
    vars(extractor).update(vars(made))


def constraints_of(
    parts: Mapping[TaskKind, Part], ledgers: Mapping[TaskKind, Ledger]
) -> TypeConstraints:
    """The types that relations were learnt between, as the samples' ledger has them."""
    if "re" not in parts:
        return TypeConstraints()
    return TypeConstraints.of(ledgers["re"], parts["re"].labels.outputs)


def require_closed_form(extractor: Extractor, kinds: Collection[TaskKind]) -> None:
    """Check that parts learn.

    Raises:
        ConfigError: naming those that do not.
    """
    trained = [kind for kind in kinds if not isinstance(extractor.parts.get(kind), ClosedForm)]
    if trained:
        raise ConfigError(
            [
                f"what this extractor has for {kind!r} is a trained model, which learns no more "
                "here; train its strategy on, or start with Extractor.from_encoder"
                for kind in sorted(trained)
            ]
        )


def relabel(
    extractor: Extractor,
    kind: TaskKind,
    classes: Sequence[str],
    names: Mapping[str, str | None] | None = None,
) -> None:
    """Change the classes of a part of a draft, and whatever names or numbers them.

    Args:
        extractor: the draft.
        kind: of the part.
        classes: the classes from now on.
        names: new names of present ones, where they change; ``None`` for one that is taken out.
    """
    part = cast(ClosedForm, extractor.parts[kind])
    before = part.labels.outputs
    renamed = dict(_renamed_outputs(before, names or {}))
    part.relabel(classes, renamed)
    new = part.labels.outputs
    now = [renamed.get(name, name) for name in before]
    places = {place: new.index(name) for place, name in enumerate(now) if name in new}
    ledgers = extractor.ledgers
    if names or places != {place: place for place in places}:
        ledgers[kind] = ledgers[kind].relabel(places)
    if names and kind == "ner" and "re" in ledgers:
        same = {place: place for place in range(len(extractor.parts["re"].labels.outputs))}
        ledgers["re"] = ledgers["re"].relabel(same, names)


def rename(extractor: Extractor, old: str, new: str) -> None:
    """Rename a type or a relation; see :meth:`Extractor.rename`."""
    kind = _kind_of(extractor, old)
    others = {n for k, part in extractor.parts.items() if k != kind for n in part.labels.classes}
    # a name is a type or a relation, not both: provenance is by name
    if not is_name(new) or new in {old, *others} or (kind == "re" and new == extractor.negative):
        raise ConfigError([f"cannot rename {old!r} to {new!r}; give another name"])
    with draft(extractor, [kind]) as made:
        classes = [new if name == old else name for name in made.parts[kind].labels.classes]
        relabel(made, kind, tuple(dict.fromkeys(classes)), {old: new})
        task = made.tasks.pop(old, None)
        if task is not None:
            made.tasks.setdefault(new, task)


def remove(extractor: Extractor, name: str) -> None:
    """Take a type or a relation out; see :meth:`Extractor.remove`."""
    kind = _kind_of(extractor, name)
    with draft(extractor, [kind]) as made:
        classes = tuple(n for n in made.parts[kind].labels.classes if n != name)
        relabel(made, kind, classes, {name: None})
        made.tasks.pop(name, None)


def merge(extractor: Extractor, other: Extractor) -> int:
    """Learn what another extractor has learnt; see :meth:`Extractor.merge`."""
    require_closed_form(other, other.parts)
    require_closed_form(extractor, other.parts)
    _require_alike(extractor, other)
    both = 0
    with draft(extractor, list(other.parts)) as made:
        for kind in other.parts:
            mine, theirs = (cast(ClosedForm, x.parts[kind]) for x in (made, other))
            classes = tuple(dict.fromkeys((*mine.labels.classes, *theirs.labels.classes)))
            relabel(made, kind, classes)
            mine.readout.merge(theirs.readout)
            outputs = mine.labels.outputs
            places = {i: outputs.index(name) for i, name in enumerate(theirs.labels.outputs)}
            both += made.ledgers[kind].merge(other.ledgers[kind].relabel(places))
        made.tasks = {**other.tasks, **made.tasks}
    return both


def _require_alike(extractor: Extractor, other: Extractor) -> None:
    """Raise :class:`ConfigError` where what was learnt apart cannot be added up."""
    wrong = []
    types, relations = (
        {*getattr(extractor, name), *getattr(other, name)} for name in ("types", "relations")
    )
    if types & relations:
        wrong.append(f"{sorted(types & relations)} are entity types and relations at once")
    for kind, part in other.parts.items():
        mine, theirs = cast(ClosedForm, extractor.parts[kind]), cast(ClosedForm, part)
        if mine.encoder.fingerprint != theirs.encoder.fingerprint:
            wrong.append(f"{kind}: it reads another encoder ({theirs.encoder.name})")
        if mine.layers != theirs.layers:
            wrong.append(f"{kind}: it reads layers {theirs.layers}, this one {mine.layers}")
        if mine.captions != theirs.captions:
            reads = "captions" if theirs.captions else "no captions"
            wrong.append(f"{kind}: it reads {reads}, this one does otherwise")
        if mine.labels.na != theirs.labels.na:
            wrong.append(f"{kind}: it calls no relation {theirs.labels.na!r}")
    if wrong:
        raise ConfigError([f"the other extractor does not fit: {problem}" for problem in wrong])


def _kind_of(extractor: Extractor, name: str) -> TaskKind:
    """Which part knows a name."""
    for kind, part in extractor.parts.items():
        if name in part.labels.classes:
            return kind
    known = list(extractor.types + extractor.relations)
    raise ConfigError([f"there is no {name!r}; there are {known}"])


def _renamed_outputs(
    outputs: Sequence[str], names: Mapping[str, str | None]
) -> Iterator[tuple[str, str]]:
    """New names of outputs, where their classes change: of a tag with its prefix."""
    for output in outputs:
        prefix, name = output[:2], output[2:]
        if outputs[0] == "O" and prefix in ("B-", "I-") and name in names:
            new = names[name]
            yield output, "O" if new is None else prefix + new
        elif outputs[0] != "O" and output in names and output != outputs[0]:
            yield output, names[output] or outputs[0]
