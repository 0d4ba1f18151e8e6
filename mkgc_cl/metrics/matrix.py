r"""The result matrix of a continual run, and every measure that is read off it.

Let :math:`C_{k,j}` be the counts on test experience :math:`j` (what task :math:`j` brings) after
training on task :math:`k`, both from 0, and :math:`R_{k,j} = F_1(C_{k,j})`. With :math:`K` tasks:

.. math::

    A_k = F_1\Bigl(\sum_{j \le k} C_{k,j}\Bigr), \qquad U_k = R_{k,k}, \qquad
    \bar A = \frac1K \sum_k A_k,

    f_j = \max_{j \le k < K-1} R_{k,j} - R_{K-1,j}, \qquad
    \mathrm{BWT} = \frac{1}{K-1} \sum_{j<K-1} \bigl(R_{K-1,j} - R_{j,j}\bigr).

:math:`A_k` (Definition 3 of the paper) is the micro-F1 on the union of the test sets, so it pools
counts and does not average rates. :math:`U_k` is Definition 4. All values here are fractions in
[0, 1]; records and tables show per cent.

A task whose test samples hold no positive cannot be measured. What is read off its own scores (its
:math:`U_k`, its forgetting, its part of BWT) is undefined: NaN, and left out of every mean.
:math:`A_k` pools, so it is undefined only as long as none of the tasks up to k has a positive. A
mean over nothing is undefined, too: forgetting and BWT of a stream of one task.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from mkgc_cl.errors import DataError, MkgcError
from mkgc_cl.metrics.counts import Counts

BEFORE = -1
"""Value of ``after`` for an evaluation before any training."""


class IncompleteMatrixError(MkgcError, LookupError):
    """A measure needs entries of the result matrix that were never recorded.

    Args:
        stream: name of the stream.
        missing: the ``(after, on)`` pairs that are absent.
    """

    def __init__(self, stream: str, missing: list[tuple[int, int]]) -> None:
        self.stream = stream
        self.missing = tuple(missing)
        named = ", ".join(f"(after={after}, on={on})" for after, on in missing[:8])
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        super().__init__(
            f"stream {stream!r}: {len(missing)} entries of the result matrix are missing: "
            f"{named}{more}; evaluate every task seen so far after each task"
        )


@dataclass(frozen=True, slots=True)
class Forgetting:
    """How much each earlier task lost.

    Args:
        per_task: loss of tasks 0 .. K-2, fractions in [-1, 1]; negative where a task gained, NaN
            where it cannot be measured.
        mean: mean of those that are defined; NaN where none is, as in a stream of one task, which
            nothing can make forget.
    """

    per_task: tuple[float, ...]
    mean: float


class ResultMatrix:
    """Counts of every (stream, after task k, on task j), filled by whoever evaluates.

    >>> matrix = ResultMatrix(2)
    >>> matrix.record("test", after=0, on=0, counts=Counts(8, 10, 10))
    >>> matrix.record("test", after=1, on=0, counts=Counts(2, 4, 10))
    >>> matrix.record("test", after=1, on=1, counts=Counts(9, 10, 10))
    >>> [round(value, 3) for value in matrix.average_f1("test")], matrix.plasticity("test")
    ([0.8, 0.647], [0.8, 0.9])
    >>> round(matrix.backward_transfer("test"), 3)
    -0.514

    Args:
        tasks: number of tasks K, at least 1.

    Raises:
        DataError: if ``tasks`` is not positive.
    """

    def __init__(self, tasks: int) -> None:
        if tasks < 1:
            raise DataError(f"a result matrix needs at least one task, got {tasks}")
        self._tasks = tasks
        self._entries: dict[str, dict[tuple[int, int], Counts]] = {}

    @property
    def tasks(self) -> int:
        """Number of tasks K."""
        return self._tasks

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the streams recorded so far, sorted."""
        return tuple(sorted(self._entries))

    def record(self, stream: str, *, after: int, on: int, counts: Counts) -> None:
        """Enter the counts on task ``on`` after training on task ``after``; the last entry stands.

        Args:
            stream: ``"test"``, ``"valid"``, ...
            after: last task trained on, from 0; -1 for before any training.
            on: task evaluated, from 0. Tasks not trained on yet (``on > after``) may be recorded.
            counts: counts on that task's own samples.

        Raises:
            DataError: if an index is outside the matrix.
        """
        if not BEFORE <= after < self._tasks or not 0 <= on < self._tasks:
            raise DataError(
                f"stream {stream!r}: (after={after}, on={on}) is outside a matrix of {self._tasks} "
                f"tasks; after must be -1 to {self._tasks - 1} and on 0 to {self._tasks - 1}"
            )
        self._entries.setdefault(stream, {})[after, on] = counts

    def counts(self, stream: str, *, after: int, on: int) -> Counts:
        """Return one entry.

        Raises:
            IncompleteMatrixError: if it was never recorded.
        """
        self._require(stream, [(after, on)])
        return self._entries[stream][after, on]

    def f1(self, stream: str) -> list[list[float | None]]:
        """Return R, K rows (after) of K values (on).

        ``None`` where nothing was recorded, NaN where the task cannot be measured.
        """
        entries = self._entries.get(stream, {})
        return [
            [_f1_or_none(entries.get((after, on))) for on in range(self._tasks)]
            for after in range(self._tasks)
        ]

    def before(self, stream: str) -> list[float | None]:
        """Return the K values before any training; ``None`` and NaN as in :meth:`f1`."""
        entries = self._entries.get(stream, {})
        return [_f1_or_none(entries.get((BEFORE, on))) for on in range(self._tasks)]

    def finished(self, stream: str) -> int:
        """Return how many tasks were trained and evaluated so far (largest ``after``, plus 1)."""
        return 1 + max((after for after, _ in self._entries.get(stream, {})), default=BEFORE)

    def require_complete(self, stream: str) -> None:
        """Check that every seen task was evaluated after every task.

        Raises:
            IncompleteMatrixError: naming what is missing.
        """
        self._require(stream, _triangle(self._tasks))

    def average_f1(self, stream: str) -> list[float]:
        """Return A_0, A_1, ... of the tasks finished so far: pooled micro-F1 over tasks 0..k.

        NaN as long as none of these tasks has a positive to find.

        Raises:
            IncompleteMatrixError: if a seen task was not evaluated, or nothing was recorded.
        """
        finished = self._finished_or_raise(stream)
        self._require(stream, _triangle(finished))
        entries = self._entries[stream]
        return [
            sum((entries[after, on] for on in range(after + 1)), start=Counts()).f1
            for after in range(finished)
        ]

    def plasticity(self, stream: str) -> list[float]:
        """Return U_0, U_1, ... of the tasks finished so far: F1 on the task just learnt.

        NaN where that task has no positive to find.

        Raises:
            IncompleteMatrixError: if a task was not evaluated after its training.
        """
        diagonal = [(task, task) for task in range(self._finished_or_raise(stream))]
        self._require(stream, diagonal)
        return [self._entries[stream][place].f1 for place in diagonal]

    def final_f1(self, stream: str) -> float:
        """Return A after the last finished task."""
        return self.average_f1(stream)[-1]

    def mean_f1(self, stream: str) -> float:
        """Return the mean of A over the finished tasks, where defined (column AVG of Table 3)."""
        return _mean(self.average_f1(stream))

    def forgetting(
        self, stream: str, *, reference: Literal["best", "first"] = "best"
    ) -> Forgetting:
        r"""Return what each earlier task lost up to the last finished task :math:`L`.

        .. math::

            f_j^{\mathrm{best}} = \max_{j \le k < L} R_{k,j} - R_{L,j}, \qquad
            f_j^{\mathrm{first}} = R_{j,j} - R_{L,j}, \qquad j < L.

        ``"best"`` is Chaudhry et al. 2018 restricted to the time from when the task was learnt;
        ``"first"`` is the mean of backward transfer with the sign turned.

        Raises:
            IncompleteMatrixError: if a seen task was not evaluated.
        """
        last = self._finished_or_raise(stream) - 1
        self._require(stream, _triangle(last + 1))
        entries = self._entries[stream]
        lost = []
        for task in range(last):
            stop = last if reference == "best" else task + 1
            before = _defined(entries[after, task].f1 for after in range(task, stop))
            lost.append(max(before, default=math.nan) - entries[last, task].f1)
        return Forgetting(tuple(lost), _mean(lost))

    def backward_transfer(self, stream: str) -> float:
        """Return BWT: mean change of the earlier tasks since they were learnt.

        Negative where they were forgotten; NaN where no earlier task can be measured, as where one
        task only was trained.

        Raises:
            IncompleteMatrixError: if a seen task was not evaluated.
        """
        # 0.0 - x and not -x: minus zero would show as "-0.0" in tables.
        return 0.0 - self.forgetting(stream, reference="first").mean

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON types; ``[after, on, tp, predicted, gold]`` per entry, sorted."""
        return {
            "tasks": self._tasks,
            "streams": {
                stream: [
                    [after, on, entry.tp, entry.predicted, entry.gold]
                    for (after, on), entry in sorted(self._entries[stream].items())
                ]
                for stream in self.streams
            },
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> ResultMatrix:
        """Read what :meth:`to_dict` wrote.

        Raises:
            DataError: if ``data`` has another form.
        """
        tasks, streams = data.get("tasks"), data.get("streams")
        if not isinstance(tasks, int) or not isinstance(streams, Mapping):
            raise DataError(
                f"a result matrix needs 'tasks' (an integer) and 'streams', got keys {sorted(data)}"
            )
        matrix = cls(tasks)
        for stream, rows in streams.items():
            for row in rows:
                if len(row) != 5 or not all(isinstance(number, int) for number in row):
                    raise DataError(
                        f"stream {stream!r}: expected [after, on, tp, predicted, gold], got {row!r}"
                    )
                after, on, tp, predicted, gold = row
                matrix.record(stream, after=after, on=on, counts=Counts(tp, predicted, gold))
        return matrix

    def __eq__(self, other: object) -> bool:
        """Two matrices are equal if they have the same size and the same entries."""
        if not isinstance(other, ResultMatrix):
            return NotImplemented
        return self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]  # mutable, so not a key

    def __repr__(self) -> str:
        """Show size and how many entries each stream has."""
        entries = {stream: len(self._entries[stream]) for stream in self.streams}
        return f"ResultMatrix(tasks={self._tasks}, entries={entries})"

    def _finished_or_raise(self, stream: str) -> int:
        finished = self.finished(stream)
        if finished < 1:
            raise IncompleteMatrixError(stream, [(0, 0)])
        return finished

    def _require(self, stream: str, places: list[tuple[int, int]]) -> None:
        entries = self._entries.get(stream, {})
        missing = [place for place in places if place not in entries]
        if missing:
            raise IncompleteMatrixError(stream, missing)


def _triangle(tasks: int) -> list[tuple[int, int]]:
    return [(after, on) for after in range(tasks) for on in range(after + 1)]


def _defined(values: Iterable[float]) -> list[float]:
    return [value for value in values if not math.isnan(value)]


def _mean(values: Iterable[float]) -> float:
    known = _defined(values)
    return statistics.fmean(known) if known else math.nan


def _f1_or_none(counts: Counts | None) -> float | None:
    return None if counts is None else counts.f1
