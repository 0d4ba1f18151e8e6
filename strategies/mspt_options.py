"""The options of MSPT: every default of the method and its source, declared here alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mkgc_cl.memory.exemplars import NaPolicy
from mkgc_cl.memory.selection import Selection
from mkgc_cl.objectives.distillation import Axis
from mkgc_cl.objectives.modulation import Target
from mkgc_cl.strategies.exemplar_store import Scope

Schedule = Literal["average", "per-step"]
ReplaySchedule = Literal["after", "mixed", "alternate", "round-robin"]


@dataclass(frozen=True)
class MSPTOptions:
    """Options of the method; plugins of it, built alone, have the same defaults.

    Rows of Table 3 are toggles: "w/o AD", "w/o GM" and "w/o MM" are ``distillation``,
    ``modulation`` and ``memory`` set to false, "w/o MI" is a model built with
    ``interaction="self"``. All of them off is plain fine-tuning.

    Args:
        key_lr: learning rate of the shared keys; ``lr`` by default (a tenth of it: released code).
        bias_lr: learning rate of the bias maps; ``lr`` by default (released code).
        distillation: use attention distillation (the paper, section 4.3).
        modulation: use gradient modulation (the paper, section 4.2). Without, the contribution
            ratio is still observed (alpha 0), so that Figure 4 has its second curve.
        memory: use prototype replay (the paper, section 4.4).
        alpha: strength of the modulation (0.3: the paper, for IMNER; its code has 0.1 for IMRE).
        target: which modality is slowed (the one that leads: ours). PAPER: the other way round.
        schedule: when the coefficients of earlier tasks are used (their average: the paper).
        noise: add noise to the slowed gradients (off: the paper). RELEASED CODE: on.
        constant_coefficients: CONTROL: pairs (text, vision) of every task, which modulation applies
            whatever the batches say, see :mod:`mkgc_cl.strategies.rate_control` (off: the paper).
        ad_weight: weight of the distillation (0.1: the paper).
        ad_axis: side of the maps that is kept (the width: the paper, for IMNER).
        ad_center: compare what the softmax reads of the maps (ours). PAPER: off.
        exemplars: of every slot (6: the paper).
        memory_scope: a slot is a class (the paper), or a task.
        selection: how exemplars are chosen (K-means: the paper).
        na_policy: what becomes of N/A in the memory (one class like any other: ours).
        replay_schedule: when the memory is trained on (a phase after every task: released code).
        memory_epochs: of that phase; by default as many as the task has (released code).
        memory_batch_size: exemplars per step; by default the task's (released code).
        memory_lr_scale: factor on the learning rates in that phase (1: released code).
    """

    key_lr: float | None = None
    bias_lr: float | None = None
    distillation: bool = True
    modulation: bool = True
    memory: bool = True
    alpha: float = 0.3
    target: Target = "dominant"
    schedule: Schedule = "average"
    noise: bool = False
    constant_coefficients: tuple[tuple[float, ...], ...] | None = None
    ad_weight: float = 0.1
    ad_axis: Axis = "width"
    ad_center: bool = True
    exemplars: int = 6
    memory_scope: Scope = "class"
    selection: Selection = "kmeans"
    na_policy: NaPolicy = "merge"
    replay_schedule: ReplaySchedule = "after"
    memory_epochs: int | None = None
    memory_batch_size: int | None = None
    memory_lr_scale: float = 1.0
