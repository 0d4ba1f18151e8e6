"""A loss among the running task's own classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from mkgc_cl.strategies.plugin import Plugin
from mkgc_cl.strategies.template import MultimodalStrategy


class OwnClassesPlugin(Plugin, supports_distributed=True):
    """Let a task's loss be among its own classes and N/A (``O``) alone, not all seen so far.

    What the head says of earlier classes is then not pushed down by a task that has none of them
    (separated softmax: Ahn et al., ICCV 2021, for classes; N/A, which recurs, is in every group).
    The exchange is added to the loss, which keeps what other plugins add to it. Memory phases have
    the plain loss.
    """

    def before_backward(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Exchange the model's loss for that among the task's classes."""
        if strategy.phase != "task" or strategy.ranks.any(bool(strategy.batch.replayed.any())):
            return
        network = strategy.network
        own = network.labels.output_ids(strategy.experience.classes)
        ids = torch.tensor(own, device=strategy.device)
        among = replace(strategy.output, seen=ids)
        strategy.loss = (
            strategy.loss
            + strategy.mean_loss(network.loss(among, strategy.mb_y))
            - strategy.mean_loss(network.loss(strategy.output, strategy.mb_y))
        )
