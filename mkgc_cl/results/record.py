"""The record of one run: one system, one order, one seed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any

from mkgc_cl.errors import DataError, MkgcError
from mkgc_cl.metrics import IncompleteMatrixError, ResultMatrix
from mkgc_cl.results.json_files import is_number

FORMAT = 1
"""Version of the record; a reader refuses a newer one instead of guessing."""


class RecordError(MkgcError, ValueError):
    """A file of results is damaged or foreign."""


class RecordFormatError(RecordError):
    """A record was written by another version of the package."""


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """What one run measured and what made it. Rates are per cent, gains and losses points.

    What cannot be measured (:mod:`mkgc_cl.metrics.matrix`) is ``None``, in JSON null.

    Args:
        system: name of the system, as in the tables.
        scenario: name of the stream.
        order: the order of classes or the name of the split (``"PER-LOC-ORG-MISC"``, ``"sep10"``).
        seed: seed of the run.
        tasks: names of the tasks, K of them: the columns of the tables.
        A: micro-F1 on all tasks seen, after each task.
        U: F1 on the task just learnt, after each task.
        matrix: F1 after task k (row) on task j (column); ``None`` where not evaluated, too.
        forgetting: mean loss of the earlier tasks against their best.
        forgetting_per_task: the same for each of tasks 1 .. K-1.
        backward_transfer: mean change of the earlier tasks since they were learnt.
        counts: the raw counts behind all of these, :meth:`ResultMatrix.to_dict`.
        seconds: wall time of the run.
        peak_memory_mb: peak resident memory, MB; ``None`` where the system does not say.
        config: the resolved configuration.
        provenance: versions, data fingerprint, encoder, images real or blank, device, git state.
        traces: series over training steps, such as ``"gamma"``; kept in a file of their own.
    """

    system: str
    scenario: str
    order: str
    seed: int
    tasks: tuple[str, ...]
    A: tuple[float | None, ...]
    U: tuple[float | None, ...]
    matrix: tuple[tuple[float | None, ...], ...]
    forgetting: float | None
    forgetting_per_task: tuple[float | None, ...]
    backward_transfer: float | None
    counts: Mapping[str, object]
    seconds: float
    peak_memory_mb: float | None = None
    config: Mapping[str, object] = dataclasses.field(default_factory=dict)
    provenance: Mapping[str, object] = dataclasses.field(default_factory=dict)
    traces: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_matrix(
        cls,
        matrix: ResultMatrix,
        *,
        tasks: Sequence[str],
        seconds: float,
        stream: str = "test",
        **fields: Any,
    ) -> RunRecord:
        """Read every measure off a complete result matrix; ``fields`` are all others.

        Raises:
            IncompleteMatrixError: if a seen task was not evaluated after some task.
            DataError: if ``tasks`` does not name each task of the matrix.
        """
        if len(tasks) != matrix.tasks:
            raise DataError(
                f"{len(tasks)} task names {list(tasks)} for a result matrix of {matrix.tasks} tasks"
            )
        return cls(
            tasks=tuple(tasks),
            seconds=round(seconds, 3),
            counts=matrix.to_dict(),
            **_measures(matrix, stream),
            **fields,
        )

    @property
    def result_matrix(self) -> ResultMatrix:
        """The counts as a :class:`ResultMatrix`, for measures that are not in the record."""
        return ResultMatrix.from_dict(self.counts)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the samples that were measured: ``"test"`` or ``"valid"``."""
        streams = self.counts.get("streams")
        return tuple(streams) if isinstance(streams, Mapping) else ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, without the traces."""
        names = (field.name for field in dataclasses.fields(self) if field.name != "traces")
        return {"format": FORMAT, **{name: _plain(getattr(self, name)) for name in names}}

    @classmethod
    def from_dict(
        cls, data: object, *, traces: Mapping[str, Sequence[float]] | None = None
    ) -> RunRecord:
        """Read what :meth:`to_dict` wrote.

        Raises:
            RecordError: if a field is missing, unknown, of another kind or another length.
            RecordFormatError: if another version wrote it.
        """
        if not isinstance(data, Mapping):
            raise RecordError(f"expected a record (a JSON object), got {type(data).__name__}")
        if data.get("format") != FORMAT:
            raise RecordFormatError(
                f"format {data.get('format')!r} of a record cannot be read, expected {FORMAT}; "
                "use the version of mkgc_cl that wrote it"
            )
        names = {field.name for field in dataclasses.fields(cls)} - {"traces"}
        missing, unknown = sorted(names - data.keys()), sorted(data.keys() - names - {"format"})
        if missing or unknown:
            raise RecordError(f"a record lacks {missing} and has unknown fields {unknown}")
        values = {name: _kind_of(name, data[name]) for name in names}
        if wrong := _misshapen(values):
            raise RecordError(f"a record does not fit its tasks: {', '.join(wrong)}")
        return cls(**values | _read_off(values["counts"]), traces=dict(traces or {}))


def by_system(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """Return the records of every system, in the order of first appearance."""
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(record.system, []).append(record)
    return groups


def _measures(matrix: ResultMatrix, stream: str) -> dict[str, Any]:
    """Return every field that is read off a complete matrix."""
    matrix.require_complete(stream)
    forgetting = matrix.forgetting(stream)
    return {
        "A": _percents(matrix.average_f1(stream)),
        "U": _percents(matrix.plasticity(stream)),
        "matrix": tuple(map(_percents, matrix.f1(stream))),
        "forgetting": _percent(forgetting.mean),
        "forgetting_per_task": _percents(forgetting.per_task),
        "backward_transfer": _percent(matrix.backward_transfer(stream)),
    }


def _read_off(counts: Mapping[str, object]) -> dict[str, Any]:
    """Return the measures of a record anew, or nothing where its counts are not of one stream.

    Records were once written with 0.0, also in their means, for what cannot be measured; the counts
    tell the one from the other.
    """
    streams = counts.get("streams")
    if not isinstance(streams, Mapping) or len(streams) != 1:
        return {}
    try:
        return _measures(ResultMatrix.from_dict(counts), *streams)
    except (IncompleteMatrixError, TypeError, ValueError) as error:
        raise RecordError(f"the counts of a record are not those of a run: {error}") from error


_TUPLES = ("tasks", "A", "U", "forgetting_per_task")
_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("system", "scenario", "order"), str),
    "seed": int,
    **dict.fromkeys((*_TUPLES, "matrix"), list),
    **dict.fromkeys(("forgetting", "backward_transfer", "peak_memory_mb"), (int, float, NoneType)),
    "seconds": (int, float),
    **dict.fromkeys(("counts", "config", "provenance"), dict),
}


def _kind_of(name: str, value: Any) -> Any:
    fits: bool = isinstance(value, _KINDS[name])
    if not fits:
        raise RecordError(f"field {name!r} of a record is {type(value).__name__}, got {value!r}")
    if name == "matrix":
        return tuple(tuple(row) if isinstance(row, list) else () for row in value)
    return tuple(value) if name in _TUPLES else value


def _misshapen(values: Mapping[str, Any]) -> list[str]:
    """Name what is no row of numbers (``None`` for one that is undefined), one per task."""
    tasks = len(values["tasks"])
    rows = {
        "A": (values["A"], tasks),
        "U": (values["U"], tasks),
        "forgetting_per_task": (values["forgetting_per_task"], tasks - 1),
        **{f"matrix[{n}]": (row, tasks) for n, row in enumerate(values["matrix"])},
    }
    wrong = [
        f"{name} must have {length} numbers, got {str(list(row))[:80]}"
        for name, (row, length) in rows.items()
        if len(row) != length or not all(map(is_number, row))
    ]
    if len(values["matrix"]) != tasks:
        wrong.append(f"matrix must have {tasks} rows, got {len(values['matrix'])}")
    if not tasks or not all(isinstance(name, str) for name in values["tasks"]):
        wrong.append(f"tasks must have names, got {str(list(values['tasks']))[:80]}")
    return wrong


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def _percents(fractions: Sequence[float | None]) -> tuple[float | None, ...]:
    return tuple(map(_percent, fractions))


def _percent(fraction: float | None) -> float | None:
    if fraction is None or math.isnan(fraction):
        return None
    # Counts keep the exact value; four decimals of a per cent are more than any test set can tell.
    return round(100 * fraction, 4)
