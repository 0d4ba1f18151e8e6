"""RP-CRE: refining samples by attention over relation prototypes (Cui et al., ACL 2021)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor

from mkgc_cl.data.samples import Sample
from mkgc_cl.errors import ConfigError
from mkgc_cl.memory.exemplars import NaPolicy
from mkgc_cl.memory.selection import select_exemplars
from mkgc_cl.models import MemoryAttentionReadout, ModelOutput
from mkgc_cl.models.base import negative_log
from mkgc_cl.models.prototypes import class_prototypes
from mkgc_cl.seeds import generator
from mkgc_cl.strategies.exemplar_store import CHOICES, ExemplarStore, running_task, wrong_options
from mkgc_cl.strategies.template import MultimodalStrategy


class RPCREPlugin(SupervisedPlugin):
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
        super().__init__()
        given, counts = {"na_policy": na_policy}, {"batch_size": batch_size}
        wrong = wrong_options(given, CHOICES, size=size, counts=counts, lr_scale=lr_scale)
        if memory_epochs < 1:
            wrong.append(f"memory_epochs={memory_epochs}; give 1 or more")
        if wrong:
            raise ConfigError(wrong)
        self.size = size
        self.memory_epochs = memory_epochs
        self.na_policy: NaPolicy = na_policy
        self.reset_network = reset_network
        self.batch_size = batch_size
        self.lr_scale = lr_scale
        self.store = ExemplarStore()
        self._selection = generator(seed, "exemplar-selection")
        self._order = generator(seed, "rp-cre-order")
        self._network = generator(seed, "memory-networks")

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
            readout.reset(self._network)
            for parameter in readout.parameters():
                strategy.optimizer.state.pop(parameter, None)

        def loss(output: ModelOutput, targets: Tensor) -> Tensor:
            return negative_log(readout(output), targets, seen=output.seen).mean()

        strategy.memory_phase(
            self.store.exemplars(),
            epochs=self.memory_epochs,
            batch_size=self.batch_size or strategy.train_mb_size,
            source=self._order,
            lr_scale=self.lr_scale,
            loss=loss,
        )
        # from the same candidates as before: N/A may have lost exemplars, or grown, just now
        self.store = before
        self._fill(strategy)
        self._take_prototypes(strategy, readout)

    def exemplars(self) -> list[Sample]:
        """Every stored sample."""
        return self.store.exemplars()

    def state_dict(self) -> dict[str, Any]:
        """What later tasks depend on; network and prototypes are the model's."""
        return {
            "exemplars": self.store.state_dict(),
            "selection": self._selection.get_state(),
            "order": self._order.get_state(),
            "network": self._network.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any], *, samples: Iterable[Sample]) -> None:
        """Go on from :meth:`state_dict`.

        Args:
            state: the state.
            samples: where the stored identities are found: the training samples of the stream.

        Raises:
            DataError: a stored identity is not among them.
        """
        self.store.load_state_dict(state["exemplars"], samples=samples)
        self._selection.set_state(state["selection"])
        self._order.set_state(state["order"])
        self._network.set_state(state["network"])

    def _fill(self, strategy: MultimodalStrategy) -> None:
        def choose(slot: str, candidates: Sequence[Sample]) -> list[int]:
            features = strategy.features(candidates)
            return select_exemplars(features, self.size, selection="kmeans", source=self._selection)

        self.store.fill(
            running_task(strategy), scope="class", na_policy=self.na_policy, choose=choose
        )

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
