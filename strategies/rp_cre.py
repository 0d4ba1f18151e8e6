"""RP-CRE: refining samples by attention over relation prototypes (Cui et al., ACL 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mkgc_cl._checks import at_least
from mkgc_cl.data.samples import Sample
from mkgc_cl.errors import ConfigError
from mkgc_cl.memory.exemplars import NaPolicy
from mkgc_cl.memory.selection import select_exemplars
from mkgc_cl.models import MemoryAttentionReadout, ModelOutput
from mkgc_cl.models.base import negative_log
from mkgc_cl.models.prototypes import class_prototypes
from mkgc_cl.strategies.memory import ExemplarPlugin
from mkgc_cl.strategies.template import MultimodalStrategy


class RPCREPlugin(ExemplarPlugin, supports_distributed=True):
    """Train an attention memory network on exemplars after every task, and predict through it.

    After the task's epochs, exemplars of every relation are chosen by K-means, and prototypes are
    their means. Then encoder, head and a new network train on the memory alone, samples refined by
    attention over the prototypes, which stay as they are. At last the task's exemplars are chosen
    again, and all prototypes are taken anew, with the encoder as it has become.

    The network is a :class:`~mkgc_cl.models.MemoryAttentionReadout` that the model must have before
    its optimizer is built (``build_optimizer(..., readout_lr=...)`` gives it a rate of its own). It
    trains in the memory phase only; until the first one the head predicts, and an evaluation within
    a task reads the network of the tasks before.

    RELEASED CODE: prototypes of earlier relations are taken before the task's epochs; here all are
    of the same encoder. RELEASED CODE: features for K-means and prototypes are drawn under dropout.

    Args:
        size: exemplars per relation, at least 0; 0 does nothing at all.
        memory_epochs: epochs of the memory phase.
        na_policy: what becomes of N/A; see :class:`PrototypeReplayPlugin`.
        reset_network: start every memory phase with a new network and no momentum of the old one
            (RELEASED CODE); off, it learns on.
        batch_size: exemplars per step; the training batch size by default.
        lr_scale: factor on the learning rates of encoder and head in the memory phase, above 0; the
            network keeps its own.
        seed: seed of selection, order and new networks.

    Raises:
        ConfigError: an option is not one of the above, the stream is of tags, the model has no
            ``MemoryAttentionReadout``, or the optimizer does not know its parameters.
    """

    def __init__(
        self,
        *,
        size: int = 10,
        memory_epochs: int = 10,
        na_policy: NaPolicy = "merge",
        reset_network: bool = True,
        batch_size: int | None = None,
        lr_scale: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(
            size=size,
            scope="class",
            na_policy=na_policy,
            batch_size=batch_size,
            lr_scale=lr_scale,
            seed=seed,
            draws={
                "selection": "exemplar-selection",
                "order": "rp-cre-order",
                "network": "memory-networks",
            },
            problems=at_least("memory_epochs", memory_epochs, 1),
        )
        self.memory_epochs = memory_epochs
        self.reset_network = reset_network

    def before_training_exp(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Check that the network is there and will learn."""
        if self.size == 0:
            return
        if strategy.network.labels.kind != "re":
            raise ConfigError(
                ["RP-CRE is a method for relations, this stream has tags; choose EMAR or another"]
            )
        readout = MemoryAttentionReadout.of(strategy.network)
        known = {id(p) for group in strategy.optimizer.param_groups for p in group["params"]}
        if not {id(parameter) for parameter in readout.parameters()} <= known:
            raise ConfigError(
                [
                    "the optimizer does not know the memory network's parameters; set "
                    "model.readout first, then build the optimizer"
                ]
            )

    def after_training_exp(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Choose exemplars, train on them through the network, choose again."""
        if self.size == 0:
            return
        readout = MemoryAttentionReadout.of(strategy.network)
        before = self.store.copy()
        self._fill(strategy)
        self._take_prototypes(strategy, readout)
        if self.reset_network:
            readout.reset(self._draws["network"])
            for parameter in readout.parameters():
                strategy.optimizer.state.pop(parameter, None)

        def loss(output: ModelOutput, targets: Tensor) -> Tensor:
            return negative_log(readout(output), targets, seen=output.seen)

        strategy.memory_phase(
            self.store.exemplars(),
            epochs=self.memory_epochs,
            batch_size=self.batch_size or strategy.train_mb_size,
            source=self._draws["order"],
            lr_scale=self.lr_scale,
            loss=loss,
        )
        # from the same candidates as before: N/A may have lost exemplars, or grown, just now
        self.store = before
        self._fill(strategy)
        self._take_prototypes(strategy, readout)

    def _fill(self, strategy: MultimodalStrategy) -> None:
        def choose(slot: str, candidates: Sequence[Sample]) -> list[int]:
            features = strategy.features(candidates)
            source = self._draws["selection"]
            return select_exemplars(features, self.size, selection="kmeans", source=source)

        self.fill(strategy, choose)

    def _take_prototypes(
        self, strategy: MultimodalStrategy, readout: MemoryAttentionReadout
    ) -> None:
        memory = self.store.exemplars()
        if not memory:
            return
        network = strategy.network
        ids = torch.tensor([network.processor.target(sample)[0] for sample in memory])
        readout.store(
            class_prototypes(
                strategy.features(memory), ids, classes=len(readout.known), unit_norm=False
            )
        )
