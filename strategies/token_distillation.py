"""Token distillation against the model after the previous task (ExtendNER)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor
from torch.nn import functional as F

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.processor import IGNORED
from mkgc_cl.errors import ConfigError
from mkgc_cl.models import ExtractionModel, ModelOutput
from mkgc_cl.models.base import negative_log
from mkgc_cl.objectives.token_distillation import Restrict, teacher_words, token_divergence
from mkgc_cl.strategies.template import MultimodalStrategy

OUTSIDE = 0
"""Output id of ``O`` in every tagging stream."""


class TokenDistillationPlugin(SupervisedPlugin):
    r"""Let the previous model label the words that a task calls ``O`` (Monaikul et al., AAAI 2021).

    A task names its own types alone: its ``O`` may hide a type of an earlier task. So from the
    second task on a word with an entity's tag keeps its cross-entropy, and a word ``O`` has in
    place of it ``weight`` times KL(teacher || student). Both are averaged as the softmax tagger's
    own loss is, over all words of a sample and then over samples: with weight 1 every word counts
    as much as it does in plain fine-tuning, whichever of the two it has.

    The teacher is the model as the task finds it, frozen and in evaluation mode; a task that an
    exception cut off keeps its teacher when it is begun again. What it says of a sample never
    changes during a task, so it is computed once per sample and kept. Replayed samples, and memory
    phases, have the plain loss. The exchange is added to the loss, which keeps what other plugins
    add to it, in any order.

    Args:
        weight: factor on the divergence, at least 0. 0 switches the plugin off: words ``O`` keep
            their cross-entropy. (They would have no loss at all in the limit of small weights.)
        temperature: T of both, above 0.
        restrict: ``"pad"`` or ``"renormalize"``, see
            :func:`~mkgc_cl.objectives.token_distillation.token_divergence`.

    Attributes:
        teacher_samples: samples the teacher has tagged so far, over all tasks.
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
        wrong = []
        if not 0 <= weight < float("inf"):
            wrong.append(f"weight={weight}; give 0 or more")
        if not 0 < temperature < float("inf"):
            wrong.append(f"temperature={temperature}; give a number above 0")
        if restrict not in get_args(Restrict):
            wrong.append(f"restrict={restrict!r}; choose one of {list(get_args(Restrict))}")
        if wrong:
            raise ConfigError(wrong)
        self.weight = weight
        self.temperature = temperature
        self.restrict: Restrict = restrict
        self.teacher_samples = 0
        self.losses: list[float] = []
        self._teacher: ExtractionModel | None = None
        self._encode: Callable[[ExtractionModel, MultimodalBatch], ModelOutput] | None = None
        self._known: dict[str, Tensor] = {}
        self._tasks = 0

    def before_train_dataset_adaptation(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Freeze the model the previous task left.

        The earliest callback of a task: a later one would find the new task's tags unmasked, and
        the teacher would have an opinion on what it has never seen.
        """
        if self.weight == 0:
            return
        check_tagger(strategy.network)
        if self._tasks > 0 and self._teacher is None:
            self._teacher = strategy.snapshot()
            self._encode = strategy.encode  # in the student's precision

    def before_backward(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Exchange the cross-entropy of the current samples' words ``O`` for the divergence."""
        teacher = self._teacher
        rows = (~strategy.batch["replayed"]).nonzero().flatten()
        if teacher is None or strategy.phase != "task" or len(rows) == 0:
            return
        logits, targets = strategy.output.logits[rows], strategy.mb_y[rows]
        seen = strategy.network.seen_ids
        divergence = token_divergence(
            self._teacher_words(teacher, strategy.batch, rows, words=targets.shape[1]),
            logits.index_select(-1, seen),
            teacher.seen[seen],
            temperature=self.temperature,
            restrict=self.restrict,
        )
        labelled = negative_log(logits, targets, seen=seen)  # (N, W)
        share = (targets == OUTSIDE) / (targets != IGNORED).sum(dim=1, keepdim=True)
        samples = strategy.batch.size()
        distilled, replaced = ((share * words).sum() for words in (divergence, labelled))
        self.losses.append(float(distilled.detach()) / len(rows))
        strategy.loss = strategy.loss + (self.weight * distilled - replaced) / samples

    def after_training_exp(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Let the teacher and what it said go."""
        self._tasks += 1
        self._teacher = self._encode = None
        self._known = {}

    def state_dict(self) -> dict[str, Any]:
        """What later tasks depend on; the teacher is the model itself at the next task's start."""
        return {
            "tasks": self._tasks,
            "teacher_samples": self.teacher_samples,
            "losses": list(self.losses),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self._teacher, self._encode, self._known = None, None, {}  # of whatever it was used for
        self._tasks = int(state["tasks"])
        self.teacher_samples = int(state["teacher_samples"])
        self.losses = list(state["losses"])

    @torch.no_grad()
    def _teacher_words(
        self, teacher: ExtractionModel, batch: MultimodalBatch, rows: Tensor, *, words: int
    ) -> Tensor:
        """The teacher's log-probabilities of samples ``rows`` (N,): (N, W, K), 0 on padding."""
        new = [row for row in rows.tolist() if batch.uids[row] not in self._known]
        if new and self._encode is not None:
            part = batch.select(torch.tensor(new, device=rows.device))
            scores = teacher_words(
                self._encode(teacher, part).logits, teacher.seen, temperature=self.temperature
            )
            lengths = part["word_mask"].sum(dim=1).tolist()
            for index, uid in enumerate(part.uids):
                self._known[uid] = scores[index, : lengths[index]]
            self.teacher_samples += len(new)
        known = [self._known[batch.uids[row]] for row in rows.tolist()]
        return torch.stack([F.pad(sample, (0, 0, 0, words - len(sample))) for sample in known])


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
