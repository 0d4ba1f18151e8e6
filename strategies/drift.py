"""Statistics that move along with an encoder that goes on training."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.processor import IGNORED
from mkgc_cl.errors import ConfigError
from mkgc_cl.models import GaussianReadout, ModelOutput
from mkgc_cl.models.gaussian.drift import drifted_means
from mkgc_cl.models.gaussian.solve import deviations
from mkgc_cl.strategies.plugin import Plugin
from mkgc_cl.strategies.template import MultimodalStrategy


class MovedStatisticsPlugin(Plugin, supports_distributed=True):
    """Move a Gaussian readout's means with the encoder (semantic drift compensation).

    A task's samples are encoded before its first step and after its last. Where they moved to is
    where the means of earlier classes near them are taken to have moved, see
    :func:`~mkgc_cl.models.gaussian.drift.drifted_means`; the scatter stays as it was. No sample is
    kept. Put it before :class:`GaussianReadoutPlugin`, which then adds the task's own.

    Args:
        bandwidth: of the kernel, in standard deviations of a feature, above 0.

    Raises:
        ConfigError: the bandwidth is not above 0; later, if the model has no Gaussian readout, or
            one of random features, whose standard is the first task's encoder.
    """

    def __init__(self, *, bandwidth: float = 0.1) -> None:
        super().__init__()
        if not 0 < bandwidth < float("inf"):
            raise ConfigError([f"bandwidth={bandwidth}; give a number above 0"])
        self.bandwidth = bandwidth
        self._before: Tensor | None = None

    def before_training_exp(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Encode the task's samples as the encoder is before it."""
        readout = GaussianReadout.of(strategy.network)
        if readout.lift is not None:
            raise ConfigError(["statistics of random features cannot be moved; use features='raw'"])
        self._before = self._encoded(strategy) if readout.taught else None

    def after_training_exp(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Encode them again, and move the means."""
        before, self._before = self._before, None
        if before is None:
            return
        statistics = GaussianReadout.of(strategy.network).statistics
        known = statistics.known
        statistics.means[known] = drifted_means(
            statistics.means[known],
            before,
            self._encoded(strategy),
            scale=deviations(statistics),
            bandwidth=self.bandwidth,
        )

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the statistics are the model's."""
        return {}

    def load_state_dict(self, state: dict[str, Any], **kwargs: Any) -> None:
        """Go on from :meth:`state_dict`; features before a task are taken as it begins."""

    @staticmethod
    def _encoded(strategy: MultimodalStrategy) -> Tensor:
        def look(batch: MultimodalBatch, output: ModelOutput, targets: Tensor) -> Tensor:
            features = GaussianReadout.read(output)
            strategy.require_finite(features, "features are", batch)
            return features.flatten(0, -2)[targets.flatten() != IGNORED]

        return strategy.encode_rows(strategy.experience.samples, look).to(strategy.device)
