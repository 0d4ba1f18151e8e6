"""Avalanche's own strategy classes (Naive, Replay, ...) on our experiences and models."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, TypeVar, cast

import torch
from avalanche.core import SupervisedPlugin
from avalanche.models import DynamicModule
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.processor import IGNORED, Processor
from mkgc_cl.data.readiness import require_samples
from mkgc_cl.errors import ConfigError
from mkgc_cl.models import ExtractionModel, ModelOutput
from mkgc_cl.scenarios.benchmark import KnowledgeExperience, avalanche_dataset, experiences_of
from mkgc_cl.strategies.compatibility import refusals, refuse
from mkgc_cl.strategies.distributed import current_ranks
from mkgc_cl.strategies.measured import measure

Strategy = TypeVar("Strategy", bound=SupervisedTemplate)


class RowModel(DynamicModule):
    """A model as Avalanche's strategies want one: (N, C) scores, a row per sample or word.

    Args:
        network: the model. Its loss is not used, but the strategy's criterion on the rows.

    Attributes:
        output: of the last batch without gradients, its scores and masks.
    """

    def __init__(self, network: ExtractionModel) -> None:
        super().__init__()
        self.network = network
        self.output: ModelOutput | None = None

    def adaptation(self, experience: KnowledgeExperience) -> None:
        """Announce the classes of a task that is about to be trained."""
        if experience.origin_stream.name == "train":
            self.network.observe(experience.classes)

    def forward(self, batch: MultimodalBatch) -> Tensor:
        """Score a batch: (N, C)."""
        output: ModelOutput = self.network(batch)
        if not torch.is_grad_enabled():
            self.output = output.scores_only()
        return output.scores


def adapt_strategy(strategy_class: type[Strategy]) -> type[Strategy]:
    """Return a strategy class of Avalanche that trains our models on our experiences.

    Its ``model`` is an :class:`~mkgc_cl.models.ExtractionModel`, which it trains as a classifier of
    samples, or word by word as a tagger. All else is Avalanche's: its loop, its loaders, its draws
    from global generators. For runs of one's own :class:`MultimodalStrategy` is the better choice;
    this is for comparing with Avalanche.

    Args:
        strategy_class: such as ``avalanche.training.supervised.Naive``.

    Raises:
        ConfigError: the class cannot work here; or, as it is instantiated, it cannot work for the
            task of the model, the model tags by a CRF, or a plugin, metric or logger cannot work.
    """
    refuse([strategy_class])

    class Adapted(strategy_class):  # type: ignore[misc, valid-type]
        def __init__(
            self,
            *,
            model: ExtractionModel,
            plugins: Sequence[SupervisedPlugin] | None = None,
            **settings: Any,
        ) -> None:
            if model.crf is not None:
                raise ConfigError(
                    [
                        "Avalanche's strategies tag word by word, without a CRF; build the model "
                        "with tagger='softmax'"
                    ]
                )
            if current_ranks().shared:
                raise ConfigError(
                    ["Avalanche's strategies share no training; run them in one process"]
                )
            super().__init__(model=RowModel(model), plugins=list(plugins or ()), **settings)
            parts = [strategy_class, *(plugins or ()), *self.evaluator.metrics]
            problems = refusals(
                [*parts, *self.evaluator.loggers],
                task=model.labels.kind,
                device=self.device.type,
            )
            if problems:
                raise ConfigError(problems)
            measure(self.evaluator)

        @property
        def network(self) -> ExtractionModel:
            return cast(ExtractionModel, self.model.network)

        def train(
            self, experiences: Any, eval_streams: Sequence[Any] = (), **kwargs: Any
        ) -> dict[str, Any]:
            bound = [self._bind(experience) for experience in experiences_of(experiences)]
            streams = [[self._bind(e) for e in experiences_of(stream)] for stream in eval_streams]
            metrics: dict[str, Any] = super().train(bound, streams, **kwargs)
            return metrics

        def eval(self, experiences: Any, **kwargs: Any) -> dict[str, Any]:
            bound = [self._bind(experience) for experience in experiences_of(experiences)]
            metrics: dict[str, Any] = super().eval(bound, **kwargs)
            return metrics

        def decoded(self) -> list[list[int]]:
            decoded: list[list[int]] = self.network.decode(self.model.output)
            return decoded

        def gold(self) -> list[Any]:
            rows: list[int] = self.mb_y.tolist()
            if "word_mask" not in self.mb_x:
                return rows
            left = iter(rows)
            words = self.mb_x["word_mask"].sum(dim=1).tolist()
            return [list(islice(left, count)) for count in words]

        def _bind(self, experience: KnowledgeExperience) -> KnowledgeExperience:
            return rows_of(experience, self.network.processor)

    Adapted.__name__ = Adapted.__qualname__ = f"Adapted{strategy_class.__name__}"
    return Adapted


def rows_of(experience: KnowledgeExperience, processor: Processor) -> KnowledgeExperience:
    """Return an experience whose batches are for :class:`RowModel`: inputs, rows, task labels."""

    def collate(items: Sequence[Sequence[Any]]) -> list[Any]:
        batch, labels = processor.collate([item[0] for item in items])
        rows = labels[labels != IGNORED]
        return [batch, rows, torch.zeros_like(rows)]

    require_samples([experience.samples], processor)
    return experience.bind(avalanche_dataset(experience.dataset, collate_fn=collate))
