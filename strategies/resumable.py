"""A strategy that is saved, and goes on from what was saved."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mkgc_cl.checkpoints.folder import CheckpointFolder
from mkgc_cl.data.samples import Sample
from mkgc_cl.strategies.checkpoints import (
    Checkpointing,
    Checkpoints,
    Resumed,
    found_by_first,
    keep,
    resume,
)

if TYPE_CHECKING:
    from mkgc_cl.strategies.template import MultimodalStrategy


class Resumable:
    """The side of a strategy that checkpoints use."""

    _checkpoints: Checkpoints | None
    _resumed: Resumed | None

    def save(self, folder: str | Path, *, carry_samples: bool = True) -> None:
        """Write a checkpoint between two tasks; the last two of a folder are kept.

        It holds the model, the optimizer, the plugins, what was measured, and where training is.
        Values of Avalanche's own metrics are not in it.

        Args:
            folder: the folder.
            carry_samples: with the samples that plugins hold, and their images where the model
                looks at any, so that data of old tasks are not needed to go on.

        Raises:
            ConfigError: a plugin has a state that it does not tell, or a task is being trained.
            OutputError: it cannot be written.
        """
        Checkpoints.save(self._whole, folder, carry_samples=carry_samples)

    def resume(self, folder: str | Path, *, samples: Iterable[Sample] = ()) -> int:
        """Go on from the last checkpoint of a folder that is whole.

        Args:
            folder: that of :meth:`save`, or of :func:`~mkgc_cl.strategies.run_stream`.
            samples: where samples are found that plugins hold and the checkpoint does not carry.

        Returns:
            How many tasks were trained: the next one is ``benchmark.train_stream[n]``. If the
            checkpoint is within that task, ``train`` goes on from there.

        Raises:
            ConfigError: naming every setting in which this strategy differs from the one saved.
            MissingDataError: there is no checkpoint.
            DataError: none is whole, or a sample is not there.
        """
        place = CheckpointFolder(folder)
        found = found_by_first(self._whole, place, place.require)
        self._resumed = resume(self._whole, place, found or place.require(), samples, {})
        return self._resumed.trained

    def keep_checkpoints(self, asked: Checkpointing, *, samples: Iterable[Sample] = ()) -> Resumed:
        """Go on from the last checkpoint, if there is one, and write more of them from now on.

        Args:
            asked: where and how often.
            samples: where samples are found that plugins hold.

        Returns:
            What was gone on from.

        Raises:
            ConfigError: as of :meth:`resume`.
        """
        self._checkpoints, resumed = keep(self._whole, asked, samples)
        self._resumed = resumed
        return resumed

    @property
    def _whole(self) -> MultimodalStrategy:
        return cast("MultimodalStrategy", self)
