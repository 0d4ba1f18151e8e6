"""Which samples an object keeps, wherever in it they lie."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from functools import partial
from types import FunctionType

import torch

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.samples import Sample
from mkgc_cl.scenarios.benchmark import KnowledgeExperience
from mkgc_cl.strategies.template import MultimodalStrategy

_ELSEWHERE = (MultimodalStrategy, torch.nn.Module, type)
"""What a plugin may refer to and does not own."""
_LIBRARIES = ("avalanche", "builtins", "numpy", "torch")


def reachable_samples(thing: object) -> set[str]:
    """Samples, by uid, in an object's attributes, containers, closures, batches and experiences.

    Features, or samples within a library's objects (a data set of Avalanche), are not seen.
    """
    found: set[str] = set()
    looked_at: set[int] = set()
    left: list[object] = [thing]
    while left:
        thing = left.pop()
        if id(thing) in looked_at or isinstance(thing, _ELSEWHERE):
            continue
        looked_at.add(id(thing))
        if isinstance(thing, Sample):
            found.add(thing.uid)
        elif isinstance(thing, KnowledgeExperience):
            left += thing.samples
        elif isinstance(thing, MultimodalBatch):
            found.update(thing.uids)
        elif isinstance(thing, Mapping):
            left += [*thing.keys(), *thing.values()]
        elif isinstance(thing, list | tuple | set | frozenset | deque):
            left += thing
        elif isinstance(thing, FunctionType):
            left += [cell.cell_contents for cell in thing.__closure__ or ()]
        elif isinstance(thing, partial):
            left += [thing.func, thing.args, thing.keywords]
        elif type(thing).__module__.split(".")[0] not in _LIBRARIES:
            left += getattr(thing, "__dict__", {}).values()
    return found
