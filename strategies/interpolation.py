"""Weights between those of the task before and those of this one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mkgc_cl.errors import ConfigError
from mkgc_cl.models.groups import classify
from mkgc_cl.strategies.plugin import Plugin
from mkgc_cl.strategies.template import MultimodalStrategy


class WeightInterpolationPlugin(Plugin, supports_distributed=True):
    r"""After every task but the first, go only a part of the way that it took the weights.

    .. math:: \theta = \theta_{k-1} + a (\theta_k - \theta_{k-1})

    (WiSE-FT: Wortsman et al., CVPR 2022, between a model and its fine-tuned self.) The head and a
    readout stay as the task left them: rows of new classes have no earlier self. Put it before
    plugins that read the encoder after a task.

    Args:
        share: a, 0 to 1; 1 changes nothing.

    Raises:
        ConfigError: the share is out of range.
    """

    def __init__(self, *, share: float = 0.5) -> None:
        super().__init__()
        if not 0 <= share <= 1:
            raise ConfigError([f"share={share}; give 0 to 1"])
        self.share = share
        self._tasks = 0
        self._before: dict[str, Tensor] = {}

    def before_training_exp(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Note the weights that the task begins with."""
        self._before = {}
        if self._tasks:
            self._before = {
                name: parameter.detach().clone()
                for name, parameter in strategy.network.named_parameters()
                if parameter.requires_grad and classify(name)[1] not in ("head", "readout")
            }

    @torch.no_grad()
    def after_training_exp(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Go back by the rest of the way."""
        for name, parameter in strategy.network.named_parameters():
            if name in self._before:
                parameter.lerp_(self._before[name], 1 - self.share)
        self._before = {}
        strategy.when_task_ends(self._count)

    def _count(self) -> None:
        self._tasks += 1

    def state_dict(self) -> dict[str, Any]:
        """What later tasks depend on."""
        return {"tasks": self._tasks}

    def load_state_dict(self, state: dict[str, Any], **kwargs: Any) -> None:
        """Go on from :meth:`state_dict`; the weights before a task are noted as it begins."""
        self._tasks = int(state["tasks"])
