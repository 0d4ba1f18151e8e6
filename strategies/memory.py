"""The base of plugins that keep exemplars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, get_args

from torch import Tensor

from mkgc_cl._checks import above_zero, at_least, one_of, require
from mkgc_cl.data.samples import Sample
from mkgc_cl.memory.exemplars import ExemplarMemory, NaPolicy
from mkgc_cl.seeds import generator
from mkgc_cl.strategies.exemplar_store import Choose, ExemplarStore, Scope, running_task
from mkgc_cl.strategies.plugin import Plugin
from mkgc_cl.strategies.plugin_interface import PluginInterface


class ExemplarPlugin(Plugin):
    """Keeps samples of finished tasks, and tells which: ``exemplars()``.

    Args:
        size: exemplars per slot, at least 0.
        scope: a slot is a class or a task.
        na_policy: what becomes of N/A; see :class:`~mkgc_cl.strategies.PrototypeReplayPlugin`.
        batch_size: exemplars per step; ``None`` for the strategy's.
        lr_scale: factor on the learning rates of a memory phase, above 0.
        seed: of every draw.
        draws: names of generators by the name under which their state is saved.
        problems: what is wrong with the subclass's own options, to be told with the rest.

    Attributes:
        store: the samples.

    Raises:
        ConfigError: an option is not one of the above, or any of ``problems``.
    """

    def __init__(
        self,
        *,
        size: int,
        scope: Scope,
        na_policy: NaPolicy,
        batch_size: int | None,
        lr_scale: float,
        seed: int,
        draws: Mapping[str, str],
        problems: Sequence[str] = (),
    ) -> None:
        super().__init__()
        require(
            at_least("size", size, 0),
            one_of("scope", scope, get_args(Scope)),
            one_of("na_policy", na_policy, get_args(NaPolicy)),
            at_least("batch_size", batch_size, 1, none="the strategy's"),
            above_zero("lr_scale", lr_scale),
            problems,
        )
        self.size = size
        self.scope: Scope = scope
        self.na_policy: NaPolicy = na_policy
        self.batch_size = batch_size
        self.lr_scale = lr_scale
        self.store = ExemplarStore()
        self._draws = {key: generator(seed, name) for key, name in draws.items()}

    def exemplars(self) -> list[Sample]:
        """Every stored sample."""
        return self.store.exemplars()

    @property
    def memory(self) -> ExemplarMemory:
        """The exemplars' identities by slot."""
        return self.store.memory

    def fill(self, strategy: PluginInterface, choose: Choose) -> None:
        """Keep samples of the running task.

        Args:
            strategy: what trains on it.
            choose: rows to keep of a slot's candidates, from the slot's name and the candidates.
        """
        strategy.if_cut_off(partial(self._restore, self.store.copy(), self._drawn()))
        self.store.fill(
            running_task(strategy), scope=self.scope, na_policy=self.na_policy, choose=choose
        )

    def state_dict(self) -> dict[str, Any]:
        """What later tasks depend on: identities of the samples, and the generators."""
        return {"exemplars": self.store.state_dict(), **self._drawn()}

    def load_state_dict(self, state: Mapping[str, Any], *, samples: Iterable[Sample]) -> None:
        """Go on from :meth:`state_dict`.

        Args:
            state: the state.
            samples: where the stored identities are found: the training samples of the stream.

        Raises:
            DataError: a stored identity is not among them.
        """
        self.store.load_state_dict(state["exemplars"], samples=samples)
        self._restore(self.store, state)

    def _drawn(self) -> dict[str, Tensor]:
        return {key: source.get_state() for key, source in self._draws.items()}

    def _restore(self, store: ExemplarStore, drawn: Mapping[str, Any]) -> None:
        self.store = store
        for key, source in self._draws.items():
            source.set_state(drawn[key])
