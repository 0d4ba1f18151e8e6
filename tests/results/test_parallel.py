"""Runs in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mkgc_cl._cores import usable_cores
from mkgc_cl.errors import ConfigError
from mkgc_cl.results import Run, parallel, run_grid
from mkgc_cl.results.parallel import as_finished

RUNS = [Run(s, "made", "A-B", seed, {}) for seed in (0, 1) for s in ("one", "two", "bad", "dead")]

SCRIPT = """
import os, sys
from mkgc_cl.metrics import Counts, ResultMatrix
from mkgc_cl.results import Run, RunRecord, run_grid

RUNS = [Run(s, "made", "A-B", seed, {}) for seed in (0, 1) for s in ("one", "two", "bad")]

def run(run, progress):
    progress(0.5, "half")
    if run.system == "bad":
        raise ValueError("the loss is not finite")
    matrix = ResultMatrix(2)
    for after in range(2):
        for on in range(after + 1):
            matrix.record("test", after=after, on=on, counts=Counts(50 + run.seed, 100, 100))
    return RunRecord.from_matrix(
        matrix, system=run.system, scenario="made", order="A-B", seed=run.seed, tasks=["A", "B"],
        seconds=1.0, provenance={"process": os.getpid(), "threads": os.environ["OMP_NUM_THREADS"]},
        traces={"gamma": [1.0, float(run.seed)]},
    )

if __name__ == "__main__":
    result = run_grid(RUNS, run, out=sys.argv[1], quiet=True, jobs=2)
    print(os.getpid(), result.exit_code, len(result.records), len(result.failures))
"""


def test_a_grid_of_two_jobs_has_every_record_and_every_failure(tmp_path: Path) -> None:
    script = tmp_path / "grid.py"
    script.write_text(SCRIPT)
    limits = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    made = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "out")],
        env={name: value for name, value in os.environ.items() if name not in limits},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    parent, code, records, failures = map(int, made.stdout.split())
    assert (code, records, failures) == (1, 4, 2)
    runs = json.loads((tmp_path / "out" / "results.json").read_text())["records"]
    assert {(c["system"], c["seed"]) for c in runs} == {
        (s, n) for s in ("one", "two") for n in (0, 1)
    }
    assert parent not in {c["provenance"]["process"] for c in runs}
    share = str(max(1, usable_cores() // 2))
    assert {c["provenance"]["threads"] for c in runs} == {share}
    failed = [json.loads(path.read_text()) for path in (tmp_path / "out" / "failed").iterdir()]
    assert len(failed) == 2
    assert all(
        "the loss is not finite" in f["error"] and "in run" in f["traceback"] for f in failed
    )
    traces = list((tmp_path / "out" / "records").glob("*.traces.json"))
    assert sorted(json.loads(path.read_text())["gamma"][1] for path in traces) == [0, 0, 1, 1]


def test_a_process_that_dies_is_a_failure_and_names_what_it_worked_on() -> None:
    ended = dict(as_finished(os._exit, [3], jobs=2))
    assert "terminated abruptly" in str(ended[3])


@pytest.mark.parametrize(
    ("cores", "jobs", "limits", "threads"),
    [
        (8, 2, {}, 4),
        (8, 3, {}, 2),
        (8, 16, {}, 1),
        (8, 2, {"OMP_NUM_THREADS": "1"}, 1),
        (8, 2, {"OMP_NUM_THREADS": "16"}, 4),
        (8, 2, {"OMP_NUM_THREADS": " 3, 1"}, 3),
        (8, 2, {"MKL_NUM_THREADS": "2"}, 2),
        (8, 2, {"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "2"}, 2),
        (8, 2, {"OMP_NUM_THREADS": "0", "MKL_NUM_THREADS": "many"}, 4),
    ],
)
def test_a_process_has_its_share_of_the_cores_within_the_users_limit(
    monkeypatch: pytest.MonkeyPatch, cores: int, jobs: int, limits: dict[str, str], threads: int
) -> None:
    monkeypatch.setattr(parallel, "usable_cores", lambda: cores)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in limits.items():
        monkeypatch.setenv(name, value)
    assert parallel.threads_each(jobs) == threads


def test_the_callers_threads_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    assert dict(as_finished(abs, [-2, -3], jobs=2)) == {-2: 2, -3: 3}
    assert os.environ["OMP_NUM_THREADS"] == "5"
    assert "MKL_NUM_THREADS" not in os.environ


def test_no_job_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="jobs=0; give 1 or more"):
        run_grid(RUNS, lambda run, progress: None, out=tmp_path, jobs=0)  # type: ignore[arg-type, return-value]
