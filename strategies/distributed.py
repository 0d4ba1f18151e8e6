"""One training on several processes: each computes its share of every batch, and all take one step.

Every process builds the same strategy, draws the same batches and holds the same weights. What a
step needs of the whole batch is added up: counts and sums by :class:`Ranks`, the gradient by
:mod:`mkgc_cl.strategies.shared_gradients`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from mkgc_cl.errors import ConfigError, TrainingError
from mkgc_cl.models.gaussian.statistics import ClassStatistics

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Ranks:
    """The processes that share a training, seen from one of them; by default there is one alone.

    Every method but :meth:`own` is a meeting: all processes call it, in the same order.

    Args:
        rank: number of this process, from 0. The first one writes what is to be written.
        number: of all.
        shared: whether there is a process group, be it of one.
    """

    rank: int = 0
    number: int = 1
    shared: bool = False

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def own(self, items: Sequence[Item]) -> Sequence[Item]:
        """This process's share: every item is in one process's, and shares differ by one at most.

        >>> [Ranks(rank, 2, True).own("abcde") for rank in range(2)]
        ['ace', 'bd']
        """
        return items[self.rank :: self.number]

    def totals(self, values: Sequence[float]) -> list[float]:
        """Sums over the processes of each of these numbers, in double precision."""
        if not self.shared:
            return list(values)
        added = torch.tensor(list(values), dtype=torch.float64)
        dist.all_reduce(added)
        return [float(value) for value in added]

    def total(self, value: float) -> float:
        """Sum of a number over the processes."""
        return self.totals([value])[0] if self.shared else value

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in one of the processes."""
        return self.total(flag) > 0

    def of_first(self, value: int) -> int:
        """What the first process says; what the others say is ignored."""
        if not self.shared:
            return value
        said = torch.tensor([value], dtype=torch.int64)
        dist.broadcast(said, src=0)
        return int(said)

    def text_of_first(self, text: str) -> str:
        """The text that the first process says."""
        if not self.shared:
            return text
        data = text.encode()
        said = torch.zeros(self.of_first(len(data)), dtype=torch.uint8)
        if self.first:
            said = torch.tensor(list(data), dtype=torch.uint8)
        if len(said):
            dist.broadcast(said, src=0)
        return bytes(said.tolist()).decode()

    def wait(self) -> None:
        """Go on when all have come here."""
        self.total(0)

    def gathered(self, rows: Tensor) -> list[Tensor]:
        """Rows (N, F) of every process, N its own; on the CPU, in the order of the processes.

        A process may have an empty tensor of any shape.
        """
        width = int(max(self._each(rows.shape[1] if len(rows) else 0)))
        counts = [int(count) for count in self._each(len(rows))]
        padded = rows.new_zeros(max(counts), width, device="cpu")
        if len(rows):
            padded[: len(rows)] = rows.cpu()
        found = self.same_size(padded)
        return [each[:count] for each, count in zip(found, counts, strict=True)]

    def same_size(self, values: Tensor) -> list[Tensor]:
        """A tensor of every process, all of one shape; on the CPU, in the order of processes."""
        if not self.shared:
            return [values]
        found = [torch.empty_like(values, device="cpu") for _ in range(self.number)]
        dist.all_gather(found, values.cpu())
        return found

    def in_order(self, found: Sequence[Tensor], batches: int) -> Tensor:
        """Rows (N, F) of all batches, of which each process has read its :meth:`own`.

        Rows of several processes are on the CPU and in double precision, which holds every other:
        one that has read nothing does not know theirs.

        Args:
            found: rows of this process's batches.
            batches: number of all.
        """
        if not self.shared:
            return torch.cat(list(found))
        sizes = torch.zeros(batches, dtype=torch.int64)
        sizes[self.rank :: self.number] = torch.tensor([len(rows) for rows in found]).long()
        dist.all_reduce(sizes)
        rows = torch.cat(list(found)) if found else torch.empty(0, 0)
        rows = rows.double()
        of_rank = [
            iter(part.split(sizes[rank :: self.number].tolist()))
            for rank, part in enumerate(self.gathered(rows))
        ]
        return torch.cat([next(of_rank[batch % self.number]) for batch in range(batches)])

    def average(self, tensors: Iterable[Tensor], share: float) -> None:
        """Replace tensors by their mean over the processes, with the same bits in each.

        Args:
            tensors: of one shape in every process, on any device.
            share: weight of this process; those of all add up to 1.
        """
        if self.shared:
            for tensor in tensors:
                dist.all_reduce(tensor.mul_(share))

    def joined(self, statistics: ClassStatistics) -> ClassStatistics:
        """Statistics of what all processes have learnt, added in their order.

        Double precision, and the same bits in every process.
        """
        if not self.shared:
            return statistics
        classes, width = statistics.means.shape
        together = ClassStatistics.empty(
            classes, width, per_class=statistics.per_class, device=statistics.means.device
        )
        for rank in range(self.number):
            parts = []
            for own in (statistics.counts, statistics.means, statistics.scatter):
                part = (
                    own.cpu().contiguous() if rank == self.rank else own.cpu().new_zeros(own.shape)
                )
                dist.broadcast(part, src=rank)
                parts.append(part.to(own.device))
            together.merge(ClassStatistics(*parts))
        return together

    def require_alike(self, tensors: Iterable[Tensor], when: str) -> None:
        """Check that the processes hold the same numbers.

        Args:
            tensors: the numbers, of two bytes or more each.
            when: when that is, in words.

        Raises:
            TrainingError: they do not; in every process.
        """
        if not self.shared:
            return
        # of their bits, as integers: no order of adding changes it
        own = sum(int(t.detach().flatten().view(torch.int16).sum()) for t in tensors)
        found = self._each(own)
        if len(set(found)) > 1:
            raise TrainingError(
                f"the processes hold different weights {when} (digests {found}); train on "
                "machines and devices of one kind, with the same versions of everything"
            )

    def _each(self, value: float) -> list[float]:
        """The number of every process."""
        found = torch.zeros(self.number, dtype=torch.float64)
        found[self.rank] = value
        dist.all_reduce(found)
        return [float(each) for each in found]


