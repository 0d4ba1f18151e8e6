"""Learning in closed form: after every task, one look at its samples, and no gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from torch import Tensor

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.processor import IGNORED
from mkgc_cl.errors import ConfigError
from mkgc_cl.models import GaussianReadout, ModelOutput
from mkgc_cl.models.gaussian import Background, TaskLearning
from mkgc_cl.strategies.plugin import Plugin
from mkgc_cl.strategies.template import MultimodalStrategy


class GaussianReadoutPlugin(Plugin, supports_distributed=True):
    """Teach the model's :class:`~mkgc_cl.models.GaussianReadout` every task, and predict from it.

    After a task's epochs, if it has any, every sample is encoded once and added to the statistics
    of its label. With an encoder that does not move, nothing is forgotten, no sample is kept, and
    the order of relation tasks changes nothing.

    Where other plugins have a memory phase after a task, put this one behind them.

    In a tagging stream words of other tasks' types are called ``O``. What the readout of the tasks
    before makes of them decides how much they teach ``O`` (the background shift of class-
    incremental tagging; Zhang et al., EMNLP 2023). With ``background="all"`` the order of tasks
    changes nothing there either.

    Args:
        trained_tasks: how many of the first tasks train by gradient before they are read; the ones
            after them train no epoch. 0 freezes the encoder as it came; ``None`` trains every task,
            and leaves the statistics of earlier ones to an encoder that no longer is.
        background: what words labelled ``O`` teach from the second task on: ``"all"`` of them
            ``O``; only those ``"read-as-O"`` by the readout so far; or, ``"soft"``, each as much as
            its probability of ``O``. Relations have no such words.

    Raises:
        ConfigError: an option is not one of the above, or the model has no such readout.
    """

    def __init__(
        self, *, trained_tasks: int | None = 0, background: Background = "read-as-O"
    ) -> None:
        super().__init__()
        wrong = []
        if trained_tasks is not None and trained_tasks < 0:
            wrong.append(f"trained_tasks={trained_tasks}; give 0 or more, or None for all")
        if background not in get_args(Background):
            wrong.append(f"background={background!r}; choose one of {list(get_args(Background))}")
        if wrong:
            raise ConfigError(wrong)
        self.trained_tasks = trained_tasks
        self.background: Background = background
        self._tasks = 0

    def before_training_exp(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Check that the readout is there; let a task after the trained ones train no epoch."""
        GaussianReadout.of(strategy.network)
        if self.trained_tasks is not None and self._tasks >= self.trained_tasks:
            strategy.train_no_epoch()

    def after_training_exp(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Look once at every sample of the task, then learn them together.

        Processes that share the training look at a share each, and add what they have learnt; at
        all samples where random features wait for a standard, which is the whole first task's.
        """
        readout = GaussianReadout.of(strategy.network)
        task = TaskLearning(readout, background=self.background)

        def look(batch: MultimodalBatch, output: ModelOutput, targets: Tensor) -> None:
            features = readout.read(output)
            strategy.require_finite(features, "features are", batch)
            features, labels = features.flatten(0, -2), targets.flatten()
            real = labels != IGNORED
            task.look(features[real], labels[real])

        shared = readout.standardized
        strategy.encode_samples(strategy.experience.samples, look, shared=shared)
        task.finish(strategy.ranks.joined if shared else None)
        strategy.when_task_ends(self._count)

    def _count(self) -> None:
        self._tasks += 1

    def state_dict(self) -> dict[str, Any]:
        """What later tasks depend on; the statistics are the model's."""
        return {"tasks": self._tasks}

    def load_state_dict(self, state: Mapping[str, Any], **kwargs: Any) -> None:
        """Go on from :meth:`state_dict`.

        Args:
            state: the state.
            **kwargs: what other plugins need.
        """
        self._tasks = int(state["tasks"])
