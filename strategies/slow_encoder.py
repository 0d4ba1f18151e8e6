"""An encoder that goes on training slowly after the first task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mkgc_cl.errors import ConfigError
from mkgc_cl.strategies.plugin import Plugin
from mkgc_cl.strategies.template import MultimodalStrategy


class SlowEncoderPlugin(Plugin, supports_distributed=True):
    """Scale the encoders' learning rates in every task but the first.

    A slow encoder and a head at its own rate (SLCA: Zhang et al., ICCV 2023).

    Args:
        factor: on the rates, above 0.

    Raises:
        ConfigError: the factor is not above 0.
    """

    def __init__(self, *, factor: float) -> None:
        super().__init__()
        if not 0 < factor < float("inf"):
            raise ConfigError([f"factor={factor}; give a number above 0"])
        self.factor = factor
        self._tasks = 0

    def before_update(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Scale the step about to be taken."""
        if self._tasks:
            strategy.scale_step(self._of_group)

    def after_training_exp(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Count the task, when it has ended."""
        strategy.when_task_ends(self._count)

    def _count(self) -> None:
        self._tasks += 1

    def state_dict(self) -> dict[str, Any]:
        """What later tasks depend on."""
        return {"tasks": self._tasks}

    def load_state_dict(self, state: Mapping[str, Any], **kwargs: Any) -> None:
        """Go on from :meth:`state_dict`."""
        self._tasks = int(state["tasks"])

    def _of_group(self, group: Mapping[str, Any]) -> float:
        return self.factor if group.get("role") == "encoder" else 1.0
