"""Reading samples with a strategy's model while it trains: features, snapshots, finite values.

There is no Avalanche in it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.samples import Sample
from mkgc_cl.errors import TrainingError
from mkgc_cl.models import ExtractionModel, ModelOutput
from mkgc_cl.strategies.distributed import Ranks
from mkgc_cl.strategies.loaders import Loaders
from mkgc_cl.strategies.precision import Precision, in_precision

Result = TypeVar("Result")


class Encoding:
    """What a strategy makes of samples outside of its steps; training goes on as if it had not.

    Attributes:
        network: the model.
        device: where it is.
        experience: the running task, or ``None``.
        ranks: the processes that share the training.
    """

    network: ExtractionModel
    device: torch.device
    experience: Any
    ranks: Ranks
    _loaders: Loaders
    _precision: Precision

    def features(
        self,
        samples: Sequence[Sample],
        *,
        pool: Callable[[ModelOutput, Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Encode samples in evaluation mode, in batches: (N, F) on the CPU.

        Args:
            samples: the samples.
            pool: reads features (B, F) from a batch's output and labels; its sample features by
                default.

        Raises:
            TrainingError: a feature is not finite; names the samples of the batch.
        """

        def read(batch: MultimodalBatch, output: ModelOutput, targets: Tensor) -> Tensor:
            pooled = output.features if pool is None else pool(output, targets)
            features = pooled.float().cpu()
            self.require_finite(features, "features are", batch)
            return features

        found = self.encode_rows(samples, read).float()
        return found[torch.tensor(self.reading_order(samples)).argsort()]

    def encode_rows(
        self,
        samples: Sequence[Sample],
        read: Callable[[MultimodalBatch, ModelOutput, Tensor], Tensor],
    ) -> Tensor:
        """Read rows (N, F) off samples, in :meth:`reading_order`.

        Processes that share the training share the reading, and each has all of the rows, on the
        CPU and in double precision.
        """
        found = self.encode_samples(samples, read, shared=True)
        return self.ranks.in_order(found, len(self._loaders.in_order(samples)))

    def reading_order(self, samples: Sequence[Sample]) -> list[int]:
        """Positions of samples in the order in which :meth:`encode_samples` reads them."""
        return [row for batch in self._loaders.in_order(samples) for row in batch]

    @torch.no_grad()
    def encode_samples(
        self,
        samples: Sequence[Sample],
        read: Callable[[MultimodalBatch, ModelOutput, Tensor], Result],
        *,
        shared: bool = False,
    ) -> list[Result]:
        """Read something off samples in evaluation mode, batch by batch, longest samples first.

        Args:
            samples: the samples.
            read: what to make of a batch, its output and its labels.
            shared: read this process's share of the batches alone; by default all processes that
                share the training read all of them.
        """
        training = self.network.training
        self.network.eval()
        found = []
        try:
            for batch, targets in self._loaders.once(samples, shared=shared):
                moved = batch.to(self.device)
                output = self.encode(self.network, moved)
                found.append(read(moved, output, targets.to(self.device)))
        finally:
            self.network.train(training)
        return found

    def encode(self, model: ExtractionModel, batch: MultimodalBatch) -> ModelOutput:
        """Run a model in this strategy's precision: the trained one, or a frozen copy of it."""
        with in_precision(self._precision, self.device):
            return cast(ModelOutput, model(batch))

    def snapshot(self) -> ExtractionModel:
        """Return a frozen copy of the model in evaluation mode: a teacher for what comes next."""
        return copy.deepcopy(self.network).eval().requires_grad_(False)

    def require_finite(self, values: Tensor, what: str, batch: MultimodalBatch) -> None:
        """Check values that were computed from a batch.

        Raises:
            TrainingError: one is not finite; names the task and the samples of the batch.
        """
        finite = torch.isfinite(values)
        if not bool(finite.all()):
            task = f" in task {self.experience.task_name!r}" if self.experience else ""
            raise TrainingError(
                f"the {what} {float(values[~finite].flatten()[0]):g}{task} on samples "
                f"{list(batch.uids)}; lower the learning rate or look at these samples"
            )
