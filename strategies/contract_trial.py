"""Systems on trial: small runs of a recipe, and what can be compared of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor

from mkgc_cl.data.demo import demo_stream
from mkgc_cl.data.samples import LabelSpace, Sample, TaskKind, TaskStream
from mkgc_cl.models import TextModel
from mkgc_cl.scenarios import make_benchmark
from mkgc_cl.strategies.recipe import Encoders, Training, assemble
from mkgc_cl.strategies.template import MultimodalStrategy

Weights = dict[str, Tensor]


@dataclass
class Trial:
    """A recipe under test, and the run that most laws compare theirs with.

    Args:
        recipe: the recipe.
        kind: the task.
        options: options of the recipe.
    """

    recipe: Callable[..., MultimodalStrategy]
    kind: TaskKind
    options: dict[str, Any]

    @cached_property
    def stream(self) -> TaskStream:
        """The first two tasks of the synthetic stream."""
        return tiny_stream(self.kind)

    @property
    def name(self) -> str:
        """The recipe in words."""
        plain = inspect.unwrap(self.recipe)
        return str(getattr(plain, "__name__", plain))

    def build(self, labels: LabelSpace, *, seed: int = 0, **options: Any) -> MultimodalStrategy:
        """A fresh strategy with tiny encoders."""
        training = Training(epochs=1, batch_size=8, lr=1e-3, seed=seed)
        encoders = Encoders(max_text_length=64)
        return self.recipe(labels, encoders, training, **{**self.options, **options})

    def run(self, stream: TaskStream, *, tasks: int = 2, **options: Any) -> MultimodalStrategy:
        """A strategy trained on the first tasks of a stream."""
        strategy = self.build(stream.labels, **options)
        for experience in make_benchmark(stream).train_stream[:tasks]:
            strategy.train(experience)
        return strategy

    @cached_property
    def first(self) -> MultimodalStrategy:
        """Seed 0, the first task alone; to look at."""
        return self.run(self.stream, tasks=1)

    @cached_property
    def plain(self) -> MultimodalStrategy:
        """Seed 0, both tasks, nothing else."""
        return self.run(self.stream)


def tiny_stream(kind: TaskKind, *, tasks: int = 2) -> TaskStream:
    """Small tasks of the synthetic stream, the first ones."""
    stream = demo_stream(kind, seed=3, train_per_task=12, test_size=24)
    first = stream.tasks[:tasks]
    classes = tuple(name for task in first for name in task.classes)
    return TaskStream(stream.name, replace(stream.labels, classes=classes), first, {})


def weights(strategy: MultimodalStrategy) -> Weights:
    """A copy of a strategy's model, without the names of its outputs."""
    state = strategy.network.state_dict()
    return {
        name: value.clone() for name, value in state.items() if not name.endswith("_extra_state")
    }


def same(one: Weights, other: Weights) -> bool:
    """Whether two models agree to the last bit."""
    return one.keys() == other.keys() and all(torch.equal(v, other[n]) for n, v in one.items())


def common_rows(larger: Weights, smaller: Weights) -> Weights:
    """What of a model belongs to another one with fewer outputs: the first rows of every tensor."""
    found = {}
    for name, value in larger.items():
        shape = smaller[name].shape if name in smaller else value.shape
        found[name] = value[tuple(slice(size) for size in shape)]
    return found


def exemplars_of(strategy: MultimodalStrategy) -> list[str]:
    """Identities of the samples that a strategy's plugins tell that they keep."""
    holders = [plugin for plugin in strategy.plugins if hasattr(plugin, "exemplars")]
    return [sample.identity for plugin in holders for sample in plugin.exemplars()]


def predict(strategy: MultimodalStrategy, samples: list[Sample]) -> list[list[int]]:
    """Best output ids of samples."""
    network = strategy.network
    training = network.training
    network.eval()
    batch, _ = network.processor.collate(samples)
    with torch.no_grad():
        output = network(batch)
        found = network.decode(replace(output.scores_only(), logits=network.read_out(output)))
    network.train(training)
    return found


@lru_cache
def attributes_of_a_strategy(kind: TaskKind) -> frozenset[str]:
    """What the template itself keeps from one task to the next, its running loader and batch."""
    stream = tiny_stream(kind)
    model = TextModel.build(stream.labels, max_text_length=64, seed=0)
    strategy = assemble(model, Training(epochs=1, batch_size=8, lr=1e-3))
    for experience in make_benchmark(stream).train_stream:
        strategy.train(experience)
    return frozenset(vars(strategy))
