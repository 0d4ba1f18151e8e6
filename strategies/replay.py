"""A small memory of exemplars, and four ways to train on it (paper, section 4.4)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, get_args

from torch.nn import functional as F

from mkgc_cl._checks import at_least, one_of
from mkgc_cl.data.samples import Sample
from mkgc_cl.errors import ConfigError
from mkgc_cl.memory.exemplars import NaPolicy
from mkgc_cl.memory.selection import Selection, select_exemplars
from mkgc_cl.strategies.exemplar_store import Scope, running_task, slot_types, span_pooling
from mkgc_cl.strategies.memory import ExemplarPlugin
from mkgc_cl.strategies.mspt_options import MSPTOptions, ReplaySchedule
from mkgc_cl.strategies.template import MultimodalStrategy

Features = Literal["sample", "spans"]


class PrototypeReplayPlugin(ExemplarPlugin, supports_distributed=True):
    """Keep a few prototypical exemplars and replay them.

    After a task, the samples nearest to the K-means centers of the encoder's features are kept (Cui
    et al. 2021, whom the paper follows). The memory holds identities of samples, never tensors.

    EMR (Wang et al. 2019, without the alignment of EA-EMR) is ``size=50, scope="task",
    normalize=True, schedule="round-robin"``.

    Args:
        size: exemplars per slot, at least 0; 0 does nothing at all.
        scope: a slot is a class (released code) or a task (paper: "six examples per task").
        selection: ``"kmeans"``; ``"herding"`` or ``"random"`` (RELEASED CODE) for comparison.
        na_policy: what becomes of N/A, which recurs in every task (scope ``"class"``; likewise
            samples without an entity): ``"merge"`` chooses anew from the kept and the new ones,
            ``"refresh"`` from the new ones, ``"keep-first"`` keeps the first task's, ``"grow"``
            adds as many with every task (RELEASED CODE), ``"exclude"`` keeps none.
        features: what exemplars are chosen by: features of the whole sample, or of a tagging stream
            ``"spans"``, the mean over words of gold spans of the slot's types (all words where
            there is none).
        normalize: bring features to length 1 before they are compared (Wang et al. 2019).
        schedule: ``"after"`` trains on the whole memory after each task but the first, as the
            released code does; ``"mixed"`` adds exemplars to every batch; ``"alternate"`` puts a
            batch of exemplars after every batch; ``"round-robin"`` puts before every batch one step
            on the whole memory of one past task, the tasks in turn (Wang et al. 2019).
        epochs: epochs of the phase ``"after"``; as many as the task has by default.
        batch_size: exemplars per step; the training batch size by default.
        lr_scale: factor on the learning rates in the phase ``"after"``, above 0. RELEASED CODE: 1.
        seed: seed of selection and replay order.

    Raises:
        ConfigError: an option is not one of the above, or ``features="spans"`` meets relations.
    """

    def __init__(
        self,
        *,
        size: int = MSPTOptions.exemplars,
        scope: Scope = MSPTOptions.memory_scope,
        selection: Selection = MSPTOptions.selection,
        na_policy: NaPolicy = MSPTOptions.na_policy,
        features: Features = "sample",
        normalize: bool = False,
        schedule: ReplaySchedule = MSPTOptions.replay_schedule,
        epochs: int | None = MSPTOptions.memory_epochs,
        batch_size: int | None = MSPTOptions.memory_batch_size,
        lr_scale: float = MSPTOptions.memory_lr_scale,
        seed: int = 0,
    ) -> None:
        alongside = schedule in ("mixed", "alternate", "round-robin")
        idle = (
            f"epochs={epochs}, lr_scale={lr_scale}; schedule={schedule!r} has no memory phase, "
            "leave both out"
        )
        fixed = f"batch_size={batch_size}; schedule='round-robin' has none, leave it out"
        super().__init__(
            size=size,
            scope=scope,
            na_policy=na_policy,
            batch_size=batch_size,
            lr_scale=lr_scale,
            seed=seed,
            draws={"selection": "exemplar-selection", "replay": "replay-order"},
            problems=[
                *one_of("selection", selection, get_args(Selection)),
                *one_of("features", features, get_args(Features)),
                *one_of("schedule", schedule, get_args(ReplaySchedule)),
                *at_least("epochs", epochs, 1, none="the strategy's"),
                *([idle] if alongside and (epochs, lr_scale) != (None, 1) else []),
                *([fixed] if schedule == "round-robin" and batch_size is not None else []),
            ],
        )
        self.selection: Selection = selection
        self.features = features
        self.normalize = normalize
        self.schedule = schedule
        self.epochs = epochs

    def before_training_exp(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Bring exemplars along with the task's batches, if the schedule says so."""
        if self.features == "spans" and self.size > 0 and strategy.network.labels.kind == "re":
            raise ConfigError(["features='spans'; relations have no tagged spans, choose 'sample'"])
        if self.schedule == "round-robin":
            strategy.replay_in_turn(self.store.by_task())
        elif self.schedule != "after":
            strategy.replay_beside(
                self.exemplars(),
                batch_size=self.batch_size or strategy.train_mb_size,
                schedule=self.schedule,
                source=self._draws["replay"],
            )

    def after_training_exp(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Choose the task's exemplars, then train on the memory, if the schedule says so."""
        if self.size == 0:
            return
        later = bool(self.memory.slots)
        self.fill(strategy, partial(self._choose, strategy))
        if self.schedule == "after" and later:
            epochs = strategy.train_epochs if self.epochs is None else self.epochs
            strategy.memory_phase(
                self.exemplars(),
                epochs=epochs,
                batch_size=self.batch_size or strategy.train_mb_size,
                source=self._draws["replay"],
                lr_scale=self.lr_scale,
            )

    def _choose(
        self, strategy: MultimodalStrategy, slot: str, candidates: Sequence[Sample]
    ) -> list[int]:
        pool = None
        if self.features == "spans":
            task = running_task(strategy)
            pool = span_pooling(task.labels, slot_types(task, slot, self.scope))
        features = strategy.features(candidates, pool=pool)
        if self.normalize:
            features = F.normalize(features, dim=-1)
        return select_exemplars(
            features, self.size, selection=self.selection, source=self._draws["selection"]
        )
