"""Processes that work on one folder share the work: real processes, cheap runs."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from mkgc_cl import _patience
from mkgc_cl.errors import OutputError
from mkgc_cl.results import RunRecord
from mkgc_cl.results.run_files import read_results
from mkgc_cl.runs import Run, claims, run_grid
from mkgc_cl.runs.claims import SILENCE, Claim, claimed, holder

GRID = """
import os, sys, time
from pathlib import Path
from mkgc_cl.metrics import Counts, ResultMatrix
from mkgc_cl.results import RunRecord
from mkgc_cl.runs import Run, grid

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
    matrix = ResultMatrix(1)
    matrix.record("test", after=0, on=0, counts=Counts(run.seed, 10, 10))
    return RunRecord.from_matrix(matrix, system=run.system, scenario=run.scenario,
        order=run.order, seed=run.seed, tasks=["T1"], seconds=1.0)

if act != "hang":
    note(f"{os.getpid()} ready")
    while (out.parent / "ran.txt").read_text().count("ready") < int(sys.argv[3]):
        time.sleep(0.01)
result = grid.run_grid(runs, run, out=out, quiet=True)
print(len(result.records), *(f"{run.seed} {claim.pid}" for run, claim in result.elsewhere))
sys.exit(result.exit_code)
"""


def start(out: Path, act: str = "run", together: int = 1) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", GRID, str(out), act, str(together)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def runs(out: Path) -> list[tuple[str, str]]:
    """Process and seed of every run."""
    lines = (out.parent / "ran.txt").read_text().splitlines()
    return [(pid, seed) for pid, seed in map(str.split, lines) if seed != "ready"]


@pytest.mark.slow
def test_two_processes_make_every_run_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    processes = [start(out, together=2) for _ in range(2)]
    for process in processes:
        process.communicate(timeout=60)
    # the first to end may leave the last run to the other one
    assert 0 in {process.returncode for process in processes}
    assert {process.returncode for process in processes} <= {0, 3}
    made = runs(out)
    assert Counter(seed for _, seed in made) == dict.fromkeys("012345", 1)
    assert {pid for pid, _ in made} == {str(process.pid) for process in processes}
    assert len(read_results(out / "results.json")) == 6
    assert {path.suffix for path in (out / "records").iterdir()} == {".json"}  # no claim is left


@pytest.mark.slow
def test_a_run_elsewhere_is_left_alone_and_taken_over_when_its_process_is_dead(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    ran = tmp_path / "ran.txt"
    first = start(out, "hang")
    deadline = time.monotonic() + 60
    while not ran.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    second = start(out)
    assert second.communicate(timeout=60)[0] == f"5 0 {first.pid}\n"
    assert second.returncode == 3
    first.kill()
    first.communicate()
    third = start(out)
    printed, said = third.communicate(timeout=60)
    assert (printed, third.returncode) == ("6\n", 0)
    assert f"run full, PER, seed 0: taken over from process {first.pid} on " in said
    assert runs(out) == [
        (str(first.pid), "0"), *((str(second.pid), seed) for seed in "12345"), (str(third.pid), "0")
    ]  # fmt: skip


RUNS = [Run("full", "demo-ner", "PER-LOC", seed, {"epochs": 1}) for seed in range(3)]


class Other:
    """In the midst of the first run, another grid works on the same folder."""

    def __init__(self, make, out: Path) -> None:
        self.make, self.out, self.ran = make, out, []

    def __call__(self, run: Run, progress) -> RunRecord:
        self.ran.append(run.seed)
        if run.seed == 0:
            self.other = run_grid(RUNS[:2], self, out=self.out, quiet=True)
        return self.make(run.system, run.seed)


def test_a_run_that_finished_elsewhere_meanwhile_is_not_made_again(
    make_record, tmp_path: Path
) -> None:
    runner = Other(make_record, tmp_path)
    result = run_grid(RUNS, runner, out=tmp_path, quiet=True)
    assert runner.ran == [0, 1, 2]
    assert (result.exit_code, len(result.records)) == (0, 3)
    assert (runner.other.exit_code, len(runner.other.records)) == (3, 1)
    ((left, claim),) = runner.other.elsewhere
    assert (left.seed, claim.pid, claim.host) == (0, os.getpid(), platform.node())


def test_a_run_that_failed_elsewhere_meanwhile_is_not_tried_again(
    make_record, tmp_path: Path
) -> None:
    def make(system: str, seed: int) -> RunRecord:
        if seed == 1:
            raise ValueError("no such luck")
        return make_record(system, seed)

    runner = Other(make, tmp_path)
    result = run_grid(RUNS, runner, out=tmp_path, quiet=True)
    assert runner.ran == [0, 1, 2]
    for grid in (result, runner.other):
        assert [failure.error for failure in grid.failures] == ["ValueError: no such luck"]
        assert grid.exit_code == 1


def test_a_claim_is_one_processs_and_ends_with_its_block(tmp_path: Path) -> None:
    record = tmp_path / "records" / "k.json"
    with claimed(record) as other:
        assert other is None
        mine = holder(record)
        assert mine is not None
        assert (mine.host, mine.pid) == (platform.node(), os.getpid())
        with claimed(record) as other:
            assert other == mine
    assert holder(record) is None
    with pytest.raises(ValueError, match="no luck"), claimed(record):
        raise ValueError("no luck")
    assert list(record.parent.iterdir()) == []


def leave(record: Path, text: str | None = None, *, silent: float = 0.0, **claim: object) -> Path:
    """Write a claim whose last sign of life is ``silent`` seconds ago."""
    place = record.with_name(f".{record.stem}.claim")
    mine = {"host": platform.node(), "pid": os.getpid(), "since": time.time()}
    mine["processes"] = claims._process_namespace()
    place.write_text(json.dumps(mine | claim) if text is None else text)
    before = time.time() - silent
    os.utime(place, (before, before))
    return place


@pytest.mark.parametrize("silent", [0.0, 2 * SILENCE])
def test_a_claim_of_this_machine_lives_as_long_as_its_process(
    tmp_path: Path, caplog, silent: float
) -> None:
    record = tmp_path / "k.json"
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    leave(record, pid=process.pid, silent=silent)
    with claimed(record, "run k") as other:
        assert other is not None
        assert other.pid == process.pid
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and its code not fetched yet
    with claimed(record, "run k") as other:
        assert other is None
    assert f"run k: taken over from process {process.pid} on {platform.node()}" in caplog.text
    process.communicate()
    leave(record, pid=process.pid)
    assert holder(record) is None


def test_a_command_that_knows_of_a_death_elsewhere_waits_for_no_silence(
    tmp_path: Path, caplog
) -> None:
    """Its task is begun again where a node died: an earlier claim for it is a dead one's."""
    record = tmp_path / "k.json"
    place = leave(record, host="another", command="mine")
    for command in ("", "theirs"):
        claims.forget_dead(record, command)
        with claimed(record, "run k", command) as other:
            assert other is not None
            assert (other.host, other.command) == ("another", "mine")
    with claimed(record, "run k", "mine") as other:
        assert other is None
        assert json.loads(place.read_text())["command"] == "mine"
        assert holder(record) is not None
    assert "run k: taken over from process" in caplog.text
    place = leave(record, host="another", command="mine")
    claims.forget_dead(record, "mine")
    assert not place.exists()


