"""Records: what they hold, there and back through JSON, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mkgc_cl.errors import DataError
from mkgc_cl.metrics import Counts, IncompleteMatrixError, ResultMatrix
from mkgc_cl.results import RecordError, RunRecord
from mkgc_cl.results.record import RecordFormatError
from mkgc_cl.results.run_files import read_results


def test_measures_by_hand(make_record) -> None:
    record = make_record(rows=[[80], [60, 70], [65, 40, 90]])
    assert record.A == (80.0, 65.0, 65.0)
    assert record.U == (80.0, 70.0, 90.0)
    assert record.matrix == ((80.0, None, None), (60.0, 70.0, None), (65.0, 40.0, 90.0))
    assert (record.forgetting, record.forgetting_per_task) == (22.5, (15.0, 30.0))
    assert record.backward_transfer == -22.5


def test_what_cannot_be_measured_is_null(make_record) -> None:
    record = make_record(rows=[[60], [80, None], [30, None, 90]])
    assert record.A == (60.0, 80.0, 60.0)
    assert record.U == (60.0, None, 90.0)
    assert record.matrix == ((60.0, None, None), (80.0, None, None), (30.0, None, 90.0))
    assert (record.forgetting, record.forgetting_per_task) == (50.0, (50.0, None))
    assert record.backward_transfer == -30.0
    data = json.loads(json.dumps(record.to_dict(), allow_nan=False))
    assert data["U"] == [60.0, None, 90.0]
    assert RunRecord.from_dict(data) == record
    one = make_record(rows=[[None]])
    assert (one.A, one.U, one.forgetting, one.backward_transfer) == ((None,), (None,), None, None)
    assert RunRecord.from_dict(json.loads(json.dumps(one.to_dict()))) == one


def test_zeros_that_were_never_measured_are_not_read_back(make_record) -> None:
    """As records were written before undefined was told from 0."""
    record = make_record(rows=[[60], [80, None], [30, None, 90]])
    written = record.to_dict() | {
        "U": [60.0, 0.0, 90.0],
        "matrix": [[60.0, None, None], [80.0, 0.0, None], [30.0, 0.0, 90.0]],
        "forgetting": 25.0,
        "forgetting_per_task": [50.0, 0.0],
        "backward_transfer": -15.0,
    }
    found = RunRecord.from_dict(written)
    assert (found.U, found.matrix) == (record.U, record.matrix)
    assert found.forgetting_per_task == (50.0, None)
    assert (found.forgetting, found.backward_transfer) == (50.0, -30.0)
    single = make_record(rows=[[80]]).to_dict() | {"forgetting": 0.0, "backward_transfer": 0.0}
    assert RunRecord.from_dict(single).forgetting is None
    del written["counts"]["streams"]["test"][-1]
    with pytest.raises(RecordError, match=r"not those of a run: .*\(after=2, on=2\)"):
        RunRecord.from_dict(written)


def test_json_there_and_back(make_record) -> None:
    record = make_record(traces={"gamma": [1.0, 0.5]})
    data = json.loads(json.dumps(record.to_dict()))
    assert "traces" not in data
    again = RunRecord.from_dict(data, traces={"gamma": [1.0, 0.5]})
    assert again == record
    assert again.result_matrix.average_f1("test") == [0.8, 0.65]


def test_the_fields_of_the_published_record(make_record) -> None:
    wanted = {"system", "scenario", "order", "seed", "A", "U", "matrix", "forgetting", "seconds"}
    assert wanted | {"peak_memory_mb", "config", "provenance"} <= make_record().to_dict().keys()


def test_an_incomplete_run_makes_no_record() -> None:
    matrix = ResultMatrix(2)
    matrix.record("test", after=0, on=0, counts=Counts(1, 1, 1))
    identity = {"system": "s", "scenario": "d", "order": "o", "seed": 0, "seconds": 1.0}
    with pytest.raises(IncompleteMatrixError, match=r"\(after=1, on=0\)"):
        RunRecord.from_matrix(matrix, tasks=["a", "b"], **identity)
    with pytest.raises(DataError, match=r"1 task names \['a'\] for a result matrix of 2 tasks"):
        RunRecord.from_matrix(matrix, tasks=["a"], **identity)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"format": 2}, RecordFormatError, "format 2 of a record cannot be read, expected 1"),
        ({"A": "x"}, RecordError, "field 'A' of a record is str, got 'x'"),
        ({"extra": 1}, RecordError, r"unknown fields \['extra'\]"),
        ({"seed": None}, RecordError, "field 'seed' of a record is NoneType"),
        ({"A": [1.0]}, RecordError, r"A must have 2 numbers, got \[1.0\]"),
        ({"U": [1.0, "2"]}, RecordError, r"U must have 2 numbers, got \[1.0, '2'\]"),
        ({"U": [1.0, 10**400]}, RecordError, "U must have 2 numbers"),
        ({"forgetting_per_task": []}, RecordError, "forgetting_per_task must have 1 numbers"),
        ({"matrix": [[1.0, None], 5]}, RecordError, r"matrix\[1\] must have 2 numbers"),
        ({"matrix": [[1.0, None]]}, RecordError, "matrix must have 2 rows, got 1"),
        ({"tasks": ["T1", 2]}, RecordError, r"tasks must have names, got \['T1', 2\]"),
    ],
)
def test_foreign_records_are_refused(make_record, change, error, message) -> None:
    with pytest.raises(error, match=message):
        RunRecord.from_dict(make_record().to_dict() | change)


def test_missing_fields_are_named(make_record) -> None:
    data = make_record().to_dict()
    del data["A"], data["seed"]
    with pytest.raises(RecordError, match=r"lacks \['A', 'seed'\]"):
        RunRecord.from_dict(data)
    with pytest.raises(RecordError, match="a JSON object"):
        RunRecord.from_dict([1])


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"runs": [3]}', b"\xff\xfe", b'{"a": 1}'])
def test_a_results_file_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"results\.json: not a results file"):
        read_results(path)
