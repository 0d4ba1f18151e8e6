"""Records made by hand, without any training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest

from mkgc_cl.metrics import Counts, ResultMatrix
from mkgc_cl.results import RunRecord

MakeRecord = Callable[..., RunRecord]


@pytest.fixture
def make_record() -> MakeRecord:
    """A function (system, seed, rows of per cents) -> record; the rows are the score matrix.

    ``None`` stands for a task without a positive to find.
    """

    def make(
        system: str = "full",
        seed: int = 0,
        rows: Sequence[Sequence[int | None]] = ((80,), (60, 70)),
        *,
        traces: Mapping[str, Sequence[float]] | None = None,
    ) -> RunRecord:
        matrix = ResultMatrix(len(rows))
        for after, row in enumerate(rows):
            for on, value in enumerate(row):
                counts = Counts() if value is None else Counts(value, 100, 100)
                matrix.record("test", after=after, on=on, counts=counts)
        return RunRecord.from_matrix(
            matrix,
            system=system,
            scenario="demo-ner",
            order="PER-LOC",
            seed=seed,
            tasks=[f"T{k}" for k in range(1, len(rows) + 1)],
            seconds=1.5,
            peak_memory_mb=100.0,
            config={"epochs": 1},
            provenance={"images": "real"},
            traces=traces,
        )

    return make