def test_a_number_that_a_later_process_has_is_no_sign_of_life(tmp_path: Path) -> None:
    record = tmp_path / "k.json"
    leave(record, since=time.time() - 10 * 24 * 3600)  # and this process began minutes ago
    assert holder(record) is None


@pytest.mark.parametrize(
    "claim",
    [
        {"host": "another"},
        {"processes": 1},
        {"text": ""},
        {"text": "{"},
        {"text": "[]"},
        {"text": '{"host": "another"}'},
        {"since": float("inf")},
        {"pid": "1"},
    ],
)
def test_a_claim_of_which_nothing_else_is_known_lives_by_its_signs_of_life(
    tmp_path: Path, caplog, claim: dict[str, Any]
) -> None:
    record = tmp_path / "k.json"
    leave(record, silent=SILENCE - 60, **claim)
    with claimed(record) as other:
        assert other is not None
    place = leave(record, silent=SILENCE + 60, **claim)
    with claimed(record) as other:
        assert other is None
        assert holder(record) is not None
    assert "which is dead" in caplog.text
    assert not place.exists()


@pytest.mark.parametrize("alive", [True, False])
def test_a_process_of_another_machine_is_watched_until_it_is_known_to_live_or_dead(
    make_record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, alive: bool
) -> None:
    """As after a job that was killed goes on on another node."""
    record = tmp_path / "records" / f"{RUNS[1].key}.json"
    record.parent.mkdir()
    place = leave(record, host="another")
    looks = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            os.utime(place) if alive else os.utime(place, (0, 0))

    monkeypatch.setattr(claims.time, "sleep", sleep)
    result = run_grid(RUNS, lambda run, _: make_record(run.system, run.seed), out=tmp_path)
    assert len(looks) == 3
    assert "waiting for signs of life" in capsys.readouterr().err
    assert result.exit_code == (3 if alive else 0)
    assert [(run.seed, claim.host) for run, claim in result.elsewhere] == [(1, "another")] * alive
    assert [record.seed for record in result.records] == ([0, 2] if alive else [0, 1, 2])


