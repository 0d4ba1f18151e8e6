"""Token distillation against the model after the previous task (ExtendNER)."""

from __future__ import annotations

from typing import Any, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from mkgc_cl._checks import above_zero, at_least, one_of, require
from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.processor import IGNORED
from mkgc_cl.errors import ConfigError
from mkgc_cl.models import ExtractionModel, ModelOutput
from mkgc_cl.models.base import negative_log
from mkgc_cl.objectives.token_distillation import Restrict, teacher_words, token_divergence
from mkgc_cl.strategies.plugin import Plugin
from mkgc_cl.strategies.teacher import Teacher
from mkgc_cl.strategies.template import MultimodalStrategy

OUTSIDE = 0
"""Output id of ``O`` in every tagging stream."""


class TokenDistillationPlugin(Plugin, supports_distributed=True):
    r"""Let the previous model label the words that a task calls ``O`` (Monaikul et al., AAAI 2021).

    A task names its own types alone: its ``O`` may hide a type of an earlier task. So from the
    second task on a word with an entity's tag keeps its cross-entropy, and a word ``O`` has in
    place of it ``weight`` times KL(teacher || student). Both are averaged as the softmax tagger's
    own loss is, over all words of a sample and then over samples: with weight 1 every word counts
    as much as it does in plain fine-tuning, whichever of the two it has.

    The teacher is the model as the task finds it
    (:class:`~mkgc_cl.strategies.teacher.Teacher`). Replayed samples, and memory phases, have the
    plain loss. The exchange is added to the loss, which keeps what other plugins add to it, in any
    order.

    Args:
        weight: factor on the divergence, at least 0. 0 switches the plugin off: words ``O`` keep
            their cross-entropy. (They would have no loss at all in the limit of small weights.)
        temperature: T of both, above 0.
        restrict: ``"pad"`` or ``"renormalize"``, see
            :func:`~mkgc_cl.objectives.token_distillation.token_divergence`.

    Attributes:
        teacher: the model of the task before, and its words.
        losses: the divergence of every step, unweighted, averaged as above over its current
            samples.

    Raises:
        ConfigError: an option is not one of the above; later, if the model does not score tags word
            by word: relations have no words ``O``, and a CRF's emissions are no probabilities.
    """

    def __init__(
        self, *, weight: float = 1.0, temperature: float = 1.0, restrict: Restrict = "pad"
    ) -> None:
        super().__init__()
        require(
            at_least("weight", weight, 0),
            above_zero("temperature", temperature),
            one_of("restrict", restrict, get_args(Restrict)),
        )
        self.weight = weight
        self.temperature = temperature
        self.restrict: Restrict = restrict
        self.losses: list[float] = []
        self.teacher: Teacher[Tensor] = Teacher(self._words)

    @property
    def teacher_samples(self) -> int:
        """Samples the teacher has tagged so far, over all tasks."""
        return self.teacher.samples

    def before_train_dataset_adaptation(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Freeze the model the previous task left.

        The earliest callback of a task: a later one would find the new task's tags unmasked, and
        the teacher would have an opinion on what it has never seen.
        """
        if self.weight == 0:
            return
        check_tagger(strategy.network)
        self.teacher.begin_task(strategy)

    def before_backward(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Exchange the cross-entropy of the current samples' words ``O`` for the divergence."""
        teacher = self.teacher.model
        if teacher is None or strategy.phase != "task":
            return
        rows, ranks = strategy.current_rows, strategy.ranks
        own = strategy.batch.size() if strategy.batch.share else 0
        samples, current = ranks.totals([own, len(rows)])
        if current == 0:
            return
        if len(rows) == 0:
            self.losses.append(ranks.total(0.0) / current)
            return
        logits, targets = strategy.output.logits[rows], strategy.mb_y[rows]
        seen = strategy.network.seen_ids
        known, words = self.teacher.answers(strategy.batch, rows), targets.shape[1]
        divergence = token_divergence(
            torch.stack([F.pad(sample, (0, 0, 0, words - len(sample))) for sample in known]),
            logits.index_select(-1, seen),
            teacher.seen[seen],
            temperature=self.temperature,
            restrict=self.restrict,
        )
        labelled = negative_log(logits, targets, seen=seen)  # (N, W)
        share = (targets == OUTSIDE) / (targets != IGNORED).sum(dim=1, keepdim=True)
        distilled, replaced = ((share * each).sum() for each in (divergence, labelled))
        self.losses.append(ranks.total(float(distilled.detach())) / current)
        strategy.loss = strategy.loss + (self.weight * distilled - replaced) / samples

    def after_training_exp(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Let the teacher and what it said go."""
        strategy.when_task_ends(self.teacher.end_task)

    def traces(self) -> dict[str, list[float]]:
        """The divergence of every step."""
        return {"token_distillation_loss": list(self.losses)}

    def state_dict(self) -> dict[str, Any]:
        """What later tasks depend on."""
        return {**self.teacher.state_dict(), "losses": list(self.losses)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.teacher.load_state_dict(state)
        self.losses = list(state["losses"])

    def _words(
        self, batch: MultimodalBatch, output: ModelOutput, model: ExtractionModel
    ) -> list[Tensor]:
        """Log-probabilities of every sample's W words: (W, K)."""
        scores = teacher_words(output.logits, model.seen, temperature=self.temperature)
        lengths = batch.word_mask.sum(dim=1).tolist()
        return [scores[row, :length] for row, length in enumerate(lengths)]


def check_tagger(model: ExtractionModel) -> None:
    """Raise :class:`ConfigError` for a model that does not score tags word by word."""
    if model.labels.kind == "re":
        raise ConfigError(
            [
                "TokenDistillationPlugin distils tags, and this stream has relations; take a "
                "tagging stream, or leave the plugin out"
            ]
        )
    if model.grammar is None:
        raise ConfigError(
            [
                "TokenDistillationPlugin compares the probabilities of single words, which a CRF "
                "does not give; build the model with tagger='softmax'"
            ]
        )