ALONE = Ranks()


def current_ranks() -> Ranks:
    """The processes of PyTorch's default group, or this one alone where there is none.

    Raises:
        ConfigError: the group cannot exchange what is on the CPU.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return ALONE
    if dist.get_backend() in ("nccl", "cuda:nccl"):
        raise ConfigError(
            [
                "the process group has no backend for tensors on the CPU, where counts are; call "
                "mkgc_cl.strategies.distributed.join(), or "
                'init_process_group("cpu:gloo,cuda:nccl")'
            ]
        )
    return Ranks(dist.get_rank(), dist.get_world_size(), shared=True)


def join() -> tuple[Ranks, Store]:
    """Join the processes that ``torchrun`` has started; call it first in every one of them.

    Gradients go by NCCL where every process of the machine has a GPU of its own, which ``"cuda"``
    then stands for, and by gloo elsewhere.

    Returns:
        The processes, and a store by which they can leave each other words.
    """
    # Avalanche makes a logger while it is imported, and refuses to in all processes but the first
    import avalanche.training.supervised  # noqa: F401
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    backend, local = "gloo", int(os.environ.get("LOCAL_RANK", 0))
    if torch.cuda.is_available():
        there = torch.cuda.device_count()
        torch.cuda.set_device(local % there)
        if dist.is_nccl_available() and int(os.environ.get("LOCAL_WORLD_SIZE", 1)) <= there:
            backend = "cpu:gloo,cuda:nccl"
    shared, rank, number = next(iter(rendezvous("env://")))
    # what processes have left there that torchrun has started again since is not for these
    store = PrefixStore(f"start-{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", shared)
    dist.init_process_group(
        backend,
        store=PrefixStore("group", store),
        rank=rank,
        world_size=number,
        # one may wait while the first writes; that another is lost shows by its connection
        timeout=timedelta(days=1),
    )
    return current_ranks(), PrefixStore("words", store)
