"""Backward passes of several processes, which leave the gradient of the whole batch in each."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mkgc_cl.errors import TrainingError
from mkgc_cl.strategies.distributed import Ranks


class SharedGradients:
    """Backward passes after which every process holds the gradient of the whole batch.

    ``DistributedDataParallel`` is given the loss and not the batch: it reduces whatever a loss
    reaches, through the model, through a CRF or a readout that only the loss reads, through terms
    of plugins. A parameter that no process's loss reaches keeps ``grad=None``, as it does in one
    process, where an optimizer passes it over.

    Args:
        ranks: the processes.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._reduced: tuple[tuple[int, ...], DistributedDataParallel] | None = None

    def prepare(self, network: nn.Module) -> None:
        """Prepare to reduce the gradients of whatever trains now; call before the forward pass.

        The first process's weights are copied to the others.
        """
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        names = tuple(map(id, trained))
        if self._reduced is None or self._reduced[0] != names:
            # it costs a copy, and there is nothing a user could do about it
            warnings.filterwarnings("ignore", message="Grad strides do not match")
            through = DistributedDataParallel(_Through(trained), find_unused_parameters=True)
            self._reduced = (names, through)

    def backward(self, loss: Tensor, *, retain_graph: bool = False) -> Tensor:
        """Run the backward pass of a batch.

        Args:
            loss: this process's part; the parts of all add up to the batch's loss.
            retain_graph: as of PyTorch.

        Returns:
            The loss of the whole batch, without a graph.
        """
        if self._reduced is None:
            raise TrainingError("a backward pass of several processes was not prepared")
        # Before the backward pass: where another process failed in its forward pass, gloo raises
        # here; NCCL would wait for that process's gradients.
        total = self._ranks.total(float(loss.detach()))
        # DDP takes the mean of the processes' gradients
        part: Tensor = self._reduced[1](loss * self._ranks.number)
        part.backward(retain_graph=retain_graph)
        return loss.detach().new_full(loss.shape, total)


class _Through(nn.Module):
    """Hands a loss through; its parameters are those whose gradients are to be reduced."""

    def __init__(self, trained: Sequence[nn.Parameter]) -> None:
        super().__init__()
        self.trained = nn.ParameterList(trained)

    def forward(self, loss: Tensor) -> Tensor:
        return loss
