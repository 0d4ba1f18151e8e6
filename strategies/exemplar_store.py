"""What methods with exemplars share: which samples fill which slot, and samples by identity."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, cast

from torch import Tensor

from mkgc_cl.data.samples import LabelSpace, Sample
from mkgc_cl.errors import ConfigError, DataError
from mkgc_cl.memory.exemplars import ExemplarMemory, NaPolicy
from mkgc_cl.models import ModelOutput
from mkgc_cl.models.spans import mean_of_words
from mkgc_cl.scenarios.benchmark import KnowledgeExperience, group_label
from mkgc_cl.strategies.plugin_interface import PluginInterface

Scope = Literal["class", "task"]
Choose = Callable[[str, Sequence[Sample]], Sequence[int]]


class ExemplarStore:
    """Kept samples by slot: a slot is a class or a task.

    Attributes:
        memory: the samples' identities by slot.
    """

    def __init__(self) -> None:
        self.memory = ExemplarMemory()
        self._samples: dict[str, Sample] = {}
        self._tasks: dict[str, str] = {}  # which task a sample was kept from

    def fill(
        self, task: KnowledgeExperience, *, scope: Scope, na_policy: NaPolicy, choose: Choose
    ) -> None:
        """Keep samples of a task, slot by slot.

        Args:
            task: the task.
            scope: what a slot is.
            na_policy: what becomes of the negative slot, which every task fills again (scope
                ``"class"``); see :class:`~mkgc_cl.strategies.PrototypeReplayPlugin`.
            choose: rows to keep of a slot's candidates, from the slot's name and the candidates.
        """
        for slot, candidates in candidates_by_slot(task, scope).items():
            recurs = scope == "class" and slot == negative_slot(task)
            self._fill_slot(slot, candidates, na_policy if recurs else "refresh", choose)
        kept = self.memory.identities()
        self._samples = {name: self._samples[name] for name in kept}
        # earlier samples first, so that tasks stand in order of arrival
        origin = {**self._tasks, **{n: task.task_name for n in kept if n not in self._tasks}}
        self._tasks = {name: origin[name] for name in origin if name in self._samples}

    def exemplars(self) -> list[Sample]:
        """Every kept sample, once."""
        return [self._samples[name] for name in self.memory.identities()]

    def by_task(self) -> list[list[Sample]]:
        """The kept samples of every task, in order of arrival; each sample once."""
        groups: dict[str, list[Sample]] = {task: [] for task in dict.fromkeys(self._tasks.values())}
        for name, task in self._tasks.items():
            groups[task].append(self._samples[name])
        return list(groups.values())

    def copy(self) -> ExemplarStore:
        """Return a store that holds the same samples and is filled on its own."""
        other = ExemplarStore()
        other.memory = copy.deepcopy(self.memory)
        other._samples = dict(self._samples)
        other._tasks = dict(self._tasks)
        return other

    def state_dict(self) -> dict[str, Any]:
        """Identities by slot and the task of each, never samples."""
        return {"slots": self.memory.state_dict(), "tasks": dict(self._tasks)}

    def load_state_dict(self, state: Mapping[str, Any], *, samples: Iterable[Sample]) -> None:
        """Go on from :meth:`state_dict`.

        Args:
            state: the state.
            samples: where the stored identities are found: the training samples of the stream.

        Raises:
            DataError: a stored identity is not among them.
        """
        found = {sample.identity: sample for sample in samples}
        self.memory.load_state_dict(dict(state["slots"]))
        missing = [name for name in self.memory.identities() if name not in found]
        if missing:
            raise DataError(
                f"{len(missing)} stored exemplars are not in the given samples (first: "
                f"{missing[0]}); load with the stream the memory was filled from"
            )
        self._samples = {name: found[name] for name in self.memory.identities()}
        self._tasks = dict(state["tasks"])

    def _fill_slot(
        self, slot: str, candidates: Sequence[Sample], policy: NaPolicy, choose: Choose
    ) -> None:
        if policy == "exclude" or (policy == "keep-first" and slot in self.memory.slots):
            return
        pool = list(candidates)
        if policy == "merge":
            pool = [self._samples[name] for name in self.memory.slots.get(slot, ())] + pool
        chosen = [pool[row] for row in choose(slot, pool)]
        self._samples.update({sample.identity: sample for sample in chosen})
        identities = [sample.identity for sample in chosen]
        if policy == "grow":
            self.memory.extend(slot, identities)
        else:
            self.memory.store(slot, identities)


def candidates_by_slot(task: KnowledgeExperience, scope: Scope) -> dict[str, list[Sample]]:
    """A task's samples by slot."""
    if scope == "task":
        return {task.task_name: list(task.samples)}
    names = (negative_slot(task), *task.labels.classes)
    slots: dict[str, list[Sample]] = {}
    for sample in task.samples:
        slots.setdefault(names[group_label(sample, task.labels)], []).append(sample)
    return slots


def negative_slot(task: KnowledgeExperience) -> str:
    """Slot of N/A, or of samples without an entity."""
    return task.na or "O"


def running_task(strategy: PluginInterface) -> KnowledgeExperience:
    """The task that a strategy trains on.

    Raises:
        ConfigError: it is no task of this package.
    """
    task = strategy.experience
    if not isinstance(task, KnowledgeExperience):
        raise ConfigError([f"{type(task).__name__} is no experience of this package"])
    return task


def slot_types(task: KnowledgeExperience, slot: str, scope: Scope) -> tuple[str, ...]:
    """Classes whose samples a slot holds: none for the negative slot."""
    if scope == "task":
        return task.classes
    return () if slot == negative_slot(task) else (slot,)


def span_pooling(
    labels: LabelSpace, types: Sequence[str]
) -> Callable[[ModelOutput, Tensor], Tensor]:
    """What :meth:`MultimodalStrategy.features` may read of a tagging stream.

    Args:
        labels: the stream's classes.
        types: the mean is over the words of gold spans of these types, or over all words of a
            sample that has none.
    """
    return partial(_pooled, outputs=labels.output_ids(types)[1:])


def _pooled(output: ModelOutput, targets: Tensor, *, outputs: Sequence[int]) -> Tensor:
    words, mask = cast(Tensor, output.word_features), cast(Tensor, output.word_mask)
    return mean_of_words(words, mask, targets, outputs)
