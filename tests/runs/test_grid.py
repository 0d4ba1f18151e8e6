"""The grid: once each, in order, whatever fails or is killed in between."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mkgc_cl.errors import ConfigError
from mkgc_cl.results import RecordError, RunRecord
from mkgc_cl.results.run_files import read_results
from mkgc_cl.runs import Run, run_grid
from mkgc_cl.runs.kept import load_run
from mkgc_cl.runs.progress import GridProgress

RUNS = [Run(s, "demo-ner", "PER-LOC", n, {"epochs": 1}) for n in (0, 1) for s in ("b", "a")]


class Runner:
    """Counts its runs; fails for the runs it was told to fail for."""

    def __init__(self, make, failing=()) -> None:
        self.make, self.failing, self.ran = make, set(failing), []

    def __call__(self, run: Run, progress) -> RunRecord:
        self.ran.append((run.system, run.seed))
        progress(0.5, "half")
        if (run.system, run.seed) in self.failing:
            raise ValueError("the loss is not finite")
        rows = [[80 + run.seed], [60, 70]]
        return self.make(run.system, run.seed, rows, traces={"gamma": [1.0, run.seed + 1.5]})


def test_every_run_runs_once_and_the_results_are_sorted(make_record, tmp_path: Path) -> None:
    runner = Runner(make_record)
    result = run_grid(RUNS, runner, out=tmp_path, quiet=True)
    order = [("b", 0), ("a", 0), ("b", 1), ("a", 1)]
    assert runner.ran == order
    assert result.exit_code == 0
    by_system = [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert [(r.system, r.seed) for r in result.records] == by_system
    data = json.loads((tmp_path / "results.json").read_text())
    assert [(c["system"], c["seed"]) for c in data["records"]] == by_system
    again = run_grid(RUNS, runner, out=tmp_path, quiet=True)
    assert runner.ran == order
    assert again == result
    assert again.records[1].traces == {"gamma": [1.0, 2.5]}
    assert [r.A for r in read_results(tmp_path / "results.json")] == [r.A for r in result.records]


def test_a_part_then_the_whole_gives_the_same_bytes(make_record, tmp_path: Path) -> None:
    run_grid(RUNS, Runner(make_record), out=tmp_path / "whole", quiet=True)
    run_grid(RUNS[2:], Runner(make_record), out=tmp_path / "parts", quiet=True)
    runner = Runner(make_record)
    run_grid(RUNS, runner, out=tmp_path / "parts", quiet=True)
    assert runner.ran == [("b", 0), ("a", 0)]
    whole, parts = ((tmp_path / name / "results.json").read_bytes() for name in ("whole", "parts"))
    assert whole == parts


def test_runs_of_earlier_calls_stay_in_the_results(make_record, tmp_path: Path) -> None:
    run_grid(RUNS[:2], Runner(make_record), out=tmp_path, quiet=True)
    result = run_grid(RUNS[2:3], Runner(make_record), out=tmp_path, quiet=True)
    together = [("a", 0), ("b", 0), ("b", 1)]
    assert [(r.system, r.seed) for r in result.records] == together
    found = read_results(tmp_path / "results.json")
    assert [(r.system, r.seed) for r in found] == together


def test_a_damaged_run_that_is_not_asked_for_is_left_out_with_a_warning(
    make_record, tmp_path: Path, caplog
) -> None:
    run_grid(RUNS, Runner(make_record), out=tmp_path, quiet=True)
    path = tmp_path / "records" / f"{RUNS[0].key}.json"
    path.write_text("{")
    result = run_grid(RUNS[1:], Runner(make_record), out=tmp_path, quiet=True)
    assert [(r.system, r.seed) for r in result.records] == [("a", 0), ("a", 1), ("b", 1)]
    assert f"{path} is left out of the results" in caplog.text
    assert path.read_text() == "{"


def test_a_setting_is_all_but_system_and_seed() -> None:
    assert {run.setting for run in RUNS} == {RUNS[0].setting}
    assert RUNS[0].setting.startswith("PER-LOC-")
    other = Run("b", "demo-ner", "PER-LOC", 0, {"epochs": 2})
    assert other.setting != RUNS[0].setting


def test_a_setting_of_any_order_is_the_name_of_one_folder(tmp_path: Path) -> None:
    relations = ("/per/per/peer", "/per/org/member_of", "/loc/loc/contain", "../..")
    one, two = (Run("b", "demo-re", "-".join(o), 0) for o in (relations, relations[::-1]))
    assert one.setting != two.setting
    for run in (one, two):
        assert (tmp_path / run.setting).resolve().parent == tmp_path.resolve()
        assert len(run.setting) < 50


def test_a_failed_run_is_recorded_and_the_rest_goes_on(make_record, tmp_path: Path, caplog) -> None:
    result = run_grid(RUNS, Runner(make_record, [("a", 0)]), out=tmp_path, quiet=True)
    assert result.exit_code == 1
    assert [(r.system, r.seed) for r in result.records] == [("a", 1), ("b", 0), ("b", 1)]
    (failure,) = result.failures
    assert failure.run == RUNS[1]
    assert failure.error == "ValueError: the loss is not finite"
    note = json.loads((tmp_path / "failed" / f"{RUNS[1].key}.json").read_text())
    assert (note["system"], note["seed"], note["config"]) == ("a", 0, {"epochs": 1})
    assert "in __call__" in note["traceback"]
    assert "run a, PER-LOC, seed 0 failed" in caplog.text
    runner = Runner(make_record)
    assert run_grid(RUNS, runner, out=tmp_path, quiet=True).exit_code == 0
    assert runner.ran == [("a", 0)]
    assert list((tmp_path / "failed").iterdir()) == []


def test_an_interrupt_keeps_what_is_finished(make_record, tmp_path: Path) -> None:
    def interrupted(run: Run, progress) -> RunRecord:
        if run.seed == 1:
            raise KeyboardInterrupt
        return make_record(run.system, run.seed)

    with pytest.raises(KeyboardInterrupt):
        run_grid(RUNS, interrupted, out=tmp_path, quiet=True)
    assert len(read_results(tmp_path / "results.json")) == 2


KILLED = """
import sys, time
from pathlib import Path
from mkgc_cl.metrics import Counts, ResultMatrix
from mkgc_cl.results import RunRecord
from mkgc_cl.runs import Run, run_grid

