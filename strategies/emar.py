"""EMAR: episodic memory activation and reconsolidation (Han et al., ACL 2020), with BERT."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mkgc_cl._checks import at_least
from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.samples import Sample, TaggingSample
from mkgc_cl.memory.exemplars import NaPolicy
from mkgc_cl.memory.selection import select_exemplars
from mkgc_cl.models import ModelOutput, PrototypeReadout
from mkgc_cl.models.base import negative_log
from mkgc_cl.models.prototypes import Prototypes, class_prototypes, predicting_prototypes
from mkgc_cl.models.spans import span_features
from mkgc_cl.strategies.exemplar_store import Scope, running_task, slot_types, span_pooling
from mkgc_cl.strategies.memory import ExemplarPlugin
from mkgc_cl.strategies.template import MultimodalStrategy


class EMARPlugin(ExemplarPlugin, supports_distributed=True):
    r"""Rehearse in two voices: the task's own loss, and likeness to prototypes.

    The task's epochs are the first stage. Then exemplars are chosen by K-means, and ``cycles``
    times over: prototypes are taken from the memory; *activation* trains one epoch on the memory
    and the task's samples together (a sample in both counts once); *reconsolidation* trains one
    epoch on the memory alone, on the cross-entropy of :math:`h P^\top` over the classes that have a
    prototype, P as it was taken: means of features (eq. 5) as the encoder gives them.

    Relations are predicted from prototypes, so the model needs a
    :class:`~mkgc_cl.models.PrototypeReadout`; until the first ones are there, its head predicts,
    and an evaluation within a task reads those of the tasks before. For tagging (no paper has it)
    an exemplar's features are means over gold spans, reconsolidation scores spans against a
    prototype per entity type, and the tagging head predicts.

    RELEASED CODE: a relation's name, encoded, is a member of its prototype, those of relations to
    come included; here nothing of the future is known. RELEASED CODE: a task's own exemplars count
    twice in activation. That each stage begins with a new optimizer there, and bounds the norm of
    gradients, is up to the strategy: :class:`~mkgc_cl.strategies.stages.StepPolicy`.

    Args:
        size: exemplars per slot, at least 0; 0 does nothing at all.
        scope: a slot is a class (EMAR-BERT) or a task (RELEASED CODE of Han et al.).
        cycles: rounds of activation and reconsolidation, at least 0.
        na_policy: what becomes of N/A; see :class:`PrototypeReplayPlugin`. A class without
            exemplars is predicted from its row of the head.
        normalize: OURS: bring exemplars to length 1 before a prototype averages them in
            reconsolidation, which makes its scores smaller. Off in the paper and both public codes;
            predictions always do so, as in the public BERT version.
        mix_head_rows: count a relation's row of the head, at length 1, as one more exemplar of
            its prototype in predictions (EMAR-BERT). PAPER: off.
        batch_size: samples per step of both stages; the training batch size by default.
        lr_scale: factor on the learning rates in both stages, above 0.
        seed: seed of selection and order.

    Raises:
        ConfigError: an option is not one of the above, or a model of relations has no
            ``PrototypeReadout``.
    """

    def __init__(
        self,
        *,
        size: int = 10,
        scope: Scope = "class",
        cycles: int = 2,
        na_policy: NaPolicy = "merge",
        normalize: bool = False,
        mix_head_rows: bool = True,
        batch_size: int | None = None,
        lr_scale: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(
            size=size,
            scope=scope,
            na_policy=na_policy,
            batch_size=batch_size,
            lr_scale=lr_scale,
            seed=seed,
            draws={"selection": "exemplar-selection", "order": "emar-order"},
            problems=at_least("cycles", cycles, 0),
        )
        self.cycles = cycles
        self.normalize = normalize
        self.mix_head_rows = mix_head_rows

    def before_training_exp(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Check that predictions will go through prototypes."""
        if self.size > 0 and strategy.network.labels.kind == "re":
            PrototypeReadout.of(strategy.network)

    def after_training_exp(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Choose exemplars, train both stages in turn, take the prototypes to predict from."""
        if self.size == 0:
            return
        task = running_task(strategy)
        self.fill(strategy, partial(self._choose, strategy))
        own = {sample.identity for sample in task.samples}
        memory = self.store.exemplars()
        earlier = [sample for sample in memory if sample.identity not in own]
        phase = partial(
            strategy.memory_phase,
            epochs=1,
            batch_size=self.batch_size or strategy.train_mb_size,
            source=self._draws["order"],
            lr_scale=self.lr_scale,
        )
        for _ in range(self.cycles):
            prototypes = self._prototypes(strategy, memory).to(strategy.device)
            phase(earlier, current=task.samples, name="activation")
            # against a single class the cross-entropy is 0: there is nothing to tell apart
            if int(prototypes.known.sum()) > 1:
                loss = partial(reconsolidation_loss, prototypes=prototypes)
                phase(_scored(memory), name="reconsolidation", loss=loss)
        if strategy.network.labels.kind == "re":
            self._store_prototypes(strategy, memory)

    def _choose(
        self, strategy: MultimodalStrategy, slot: str, candidates: Sequence[Sample]
    ) -> list[int]:
        task, pool = running_task(strategy), None
        if task.labels.kind == "ner":
            pool = span_pooling(task.labels, slot_types(task, slot, self.scope))
        features = strategy.features(candidates, pool=pool)
        return select_exemplars(
            features, self.size, selection="kmeans", source=self._draws["selection"]
        )

    def _prototypes(self, strategy: MultimodalStrategy, memory: Sequence[Sample]) -> Prototypes:
        """Prototypes of relations or entity types, as the model sees the memory now."""
        labels = strategy.network.labels
        classes = len(labels.outputs if labels.kind == "re" else labels.classes)
        return class_prototypes(
            *_memory_features(strategy, memory), classes=classes, unit_norm=self.normalize
        )

    @torch.no_grad()
    def _store_prototypes(self, strategy: MultimodalStrategy, memory: Sequence[Sample]) -> None:
        network = strategy.network
        features, ids = _memory_features(strategy, memory)
        PrototypeReadout.of(network).store(
            predicting_prototypes(
                features,
                ids,
                rows=network.head.rows.float().cpu(),
                seen=network.seen.cpu(),
                mix_head_rows=self.mix_head_rows,
            )
        )


def reconsolidation_loss(output: ModelOutput, targets: Tensor, prototypes: Prototypes) -> Tensor:
    """Cross-entropy of likeness to prototypes: of samples (B,), or of gold spans of words (S,).

    Args:
        output: of a batch; in a tagging stream it must hold a span.
        targets: (B,) relations or (B, W) tags.
        prototypes: of every relation or entity type that occurs in the batch.
    """
    features, classes = _units(output, targets)
    known = prototypes.known.nonzero().flatten()
    return negative_log(prototypes.scores(features), classes, seen=known)


def _units(output: ModelOutput, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Features and classes of what is compared: samples (B, F), (B,) or spans (S, F), (S,)."""
    if output.word_features is None:
        return output.features, targets
    return span_features(output.word_features, targets)


def _scored(memory: Sequence[Sample]) -> list[Sample]:
    """Samples of a memory that can be compared with prototypes: not those without an entity."""
    return [s for s in memory if not isinstance(s, TaggingSample) or set(s.tags) != {"O"}]


def _memory_features(
    strategy: MultimodalStrategy, memory: Sequence[Sample]
) -> tuple[Tensor, Tensor]:
    """Features (N, F) and classes (N,) of what is compared in a memory, on the CPU."""

    def read(batch: MultimodalBatch, output: ModelOutput, targets: Tensor) -> tuple[Tensor, Tensor]:
        features, classes = _units(output, targets)
        strategy.require_finite(features, "features are", batch)
        return features.float().cpu(), classes.cpu()

    found = strategy.encode_samples(_scored(memory), read)
    if not found:
        width = strategy.network.head.rows.shape[1]
        return torch.empty(0, width), torch.empty(0, dtype=torch.long)
    features, classes = zip(*found, strict=True)
    return torch.cat(features), torch.cat(classes)
