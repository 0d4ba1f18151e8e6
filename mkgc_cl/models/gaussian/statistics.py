"""What a Gaussian readout learns of its samples: counts, class means, scatter within classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mkgc_cl.errors import DataError

NOTHING = 1e-9
"""What counts as no sample is left: rounding of weights that were added and taken away again."""


class _Present(NamedTuple):
    """Classes (K,) that have samples, with counts (K,) and means (K, D) of these."""

    classes: Tensor
    counts: Tensor
    means: Tensor


@dataclass(frozen=True, slots=True)
class ClassStatistics:
    """Sufficient statistics of classes under Gaussian models, in double precision.

    All are additive: batch after batch, task after task, or two sites' side by side give what all
    samples at once give, and samples can be taken away again. Sums of squares are kept round the
    means and combined as Chan et al. (1983) do, so that a large mean costs no digits.

    ``C`` classes, ``D`` features; ``K`` is 1 for one scatter of all classes together, or ``C``.

    Args:
        counts: (C,) number of samples, or the sum of their weights.
        means: (C, D); zero where there is no sample.
        scatter: (K, D, D) sum of ``(x - mu_c) (x - mu_c)'``, over the classes or of each.

    >>> one = ClassStatistics.empty(2, 1)
    >>> one.add(torch.tensor([[1.0], [3.0], [7.0]]), torch.tensor([0, 0, 1]))
    >>> one.counts.tolist(), one.means.tolist(), one.scatter.tolist()
    ([2.0, 1.0], [[2.0], [7.0]], [[[2.0]]])
    """

    counts: Tensor
    means: Tensor
    scatter: Tensor

    @classmethod
    def empty(
        cls,
        classes: int,
        width: int,
        *,
        per_class: bool = False,
        device: torch.device | str = "cpu",
    ) -> ClassStatistics:
        """Statistics of no sample.

        Args:
            classes: C.
            width: D.
            per_class: keep a scatter of each class, C D^2 numbers in place of D^2.
            device: where to keep them.
        """
        kinds = classes if per_class else 1
        return cls(
            *(
                torch.zeros(shape, dtype=torch.float64, device=device)
                for shape in ((classes,), (classes, width), (kinds, width, width))
            )
        )

    @property
    def per_class(self) -> bool:
        """Whether every class has a scatter of its own."""
        return len(self.scatter) > 1 or len(self.counts) == 1

    @property
    def known(self) -> Tensor:
        """(C,) bool, the classes that have a sample."""
        return self.counts > NOTHING

    def add(self, features: Tensor, labels: Tensor, weights: Tensor | None = None) -> None:
        """Learn samples, in place: one product of (D, N) and (N, D).

        Args:
            features: (N, D), of any precision.
            labels: (N,) ids of their classes.
            weights: (N,) at least 0; 1 by default. A weight of 0 is a sample that is not there.

        Raises:
            DataError: a feature is not finite, or a label is no class.
        """
        learnt, rows, of = self._centered(features, labels, weights)
        shifts = self._join(learnt)
        self._add_squares(torch.cat([rows, shifts]), torch.cat([of, learnt.classes]), sign=1)

    def remove(self, features: Tensor, labels: Tensor, weights: Tensor | None = None) -> None:
        """Unlearn samples, as if they had never been added; see :meth:`add`.

        Raises:
            DataError: more of a class is taken away than was learnt.
        """
        gone, rows, of = self._centered(features, labels, weights)
        shifts = self._part(gone)
        self._add_squares(torch.cat([rows, shifts]), torch.cat([of, gone.classes]), sign=-1)
        self._clear()

    def merge(self, other: ClassStatistics) -> None:
        """Learn what ``other`` learnt, in place: as good as all of its samples."""
        learnt = other._present()
        shifts = self._join(learnt)
        self.scatter.add_(other.scatter)
        self._add_squares(shifts, learnt.classes, sign=1)

    def merge_as(self, other: ClassStatistics, classes: Sequence[int]) -> None:
        """Learn what ``other`` learnt, its class c as ``classes[c]``, in place.

        Classes that become one are as good as labelled so from the start.

        Args:
            other: statistics of other classes, of the same features, with as many scatters a class.
            classes: for each of its classes, the class here.

        >>> two = ClassStatistics.empty(2, 1)
        >>> two.add(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 1]))
        >>> one = ClassStatistics.empty(3, 1)
        >>> one.merge_as(two, [2, 2])
        >>> one.counts.tolist(), one.means[2].tolist(), round(float(one.scatter), 6)
        ([0.0, 0.0, 2.0], [2.0], 2.0)
        """
        each = len(other.scatter) == len(other.counts) and len(self.scatter) == len(self.counts)
        if not each:
            self.scatter.add_(other.scatter)
        for old in other.known.nonzero().flatten().tolist():
            new = torch.tensor([classes[old]], device=self.counts.device)
            one = _Present(new, other.counts[old : old + 1], other.means[old : old + 1])
            self._add_squares(self._join(one), new, sign=1)
            if each:
                self.scatter[new] += other.scatter[old]

    def subtract(self, other: ClassStatistics) -> None:
        """Unlearn what ``other`` learnt, in place.

        Raises:
            DataError: more of a class is taken away than was learnt.
        """
        gone = other._present()
        shifts = self._part(gone)
        self.scatter.sub_(other.scatter)
        self._add_squares(shifts, gone.classes, sign=-1)
        self._clear()

    def _present(self) -> _Present:
        classes = self.counts.nonzero().flatten()
        return _Present(classes, self.counts[classes], self.means[classes])

    def _centered(
        self, features: Tensor, labels: Tensor, weights: Tensor | None
    ) -> tuple[_Present, Tensor, Tensor]:
        """Classes of samples, and samples (N, D) round the means of theirs, with these (N,)."""
        classes, width = self.means.shape
        rows = features.detach().to(self.means)
        labels = labels.to(rows.device)
        weight = rows.new_ones(len(rows)) if weights is None else weights.to(rows)
        _check(rows, labels, weight, classes=classes, width=width)
        kept = weight > 0
        rows, labels, weight = rows[kept], labels[kept], weight[kept, None]
        # of these classes alone: room for a thousand others is not needed per batch
        present, of = labels.unique(return_inverse=True)
        counts = rows.new_zeros(len(present)).index_add_(0, of, weight[:, 0])
        sums = rows.new_zeros(len(present), width).index_add_(0, of, rows * weight)
        means = sums / counts[:, None]
        return _Present(present, counts, means), (rows - means[of]) * weight.sqrt(), labels

    def _join(self, learnt: _Present) -> Tensor:
        """Move counts and means; return what scatter gains by it, as a row of each class."""
        present, theirs, means = learnt
        mine = self.counts[present]
        together = mine + theirs
        shift = means - self.means[present]
        self.means[present] += shift * (theirs / together)[:, None]
        self.counts[present] = together
        return shift * (mine * theirs / together).sqrt()[:, None]

    def _part(self, gone: _Present) -> Tensor:
        """The inverse of :meth:`_join`: what scatter loses, as a row of each class."""
        present, theirs, means = gone
        mine = self.counts[present]
        rounding = NOTHING * mine.clamp(min=1)
        left = mine - theirs
        if bool((left < -rounding).any()):
            worst = int(left.argmin())
            raise DataError(
                f"{float(theirs[worst]):g} samples of class {int(present[worst])} are to be taken "
                f"away, but {float(mine[worst]):g} were learnt; remove what was added, with the "
                "weights it was added with"
            )
        stay = left > rounding
        left = left.masked_fill(~stay, 0.0)
        step = (theirs / left.masked_fill(~stay, 1.0))[:, None]
        remaining = self.means[present] + (self.means[present] - means) * step
        shift = (remaining - means) * (left * theirs / mine).sqrt()[:, None]
        self.means[present] = remaining.masked_fill(~stay[:, None], 0.0)
        self.counts[present] = left
        return shift

    def _add_squares(self, rows: Tensor, classes: Tensor, *, sign: int) -> None:
        """Add ``sign * sum_i rows_i rows_i'`` (N, D) to the scatter of their classes (N,)."""
        if not self.per_class:
            self.scatter[0].addmm_(rows.T, rows, alpha=sign)
            return
        for label in classes.unique().tolist():
            own = rows[classes == label]
            self.scatter[label].addmm_(own.T, own, alpha=sign)

    def _clear(self) -> None:
        """Leave no rounding behind where a class has one sample or none, which scatter nothing."""
        alone = self.counts <= 1 + NOTHING
        if self.per_class:
            self.scatter[alone] = 0.0
        elif bool(alone.all()):
            self.scatter.zero_()


def _check(rows: Tensor, labels: Tensor, weights: Tensor, *, classes: int, width: int) -> None:
    if rows.dim() != 2 or rows.shape[1] != width:
        raise DataError(f"features have shape {tuple(rows.shape)}; expected (N, {width})")
    if labels.shape != rows.shape[:1] or weights.shape != rows.shape[:1]:
        raise DataError(
            f"{len(rows)} samples, but labels {tuple(labels.shape)} and weights "
            f"{tuple(weights.shape)}; give one of each per sample"
        )
    if not bool(torch.isfinite(rows).all()):
        raise DataError("a feature is not finite; look at the encoder that made it")
    outside = (labels < 0) | (labels >= classes)
    if bool(outside.any()):
        raise DataError(
            f"label {int(labels[outside][0])} is no class; there are 0 to {classes - 1}"
        )
    if bool((weights < 0).any()) or not bool(torch.isfinite(weights).all()):
        raise DataError("a sample's weight is negative or not finite; give 0 or more")