out, wait = Path(sys.argv[1]), sys.argv[2] == "wait"

def run(run, progress):
    with (out.parent / "ran.txt").open("a") as file:
        file.write(f"{run.seed}\\n")
    if wait and run.seed == 2:
        time.sleep(60)
    matrix = ResultMatrix(1)
    matrix.record("test", after=0, on=0, counts=Counts(run.seed, 10, 10))
    return RunRecord.from_matrix(matrix, system=run.system, scenario=run.scenario,
        order=run.order, seed=run.seed, tasks=["T1"], seconds=1.0)

runs = [Run("full", "demo-ner", "PER", seed) for seed in range(4)]
sys.exit(run_grid(runs, run, out=out, quiet=True).exit_code)
"""


@pytest.mark.slow
def test_a_killed_grid_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    """SIGKILL in the third run: two are kept, the other two run, the file is the same."""
    for name in ("killed", "whole"):
        (tmp_path / name).mkdir()
    killed, whole = tmp_path / "killed" / "out", tmp_path / "whole" / "out"
    ran = tmp_path / "killed" / "ran.txt"
    command = [sys.executable, "-c", KILLED]
    process = subprocess.Popen([*command, str(killed), "wait"])
    deadline = time.monotonic() + 60
    while not (ran.exists() and "2" in ran.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "results.json").exists()
    for out in (killed, whole):
        subprocess.run([*command, str(out), "go"], check=True, timeout=60)
    assert ran.read_text().split() == ["0", "1", "2", "2", "3"]
    assert (killed / "results.json").read_bytes() == (whole / "results.json").read_bytes()


@pytest.mark.parametrize(
    "damage", ["empty", "cut", "flipped", "not json", "no record", "no traces"]
)
def test_a_damaged_run_is_set_aside_and_runs_again(
    make_record, tmp_path: Path, caplog, damage: str
) -> None:
    run_grid(RUNS, Runner(make_record), out=tmp_path, quiet=True)
    expected = (tmp_path / "results.json").read_bytes()
    path = tmp_path / "records" / f"{RUNS[0].key}.json"
    text = path.read_text()
    if damage == "no traces":
        path.with_name(f"{RUNS[0].key}.traces.json").unlink()
    else:
        path.write_text(
            {
                "empty": "",
                "cut": text[: len(text) // 2],
                "flipped": text.replace("80.0", "90.0"),
                "not json": "results",
                "no record": '{"digest": "x"}',
            }[damage]
        )
    runner = Runner(make_record)
    run_grid(RUNS, runner, out=tmp_path, quiet=True)
    assert runner.ran == [("b", 0)]
    assert (tmp_path / "results.json").read_bytes() == expected
    assert path.with_name(path.name + ".damaged").exists()
    assert f"{path} is damaged" in caplog.text
    assert "the run (b, PER-LOC, seed 0) runs again" in caplog.text


def test_a_run_under_a_foreign_name_is_refused(make_record, tmp_path: Path) -> None:
    run_grid(RUNS, Runner(make_record), out=tmp_path, quiet=True)
    first, second = (tmp_path / "records" / f"{run.key}.json" for run in RUNS[:2])
    second.write_bytes(first.read_bytes())
    with pytest.raises(RecordError, match=rf"{second.name}: it holds the run \('b'.*renamed"):
        run_grid(RUNS, Runner(make_record), out=tmp_path, quiet=True)


def test_a_run_of_a_newer_version_is_refused_and_kept(
    make_record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mkgc_cl.results.record.FORMAT", 2)
    run_grid(RUNS[:1], Runner(make_record), out=tmp_path, quiet=True)
    monkeypatch.undo()
    path = tmp_path / "records" / f"{RUNS[0].key}.json"
    with pytest.raises(RecordError, match=rf"{path.name}: format 2 .* use the version"):
        load_run(tmp_path, RUNS[0])
    assert path.exists()


def test_traces_may_hold_what_json_cannot(make_record, tmp_path: Path) -> None:
    odd = {"gamma": [1.0, float("inf"), float("nan")]}
    run_grid(RUNS[:1], lambda *_: make_record("b", traces=odd), out=tmp_path, quiet=True)
    found = load_run(tmp_path, RUNS[0])
    assert found is not None
    assert found.traces["gamma"] == pytest.approx([1.0, float("nan"), float("nan")], nan_ok=True)


def test_a_record_that_is_not_the_runs_is_a_failure(make_record, tmp_path: Path) -> None:
    result = run_grid(RUNS[:1], lambda run, _: make_record("x"), out=tmp_path, quiet=True)
    assert "is not the run's: it holds the run ('x'" in result.failures[0].error
    assert load_run(tmp_path, RUNS[0]) is None


def test_the_key_depends_on_the_whole_identity_and_on_no_order() -> None:
    run = Run("s", "d", "o", 0, {"a": 1, "b": [1, 2]})
    assert run.key == Run("s", "d", "o", 0, {"b": [1, 2], "a": 1}).key
    # a number to be kept: another one would run every finished run of every user again
    assert run.key == "6b1baf49bc0d6d7d"
    others = [
        Run("t", "d", "o", 0, run.config),
        Run("s", "e", "o", 0, run.config),
        Run("s", "d", "p", 0, run.config),
        Run("s", "d", "o", 1, run.config),
        Run("s", "d", "o", 0, {"a": 1, "b": [2, 1]}),
    ]
    assert len({run.key, *(other.key for other in others)}) == 6


def test_the_same_run_twice_is_a_mistake(make_record, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\(b, PER-LOC, seed 0\) is asked for twice"):
        run_grid([RUNS[0], RUNS[0]], Runner(make_record), out=tmp_path, quiet=True)


def test_plain_lines_where_there_is_no_terminal(make_record, tmp_path: Path, capsys) -> None:
    run_grid(RUNS[:2], Runner(make_record, [("a", 0)]), out=tmp_path)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(
        "[1/2] b, PER-LOC, seed 0: done in 2 s, final A 65.0 %, mean A 72.5 %"
    )
    assert lines[0].endswith(" s left")
    assert lines[1] == "[2/2] a, PER-LOC, seed 0: FAILED, ValueError: the loss is not finite"
    run_grid(RUNS[:2], Runner(make_record), out=tmp_path)
    assert "1 of 2 runs are finished already" in capsys.readouterr().err


def test_a_run_that_measured_nothing_says_so_in_its_line(
    make_record, tmp_path: Path, capsys
) -> None:
    nothing = make_record("b", 0, ((None,),))
    run_grid(RUNS[:1], lambda *_: nothing, out=tmp_path)
    assert "done in 2 s, final A -, mean A -\n" in capsys.readouterr().err
    (kept,) = read_results(tmp_path / "results.json")
    assert (kept.A, kept.forgetting) == ((None,), None)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal_and_silence_when_quiet() -> None:
    screen = Terminal()
    progress = GridProgress(2, stream=screen)
    progress.start("full, seed 0")
    progress(0.25, "task 1")
    progress.message("a line beside the bar")
    progress.finish("done")
    progress.close()
    text = screen.getvalue()
    assert "full, seed 0:  12%" in text
    assert "1.0/2" in text
    assert "a line beside the bar\n" in text
    silent = Terminal()
    progress = GridProgress(1, stream=silent, quiet=True)
    progress.start("x")
    progress(0.5)
    progress.finish("done")
    progress.close()
    assert silent.getvalue() == ""


def test_lines_within_a_run_are_rare() -> None:
    lines = io.StringIO()
    progress = GridProgress(2, stream=lines, every=3600)
    progress.start("x")
    progress(0.5)
    assert lines.getvalue() == ""
    progress = GridProgress(2, stream=lines, every=0)
    progress.start("x")
    progress(0.5, "task 2 of 4")
    assert lines.getvalue().startswith("[1/2] x: 50 %, task 2 of 4, about 0 s left")
