"""A small memory of exemplars, and three ways to train on it (paper, section 4.4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from avalanche.core import SupervisedPlugin
from torch import Tensor

from mkgc_cl.data.samples import Sample
from mkgc_cl.errors import ConfigError, DataError
from mkgc_cl.memory.exemplars import ExemplarMemory, NaPolicy
from mkgc_cl.memory.selection import Selection, select_exemplars
from mkgc_cl.scenarios.benchmark import KnowledgeExperience, group_label
from mkgc_cl.seeds import generator
from mkgc_cl.strategies.template import MultimodalStrategy

Scope = Literal["class", "task"]
ReplaySchedule = Literal["after", "mixed", "alternate"]

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "scope": ("class", "task"),
    "selection": ("kmeans", "herding", "random"),
    "na_policy": ("merge", "refresh", "keep-first", "grow", "exclude"),
    "schedule": ("after", "mixed", "alternate"),
}


class PrototypeReplayPlugin(SupervisedPlugin):
    """Keep a few prototypical exemplars and replay them.

    After a task, the posts nearest to the K-means centres of the encoder's features are kept (Cui
    et al. 2021, whom the paper follows). The memory holds identities of posts, never tensors.

    Args:
        size: exemplars a slot, at least 0; 0 does nothing at all.
        scope: a slot is a class (released code) or a task (paper: "six examples per task").
        selection: ``"kmeans"``; ``"herding"`` or ``"random"`` (RELEASED CODE) for comparison.
        na_policy: what becomes of N/A, which recurs in every task (scope ``"class"``; likewise
            posts without an entity): ``"merge"`` chooses anew from the kept and the new ones,
            ``"refresh"`` from the new ones, ``"keep-first"`` keeps the first task's, ``"grow"``
            adds as many with every task (RELEASED CODE), ``"exclude"`` keeps none.
        schedule: ``"after"`` trains on the whole memory after each task but the first, as the
            released code does; ``"mixed"`` adds exemplars to every batch; ``"alternate"`` puts a
            batch of exemplars after every batch.
        epochs: epochs of the phase ``"after"``; as many as the task has by default.
        batch_size: exemplars a step; the training batch size by default.
        lr_scale: factor on the learning rates in the phase ``"after"``, above 0. RELEASED CODE: 1.
        seed: seed of selection and replay order.

    Attributes:
        memory: the exemplars' identities by slot.
        prototypes: mean feature (F,) of each slot's candidates when it was last filled; training
            does not read them, classifiers built on prototypes may.

    Raises:
        ConfigError: an option is not one of the above.
    """

    def __init__(
        self,
        *,
        size: int = 6,
        scope: Scope = "class",
        selection: Selection = "kmeans",
        na_policy: NaPolicy = "merge",
        schedule: ReplaySchedule = "after",
        epochs: int | None = None,
        batch_size: int | None = None,
        lr_scale: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        given = {
            "scope": scope, "selection": selection, "na_policy": na_policy, "schedule": schedule
        }  # fmt: skip
        wrong = [
            f"{name}={value!r}; choose one of {list(_CHOICES[name])}"
            for name, value in given.items()
            if value not in _CHOICES[name]
        ]
        if size < 0:
            wrong.append(f"size={size}; give 0 or more")
        for name, value in (("epochs", epochs), ("batch_size", batch_size)):
            if value is not None and value < 1:
                wrong.append(f"{name}={value}; give 1 or more, or None for the strategy's")
        if not 0 < lr_scale < float("inf"):
            wrong.append(f"lr_scale={lr_scale}; give a number above 0")
        if schedule in ("mixed", "alternate") and (epochs is not None or lr_scale != 1):
            wrong.append(
                f"epochs={epochs}, lr_scale={lr_scale}; schedule={schedule!r} has no memory phase, "
                "leave both out"
            )
        if wrong:
            raise ConfigError(wrong)
        self.size = size
        self.scope = scope
        self.selection: Selection = selection
        self.na_policy = na_policy
        self.schedule = schedule
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr_scale = lr_scale
        self.memory = ExemplarMemory()
        self.prototypes: dict[str, Tensor] = {}
        self._samples: dict[str, Sample] = {}
        self._selection = generator(seed, "exemplar-selection")
        self._replay = generator(seed, "replay-order")

    def before_training_exp(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Bring exemplars along with the task's batches, if the schedule says so."""
        if self.schedule != "after":
            strategy.replay_beside(
                self.exemplars(),
                batch_size=self.batch_size or strategy.train_mb_size,
                schedule=self.schedule,
                source=self._replay,
            )

    def after_training_exp(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Choose the task's exemplars, then train on the memory, if the schedule says so."""
        if self.size == 0:
            return
        later = bool(self.memory.slots)
        experience = strategy.experience
        if not isinstance(experience, KnowledgeExperience):
            raise ConfigError([f"{type(experience).__name__} is no experience of this package"])
        for slot, candidates in self._candidates(experience).items():
            self._fill(strategy, slot, candidates, negative=slot == negative_slot(experience))
        self._forget_unused()
        if self.schedule == "after" and later:
            epochs = strategy.train_epochs if self.epochs is None else self.epochs
            strategy.memory_phase(
                self.exemplars(),
                epochs=epochs,
                batch_size=self.batch_size or strategy.train_mb_size,
                source=self._replay,
                lr_scale=self.lr_scale,
            )

    def exemplars(self) -> list[Sample]:
        """Every stored sample."""
        return [self._samples[identity] for identity in self.memory.identities()]

    def state_dict(self) -> dict[str, Any]:
        """What later tasks depend on."""
        return {
            "slots": self.memory.state_dict(),
            "prototypes": dict(self.prototypes),
            "selection": self._selection.get_state(),
            "replay": self._replay.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any], *, samples: Iterable[Sample]) -> None:
        """Go on from :meth:`state_dict`.

        Args:
            state: the state.
            samples: where the stored identities are found: the training samples of the stream.

        Raises:
            DataError: a stored identity is not among them.
        """
        found = {sample.identity: sample for sample in samples}
        self.memory.load_state_dict(state["slots"])
        missing = [name for name in self.memory.identities() if name not in found]
        if missing:
            raise DataError(
                f"{len(missing)} stored exemplars are not in the given samples (first: "
                f"{missing[0]}); load with the stream the memory was filled from"
            )
        self._samples = {name: found[name] for name in self.memory.identities()}
        self.prototypes = dict(state["prototypes"])
        self._selection.set_state(state["selection"])
        self._replay.set_state(state["replay"])

    def _candidates(self, experience: KnowledgeExperience) -> dict[str, list[Sample]]:
        """The task's samples by slot."""
        if self.scope == "task":
            return {experience.task_name: list(experience.samples)}
        names = (negative_slot(experience), *experience.labels.classes)
        slots: dict[str, list[Sample]] = {}
        for sample in experience.samples:
            slots.setdefault(names[group_label(sample, experience.labels)], []).append(sample)
        return slots

    def _fill(
        self,
        strategy: MultimodalStrategy,
        slot: str,
        candidates: Sequence[Sample],
        *,
        negative: bool,
    ) -> None:
        policy = self.na_policy if negative and self.scope == "class" else "refresh"
        if policy == "exclude" or (policy == "keep-first" and slot in self.memory.slots):
            return
        pool = list(candidates)
        if policy == "merge":
            pool = [self._samples[name] for name in self.memory.slots.get(slot, ())] + pool
        features = strategy.features(pool)
        self.prototypes[slot] = features.mean(dim=0)
        rows = select_exemplars(
            features, self.size, selection=self.selection, source=self._selection
        )
        chosen = [pool[row] for row in rows]
        self._samples.update({sample.identity: sample for sample in chosen})
        identities = [sample.identity for sample in chosen]
        if policy == "grow":
            self.memory.extend(slot, identities)
        else:
            self.memory.store(slot, identities)

    def _forget_unused(self) -> None:
        kept = set(self.memory.identities())
        self._samples = {name: s for name, s in self._samples.items() if name in kept}


def negative_slot(experience: KnowledgeExperience) -> str:
    """Slot of N/A, or of posts without an entity."""
    return experience.na or "O"