def test_claims_of_processes_that_were_killed_go_when_the_grid_ends(
    make_record, tmp_path: Path
) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.communicate()
    (tmp_path / "records").mkdir()

    def interrupted(run: Run, progress) -> RunRecord:
        for seed, claim in ((1, {"pid": process.pid}), (2, {"host": "another"})):
            leave(tmp_path / "records" / f"{RUNS[seed].key}.json", **claim)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_grid(RUNS, interrupted, out=tmp_path, quiet=True)
    assert [path.name for path in (tmp_path / "records").iterdir()] == [f".{RUNS[2].key}.claim"]


def test_a_claim_shows_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT", 0.01)
    with claimed(tmp_path / "k.json"):
        (place,) = tmp_path.iterdir()
        os.utime(place, (0, 0))
        deadline = time.monotonic() + 20
        while place.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert time.time() - place.stat().st_mtime < 60


@pytest.mark.parametrize("pid", [0, -1, 10**30])
def test_a_number_that_no_process_has_is_dead(tmp_path: Path, pid: int) -> None:
    leave(tmp_path / "k.json", pid=pid)
    assert holder(tmp_path / "k.json") is None


def test_a_claim_that_was_taken_over_is_not_ours_to_end(tmp_path: Path) -> None:
    record = tmp_path / "k.json"
    with claimed(record):
        leave(record, host="another")
    assert holder(record) == Claim("another", os.getpid(), ANY, claims._process_namespace())


def test_a_claim_that_is_renewed_while_it_is_removed_stays(tmp_path: Path) -> None:
    record = tmp_path / "k.json"
    place = leave(record, host="another")
    assert not claims._removed(place, Claim("another", 1, 0.0))
    assert [path.name for path in tmp_path.iterdir()] == [place.name]
    with pytest.raises(FileNotFoundError):
        claims._removed(tmp_path / ".gone.claim", Claim("another", 1, 0.0))


def test_a_run_that_cannot_be_claimed_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "records").touch()
    with (
        pytest.raises(OutputError, match=r"\.k\.claim: run k cannot be claimed"),
        claimed(tmp_path / "records" / "k.json", "run k"),
    ):
        pass


def test_a_claim_that_somebody_reads_is_given_up_a_moment_later_where_it_must_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink, refused = Path.unlink, [None] * 3

    def as_windows(path: Path, missing_ok: bool = False) -> None:
        if refused:
            refused.pop()
            raise PermissionError("The file is used by another process")
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(_patience, "_PATIENCE", 30.0)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", as_windows)
        with claimed(tmp_path / "record.json"):
            assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []
