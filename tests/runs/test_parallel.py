"""Runs in processes of their own, which may be killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from mkgc_cl._cores import usable_cores
from mkgc_cl.errors import ConfigError, WorkerError
from mkgc_cl.runs import Run, parallel, run_grid
from mkgc_cl.runs.parallel import as_finished

RUNS = [Run("one", "made", "A-B", 0, {})]

SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from mkgc_cl.experiments.pipeline.cli import exit_code
from mkgc_cl.metrics import Counts, ResultMatrix
from mkgc_cl.results import RunRecord
from mkgc_cl.runs import Run, run_grid

OUT, SYSTEMS, JOBS = Path(sys.argv[1]), sys.argv[2].split(","), int(sys.argv[3])
RUNS = [Run(s, "made", "A-B", seed, {}) for seed in (0, 1) for s in SYSTEMS]

def run(run, progress):
    progress(0.5, "half")
    if run.system == "bad":
        raise ValueError("the loss is not finite")
    if run.system == "dead" and run.seed == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    if run.system == "hangs":
        with (OUT.parent / "pids").open("a") as file:
            file.write(f"{os.getpid()}\\n")
        time.sleep(60)
    matrix = ResultMatrix(2)
    for after in range(2):
        for on in range(after + 1):
            matrix.record("test", after=after, on=on, counts=Counts(50 + run.seed, 100, 100))
    return RunRecord.from_matrix(
        matrix, system=run.system, scenario="made", order="A-B", seed=run.seed, tasks=["A", "B"],
        seconds=1.0,
        provenance={"process": os.getpid(), "threads": os.environ.get("OMP_NUM_THREADS")},
        traces={"gamma": [1.0, float(run.seed)]},
    )

def main():
    result = run_grid(RUNS, run, out=OUT, quiet=True, jobs=JOBS)
    print(os.getpid(), len(result.records), len(result.failures))
    return result.exit_code

if __name__ == "__main__":
    # a terminal's: tests in the background or under nohup hand down ignored ones
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    sys.exit(exit_code(main))
"""


def start(folder: Path, systems: str, *, jobs: int = 2) -> subprocess.Popen[str]:
    """A process of a group of its own, as that of a terminal's command is."""
    script = folder / "grid.py"
    script.write_text(SCRIPT)
    limits = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    return subprocess.Popen(
        [sys.executable, str(script), str(folder / "out"), systems, str(jobs)],
        env={name: value for name, value in os.environ.items() if name not in limits},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def hanging(folder: Path, number: int) -> list[int]:
    """The processes that hang, when there are so many."""
    file, deadline = folder / "pids", time.monotonic() + 60
    while time.monotonic() < deadline:
        pids = file.read_text().split() if file.exists() else []
        if len(pids) == number:
            return [int(pid) for pid in pids]
        time.sleep(0.02)
    raise AssertionError(f"{pids} began")


def gone(pids: list[int]) -> bool:
    """Whether the processes end soon; nobody may be there to fetch their exit codes."""
    deadline = time.monotonic() + 20
    while any(_runs(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(_runs(pid) for pid in pids)


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
def test_a_grid_of_two_jobs_has_every_record_and_every_failure(tmp_path: Path) -> None:
    process = start(tmp_path, "one,dead,bad,two")
    printed, said = process.communicate(timeout=60)
    parent, records, failures = map(int, printed.split())
    assert (process.returncode, records, failures) == (1, 5, 3)
    assert "run dead, A-B, seed 0 failed: its process was killed by SIGKILL (out of memory" in said
    runs = json.loads((tmp_path / "out" / "results.json").read_text())["records"]
    finished = {("dead", 1), *((s, n) for s in ("one", "two") for n in (0, 1))}
    assert {(c["system"], c["seed"]) for c in runs} == finished
    assert parent not in {c["provenance"]["process"] for c in runs}
    share = str(max(1, usable_cores() // 2))
    assert {c["provenance"]["threads"] for c in runs} == {share}
    failed = [json.loads(path.read_text()) for path in (tmp_path / "out" / "failed").iterdir()]
    assert sorted(f["system"] for f in failed) == ["bad", "bad", "dead"]
    assert all("in run" in f["traceback"] for f in failed if f["system"] == "bad")
    assert [f["error"] for f in failed if "killed by SIGKILL" not in f["error"]] == [
        "ValueError: the loss is not finite"
    ] * 2
    traces = list((tmp_path / "out" / "records").glob("*.traces.json"))
    assert sorted(json.loads(path.read_text())["gamma"][1] for path in traces) == [0, 0, 1, 1, 1]


@pytest.mark.slow
def test_processes_die_with_their_parent(tmp_path: Path) -> None:
    process = start(tmp_path, "hangs")
    pids = hanging(tmp_path, 2)
    process.kill()
    process.communicate()
    assert gone(pids)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "jobs", "code"),
    [(signal.SIGINT, 2, 130), (signal.SIGTERM, 2, 143), (signal.SIGHUP, 1, 129)],
)
def test_a_signal_to_all_stops_runs_and_keeps_what_has_finished(
    tmp_path: Path, number: int, jobs: int, code: int
) -> None:
    process = start(tmp_path, "one,hangs,two", jobs=jobs)
    pids = hanging(tmp_path, jobs)
    os.killpg(process.pid, number)
    printed, said = process.communicate(timeout=20)
    assert (process.returncode, printed) == (code, "")
    assert "the same command goes on from here" in said
    assert "Traceback" not in said
    assert gone(pids)
    records = json.loads((tmp_path / "out" / "results.json").read_text())["records"]
    found = [(record["system"], record["seed"]) for record in records]
    assert found == [("one", 0), ("one", 1), ("two", 0)][: 1 if jobs == 1 else 3]
    assert not (tmp_path / "out" / "failed").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "how", "said"),
    [
        (os._exit, 3, "ended with exit code 3; "),
        (signal.raise_signal, signal.SIGTERM, "killed by SIGTERM; "),
    ],
)
def test_a_process_that_ends_is_an_error_that_says_how(
    monkeypatch: pytest.MonkeyPatch, end: Callable[[int], None], how: int, said: str
) -> None:
    monkeypatch.setattr(parallel, "_MOMENT", 0.0)
    ((item, error),) = as_finished(end, [how], jobs=2)
    assert item == how
    assert isinstance(error, WorkerError)
    assert said in str(error)


@pytest.mark.slow
def test_an_iterator_that_is_closed_ends_its_processes() -> None:
    ended = as_finished(time.sleep, [0.0, 60.0], jobs=2)
    assert next(ended) == (0.0, None)
    (child,) = multiprocessing.active_children()
    ended.close()
    assert child.exitcode == -signal.SIGKILL


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
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert parallel.threads_each(jobs) == threads


def test_a_process_has_no_more_threads_than_pytorch_was_given_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parallel, "usable_cores", lambda: 16)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(get_num_threads=lambda: 3))  # type: ignore[arg-type]
    assert parallel.threads_each(2) == 3


@pytest.mark.slow
def test_the_callers_threads_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    assert dict(as_finished(abs, [-2, -3], jobs=2)) == {-2: 2, -3: 3}
    assert os.environ["OMP_NUM_THREADS"] == "5"
    assert "MKL_NUM_THREADS" not in os.environ


def test_no_job_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="jobs=0; give 1 or more"):
        run_grid(RUNS, lambda run, progress: None, out=tmp_path, jobs=0)  # type: ignore[arg-type, return-value]
