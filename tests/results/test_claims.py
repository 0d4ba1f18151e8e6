"""Processes that work on one folder share the work: real processes, cheap runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from mkgc_cl.results.claims import claimed, is_free
from mkgc_cl.results.grid import read_results

GRID = """
import os, sys, time
from pathlib import Path
from mkgc_cl.metrics import Counts, ResultMatrix
from mkgc_cl.results import Run, RunRecord, grid

grid.POLL_SECONDS = 0.05
out, act = Path(sys.argv[1]), sys.argv[2]
runs = [Run("full", "demo-ner", "PER", seed) for seed in range(6)]

def note(text):
    with (out.parent / "ran.txt").open("a") as file:
        file.write(f"{text}\\n")

def run(run, progress):
    note(f"{os.getpid()} {run.seed}")
    if act == "hang":
        time.sleep(60)
    time.sleep(0.15)
    if act == "fail" and run.seed == 3:
        raise ValueError("no such luck")
    matrix = ResultMatrix(1)
    matrix.record("test", after=0, on=0, counts=Counts(run.seed, 10, 10))
    return RunRecord.from_matrix(matrix, system=run.system, scenario=run.scenario,
        order=run.order, seed=run.seed, tasks=["T1"], seconds=1.0)

if act != "hang":
    note(f"{os.getpid()} ready")
    while (out.parent / "ran.txt").read_text().count("ready") < int(sys.argv[3]):
        time.sleep(0.01)
result = grid.run_grid(runs, run, out=out, quiet=True)
print(len(result.records), *(failure.error for failure in result.failures))
sys.exit(result.exit_code)
"""


def start(out: Path, act: str = "run", together: int = 1) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", GRID, str(out), act, str(together)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def runs(out: Path) -> list[tuple[str, str]]:
    """Process and seed of every run."""
    lines = (out.parent / "ran.txt").read_text().splitlines()
    return [(pid, seed) for pid, seed in map(str.split, lines) if seed != "ready"]


@pytest.mark.slow
def test_two_processes_make_every_run_once_and_both_have_all(tmp_path: Path) -> None:
    out = tmp_path / "out"
    processes = [start(out, together=2) for _ in range(2)]
    assert [process.communicate(timeout=60)[0] for process in processes] == ["6\n", "6\n"]
    made = runs(out)
    assert Counter(seed for _, seed in made) == dict.fromkeys("012345", 1)
    assert {pid for pid, _ in made} == {str(process.pid) for process in processes}
    assert len(read_results(out / "results.json")) == 6
    assert {path.suffix for path in (out / "records").iterdir()} == {".json"}  # no claim is left


@pytest.mark.slow
def test_a_run_of_a_process_that_dies_is_taken_over(tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = tmp_path / "ran.txt"
    first = start(out, "hang")
    deadline = time.monotonic() + 60
    while not ran.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    second = start(out)
    while len(runs(out)) < 6 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert second.poll() is None  # it has made all the others and waits for that one
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    assert second.communicate(timeout=60)[0] == "6\n"
    assert runs(out) == [
        (str(first.pid), "0"), *((str(second.pid), seed) for seed in "123450")
    ]  # fmt: skip


@pytest.mark.slow
def test_a_run_that_failed_elsewhere_meanwhile_is_not_tried_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    processes = [start(out, "fail", together=2) for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in processes]
    assert said == ["5 ValueError: no such luck\n"] * 2
    assert Counter(seed for _, seed in runs(out))["3"] == 1


def test_a_claim_is_one_processs_and_ends_with_its_block(tmp_path: Path) -> None:
    record = tmp_path / "records" / "k.json"
    with claimed(record) as mine:
        assert mine
        assert not is_free(record)
        with claimed(record) as other:
            assert not other
    assert is_free(record)
    with pytest.raises(ValueError, match="no luck"), claimed(record):
        raise ValueError("no luck")
    assert is_free(record)


def test_where_there_are_no_locks_runs_are_made_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("mkgc_cl.results.claims.FileLock.acquire", refuse)
    for _ in range(2):
        with claimed(tmp_path / "k.json") as mine:
            assert mine
    assert caplog.text.count("let no other process work on this folder") == 1
