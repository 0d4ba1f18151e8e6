"""Learn a task: its samples are looked at batch by batch, and learnt together at its end."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from mkgc_cl.errors import ConfigError
from mkgc_cl.models.gaussian.readout import GaussianReadout
from mkgc_cl.models.gaussian.statistics import ClassStatistics

Background = Literal["all", "read-as-O", "soft"]

BLOCK = 1024
"""Samples or words that are added together: every addition goes through all D^2 sums."""


class _Rows(NamedTuple):
    features: Tensor
    labels: Tensor
    weights: Tensor


class TaskLearning:
    """What one task teaches a readout: nothing before :meth:`finish`.

    In a tagging task words of types that it does not annotate are called ``O``. What the readout of
    the tasks before makes of them decides how much they teach ``O`` (the background shift of class-
    incremental tagging; Zhang et al., EMNLP 2023).

    Args:
        readout: what learns.
        background: what words labelled ``O`` teach once the readout has learnt something: ``"all"``
            of them ``O``; only those ``"read-as-O"`` by it; or, ``"soft"``, each as much as its
            probability of ``O``. Relations have no such words.
        annotated: outputs that the task's samples are annotated with although they were learnt
            before: a word labelled ``O`` that is read as one of these is ``O`` all the same.

    Raises:
        ConfigError: there is no such rule.
    """

    def __init__(
        self,
        readout: GaussianReadout,
        *,
        background: Background = "read-as-O",
        annotated: Collection[str] = (),
    ) -> None:
        check_background(background)
        self.readout = readout
        self.background: Background = background
        self._excused = torch.tensor(
            [name == "O" or name in annotated for name in readout.outputs],
            device=readout.counts.device,
        )
        self._task = readout.no_samples()
        self._waiting: list[_Rows] = []

    def look(self, features: Tensor, labels: Tensor) -> Tensor:
        """Take samples, or words: features (N, F) and outputs (N,).

        Returns:
            How much each of them teaches: (N,), 0 to 1.
        """
        rows = _Rows(features, labels, self._weights(features, labels))
        self._waiting.append(rows)
        # a standard, where one is needed, is of the whole first task
        if self.readout.standardized and sum(len(each.labels) for each in self._waiting) >= BLOCK:
            self._learn()
        return rows.weights

    def finish(self, join: Callable[[ClassStatistics], ClassStatistics] | None = None) -> None:
        """Learn what was looked at.

        Args:
            join: adds what others have learnt who looked at other samples of the task.
        """
        if self._waiting:
            if not self.readout.standardized:
                self.readout.standardize(torch.cat([rows.features for rows in self._waiting]))
            self._learn()
        self.readout.statistics.merge(self._task if join is None else join(self._task))

    def _learn(self) -> None:
        features, labels, weights = map(torch.cat, zip(*self._waiting, strict=True))
        self._task.add(self.readout.lifted(features), labels, weights)
        self._waiting = []

    def _weights(self, features: Tensor, labels: Tensor) -> Tensor:
        readout = self.readout
        weights = torch.ones(len(labels), dtype=torch.float64, device=labels.device)
        if readout.outputs[0] != "O" or self.background == "all" or not readout.taught:
            return weights
        words = labels == 0
        read = readout.log_posterior(features[words])
        if self.background == "soft":
            weights[words] = read[:, self._excused].exp().sum(dim=1)
        else:
            weights[words] = self._excused[read.argmax(dim=1)].to(weights)
        return weights


def check_background(background: str) -> None:
    """Raise :class:`ConfigError` for a rule there is not."""
    if background not in get_args(Background):
        raise ConfigError(
            [f"background={background!r}; choose one of {list(get_args(Background))}"]
        )
