"""Prior-corrected replay: a memory phase sees balanced classes, an evaluation does not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mkgc_cl.data.processor import Processor
from mkgc_cl.data.samples import Sample
from mkgc_cl.errors import ConfigError
from mkgc_cl.models import ExtractionModel
from mkgc_cl.models.prior import PriorCorrection
from mkgc_cl.objectives.prior import prior_shift
from mkgc_cl.strategies.plugin import Plugin
from mkgc_cl.strategies.template import MultimodalStrategy


class PriorCorrectionPlugin(Plugin, supports_distributed=True):
    """Decide under the classes' shares in the stream, not those in the memory.

    Where a memory is trained on last, a model believes that all classes are as frequent as they are
    there. Counts of all samples so far are free, so its scores are corrected by
    :func:`~mkgc_cl.objectives.prior.prior_shift` (logit adjustment: Menon et al., ICLR 2021). Of
    tags words are counted. After the first task nothing was rehearsed, and nothing is corrected.

    Put it behind the plugins that keep exemplars.

    Args:
        tau: weight, at least 0; choose it on validation.

    Raises:
        ConfigError: tau is below 0.
    """

    def __init__(self, *, tau: float = 1.0) -> None:
        super().__init__()
        if not 0 <= tau < float("inf"):
            raise ConfigError([f"tau={tau}; give 0 or more"])
        self.tau = tau
        self._counts: Tensor | None = None
        self._tasks = 0

    @staticmethod
    def prepare(model: ExtractionModel) -> None:
        """Give a model the correction, of nothing so far; before a saved state is loaded."""
        # first: it corrects the scores of the head, before another answer is weighed in
        model.decisions.insert(0, PriorCorrection(len(model.labels.outputs)))

    def before_training_exp(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Check that the model has a correction."""
        if not _corrections(strategy.network):
            raise ConfigError(
                ["the model has no prior to correct; call PriorCorrectionPlugin.prepare(model)"]
            )

    def after_training_exp(self, strategy: MultimodalStrategy, **kwargs: Any) -> None:
        """Count the task's labels, and correct for what the memory holds now."""
        processor = strategy.network.processor
        own = label_counts(processor, strategy.experience.samples)
        self._counts = own if self._counts is None else self._counts + own
        self._tasks += 1
        held: Iterable[Sample] = (
            sample
            for plugin in strategy.plugins
            if hasattr(plugin, "exemplars")
            for sample in plugin.exemplars()
        )
        memory = label_counts(processor, list(held))
        if self._tasks < 2 or not bool(memory.any()):
            return
        shift = prior_shift(self._counts, memory, tau=self.tau)
        for correction in _corrections(strategy.network):
            correction.shift.copy_(shift)

    def state_dict(self) -> dict[str, Any]:
        """What later tasks depend on; the correction is the model's."""
        counts = None if self._counts is None else self._counts.clone()
        return {"tasks": self._tasks, "counts": counts}

    def load_state_dict(self, state: Mapping[str, Any], **kwargs: Any) -> None:
        """Go on from :meth:`state_dict`."""
        self._tasks = int(state["tasks"])
        self._counts = state["counts"]


def _corrections(model: ExtractionModel) -> list[PriorCorrection]:
    return [decision for decision in model.decisions if isinstance(decision, PriorCorrection)]


def label_counts(processor: Processor, samples: Sequence[Sample]) -> Tensor:
    """How often every output is the label of a sample, or of a word: (C,)."""
    counts = torch.zeros(len(processor.labels.outputs), dtype=torch.float64)
    for sample in samples:
        for output in processor.target(sample):
            counts[output] += 1
    return counts
