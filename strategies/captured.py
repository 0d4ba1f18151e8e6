"""The state of a strategy: all that training reads and that is not made anew."""

from __future__ import annotations

import hashlib
import inspect
import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from avalanche.training.templates.base_sgd import PeriodicEval

from mkgc_cl.data.samples import Sample
from mkgc_cl.errors import ConfigError, MkgcError

if TYPE_CHECKING:
    from mkgc_cl.strategies.template import MultimodalStrategy

State = dict[str, Any]
"""By part, each in a file of its own: what did not change is not written again."""


def captured(strategy: MultimodalStrategy, draws: Mapping[str, Any] | None = None) -> State:
    """Return the state of a strategy.

    Args:
        strategy: the strategy.
        draws: within a task, the global generators (:func:`draws_of`), which every task sets anew.

    Raises:
        ConfigError: a plugin has a state that it does not tell.
    """
    plugins = plugins_of(strategy)
    if wrong := untold(strategy):
        raise ConfigError(wrong)
    return {
        "model": strategy.network.state_dict(),
        "optimizer": strategy.optimizer.state_dict(),
        **{f"plugin-{number}": _told(plugin) for number, plugin in enumerate(plugins)},
        "rest": {
            "metrics": [metric.state_dict() for metric in _metrics(strategy)],
            "clock": {n: v for n, v in vars(strategy.clock).items() if isinstance(v, int)},
            "stop": strategy._stop_training,
            "draws": draws,
        },
    }


def restore(strategy: MultimodalStrategy, state: State, samples: Iterable[Sample]) -> None:
    """Let a strategy be in a state that :func:`captured` gave.

    Args:
        strategy: built as the other one was.
        state: the state.
        samples: where samples that plugins hold are found.
    """
    network, samples = strategy.network.to(strategy.device), list(samples)
    network.load_state_dict(state["model"])
    strategy.optimizer.load_state_dict(state["optimizer"])
    for number, plugin in enumerate(plugins_of(strategy)):
        if hasattr(plugin, "load_state_dict"):
            takes = "samples" in inspect.signature(plugin.load_state_dict).parameters
            own = state[f"plugin-{number}"]
            with _named(plugin, "load_state_dict"):
                plugin.load_state_dict(own, **({"samples": samples} if takes else {}))
    rest = state["rest"]
    for metric, own in zip(_metrics(strategy), rest["metrics"], strict=True):
        metric.load_state_dict(own)
    for count, value in rest["clock"].items():
        setattr(strategy.clock, count, value)
    strategy._stop_training = rest["stop"]
    if rest["draws"] is not None:
        _redraw(strategy, rest["draws"])


def name_of(strategy: MultimodalStrategy, part: str) -> str:
    """A part of a state in a user's words: a plugin is called by its class."""
    kind, _, number = part.partition("-")
    if kind != "plugin":
        return part
    return f"{type(plugins_of(strategy)[int(number)]).__name__}.state_dict()"


def plugins_of(strategy: MultimodalStrategy) -> list[Any]:
    """A strategy's plugins without those that Avalanche adds to every one."""
    added = (strategy.evaluator, strategy.clock)
    return [p for p in strategy.plugins if p not in added and not isinstance(p, PeriodicEval)]


def untold(strategy: MultimodalStrategy) -> list[str]:
    """What keeps a strategy from being saved: plugins that hold something and do not tell it."""
    return [
        f"{type(plugin).__name__} has no state_dict() and load_state_dict(), so that what it holds "
        "would be lost in a checkpoint; give it both"
        for plugin in plugins_of(strategy)
        if vars(plugin)
        and not (hasattr(plugin, "state_dict") and hasattr(plugin, "load_state_dict"))
    ]


def held_samples(strategy: MultimodalStrategy) -> list[Sample]:
    """Samples that plugins hold, and will be given when their state is loaded."""
    return [
        sample
        for plugin in plugins_of(strategy)
        for name in ("exemplars", "held_samples")
        if hasattr(plugin, name)
        for sample in getattr(plugin, name)()
    ]


def made_for(strategy: MultimodalStrategy) -> dict[str, Any]:
    """What two strategies have in common of which one can go on from a state of the other."""
    network, optimizer = strategy.network, strategy.optimizer
    shapes = [(name, tuple(tensor.shape)) for name, tensor in network.state_dict().items()]
    groups = [{k: _plain(v) for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    return {
        "labels": list(network.labels.outputs),
        "model": {"kind": type(network).__name__, **dict(network.built_with)},
        "tokenizer": [
            type(network.processor.tokenizer).__name__,
            list(network.processor.tokenizer.marker_ids),
        ],
        "images": network.processor.views.looks,
        "weights": f"{len(shapes)} of {hashlib.sha256(repr(shapes).encode()).hexdigest()[:12]}",
        "optimizer": {
            "kind": type(optimizer).__name__,
            # a scheduler changes a rate while it trains, and notes what it was
            "groups": [{**group, "lr": group.get("initial_lr", group["lr"])} for group in groups],
        },
        "plugins": {
            str(number): {"kind": type(plugin).__name__, **_options(plugin)}
            for number, plugin in enumerate(plugins_of(strategy))
        },
        "train_mb_size": strategy.train_mb_size,
        "train_epochs": strategy.train_epochs,
        "precision": strategy._precision,
        "steps": asdict(strategy._steps),
        "seed": strategy._seed,
        "device": strategy.device.type,
    }


def _told(plugin: Any) -> Any:
    if not hasattr(plugin, "state_dict"):
        return {}
    with _named(plugin, "state_dict"):
        return plugin.state_dict()


@contextmanager
def _named(plugin: object, method: str) -> Iterator[None]:
    """Say which plugin it is that fails; what this package says already does."""
    try:
        yield
    except MkgcError:
        raise
    except Exception as error:
        wrong = f"{type(plugin).__name__}.{method}() fails: {type(error).__name__}: {error}"
        raise ConfigError([f"{wrong}; mend it, or leave the plugin out"]) from error


def _options(plugin: object) -> dict[str, Any]:
    """Arguments that a plugin was built with and shows."""
    names = inspect.signature(type(plugin)).parameters
    return {name: _plain(getattr(plugin, name)) for name in names if hasattr(plugin, name)}


def _plain(value: object) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, bool | int | float | str | None) else repr(type(value))


def _metrics(strategy: MultimodalStrategy) -> list[Any]:
    """Metrics that tell what they measured; Avalanche's own begin anew."""
    return [metric for metric in strategy.evaluator.metrics if hasattr(metric, "load_state_dict")]


def draws_of(strategy: MultimodalStrategy) -> dict[str, Any]:
    """States of the global generators, which dropout draws from: in every process another one.

    All processes that share the training call it.
    """
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    own = [torch.get_rng_state(), *map(torch.cuda.get_rng_state, strategy._cuda_devices())]
    of_rank = [strategy.ranks.same_size(state) for state in own]
    return {
        "torch": of_rank[0],
        "cuda": of_rank[1:],
        "python": random.getstate(),
        "numpy": (kind, np.asarray(keys).tolist(), position, has_gauss, gauss),
    }


def _redraw(strategy: MultimodalStrategy, draws: Mapping[str, Any]) -> None:
    rank = strategy.ranks.rank
    if rank < len(draws["torch"]):  # a process more than there were goes on from its task's seed
        torch.set_rng_state(draws["torch"][rank])
        for device, states in zip(strategy._cuda_devices(), draws["cuda"], strict=True):
            torch.cuda.set_rng_state(states[rank], device)
    random.setstate(draws["python"])
    np.random.set_state(draws["numpy"])
