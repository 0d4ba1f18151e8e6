"""Nothing that was computed is lost without a word, and no odd file ends a grid."""

from __future__ import annotations

import errno
import json
import logging
import os
import tempfile
from pathlib import Path

import pytest

from mkgc_cl._files import PREFIX, SUFFIX
from mkgc_cl.errors import OutputError
from mkgc_cl.results import RunRecord
from mkgc_cl.results.run_files import digest, finished_records, read_results, read_run
from mkgc_cl.runs import Run, grid, run_grid
from mkgc_cl.runs.kept import load_run

RUNS = [Run("full", "demo-ner", "PER-LOC", seed, {"epochs": 1}) for seed in range(3)]


class Runner:
    """Counts its runs and does something before it returns the record of one of them."""

    def __init__(self, make, act=lambda: None, *, at: int = 1, **record) -> None:
        self.make, self.act, self.at, self.record, self.ran = make, act, at, record, []

    def __call__(self, run: Run, progress) -> RunRecord:
        self.ran.append(run.seed)
        if run.seed == self.at:
            self.act()
        return self.make(run.system, run.seed, [[80], [60, 70 + run.seed]], **self.record)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def jam(out: Path) -> None:
    """Move the records away and put a file where their folder was."""
    (out / "records").rename(out / "moved")
    (out / "records").touch()


def test_a_folder_that_takes_nothing_is_told_before_the_first_run(
    make_record, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = Runner(make_record)
    (out.parent / "file").touch()
    with pytest.raises(OutputError, match=r"file/below/records: .*Not a directory.*choose another"):
        run_grid(RUNS, runner, out=out.parent / "file" / "below", quiet=True)
    with pytest.raises(OutputError, match="File name too long"):
        run_grid(RUNS, runner, out="x" * 300, quiet=True)
    with pytest.raises(OutputError, match="File name too long"):  # below what is not there yet
        run_grid(RUNS, runner, out=out / "new" / ("x" * 300), quiet=True)
    deep = out / "/".join(["x"] * ((os.pathconf("/", "PC_PATH_MAX") - len(str(out)) - 20) // 2))
    with pytest.raises(OutputError, match="File name too long"):  # its files'
        run_grid(RUNS, runner, out=deep, quiet=True)

    left: list[str] = []

    def full(handle: int) -> None:
        left.extend(path.name for path in out.parent.iterdir() if path.name != "file")
        if os.fstat(handle).st_size >= 2**20:  # a few bytes would find room
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mkgc_cl.results.writing.os.fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        run_grid(RUNS, runner, out=out, quiet=True)
    assert runner.ran == []
    assert not out.exists()
    assert [path.name for path in out.parent.iterdir()] == ["file"]
    # killed at this moment, it would leave a file that later writes remove
    assert [name.startswith(PREFIX) and name.endswith(SUFFIX) for name in left] == [True]


def test_what_cannot_be_kept_is_not_begun(
    make_record, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full after a record was written: claims are small, and still find room."""

    def full(folder: Path, **_: int) -> None:
        if (folder / f"{RUNS[0].key}.json").exists():
            raise OutputError("full")

    monkeypatch.setattr(grid, "check_writable", full)
    runner = Runner(make_record)
    with pytest.raises(OutputError, match="full"):
        run_grid(RUNS, runner, out=out, quiet=True)
    assert runner.ran == [0]
    assert [record.seed for record in finished_records(out)] == [0]


def test_a_record_that_cannot_be_written_is_kept_elsewhere_and_ends_the_grid(
    make_record, out: Path, temporary: Path
) -> None:
    runner = Runner(make_record, lambda: jam(out), traces={"gamma": [1.0, 2.0]})
    with pytest.raises(OutputError) as caught:
        run_grid(RUNS, runner, out=out, quiet=True)
    assert runner.ran == [0, 1]
    (place,) = temporary.iterdir()
    name = f"{RUNS[1].key}.json"
    assert f"{out / 'records' / name}: the record of the finished run" in str(caught.value)
    assert f"it is kept in {place}: move its files to {out / 'records'}" in str(caught.value)
    found = read_run(place / name)
    assert (found.A, found.traces) == ((80, 65.5), {"gamma": [1.0, 2.0]})
    # as the message says
    (out / "records").unlink()
    (out / "moved").rename(out / "records")
    for path in place.iterdir():
        path.rename(out / "records" / path.name)
    assert len(run_grid(RUNS, runner, out=out, quiet=True).records) == 3
    assert runner.ran == [0, 1, 2]


def test_a_record_that_can_be_kept_nowhere_is_in_the_message(
    make_record, out: Path, temporary: Path
) -> None:
    def act() -> None:
        jam(out)
        temporary.rmdir()

    with pytest.raises(OutputError, match="nor can a temporary folder keep it") as caught:
        run_grid(RUNS, Runner(make_record, act), out=out, quiet=True)
    kept = json.loads(str(caught.value).splitlines()[-1])
    assert RunRecord.from_dict(kept["record"]).A == (80, 65.5)


def test_a_failure_that_cannot_be_noted_is_told(make_record, out: Path) -> None:
    def act() -> None:
        (out / "failed").touch()
        raise ValueError("the loss is not finite")

    runner = Runner(make_record, act)
    with pytest.raises(OutputError, match="it failed of ValueError: the loss is not finite"):
        run_grid(RUNS, runner, out=out, quiet=True)
    assert runner.ran == [0, 1]
    assert len(read_results(out / "results.json")) == 1


def test_a_record_that_is_no_json_is_a_failure_of_that_run_alone(make_record, out: Path) -> None:
    def make(system: str, seed: int, rows) -> RunRecord:
        record = make_record(system, seed, rows)
        return record if seed else RunRecord(**{**vars(record), "seconds": float("nan")})

    result = run_grid(RUNS, Runner(make), out=out, quiet=True)
    assert [failure.run.seed for failure in result.failures] == [0]
    assert [record.seed for record in result.records] == [1, 2]


def test_text_that_utf_8_has_no_bytes_for_is_kept_as_it_is(
    make_record, out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # what is logged would be part of the report that a worker of xdist sends, as UTF-8
    caplog.set_level(logging.CRITICAL + 1)
    runs = [Run("\udcff", "demo-ner", "PER-LOC", seed) for seed in range(2)]

    def act() -> None:
        raise ValueError("\udcff")

    result = run_grid(runs, Runner(make_record, act), out=out, quiet=True)
    assert [record.system for record in result.records] == ["\udcff"]
    assert result.failures[0].error == "ValueError: \udcff"
    assert read_results(out / "results.json")[0].system == "\udcff"


def test_a_folder_that_is_renamed_meanwhile_is_an_error_at_the_end(make_record, out: Path) -> None:
    runner = Runner(make_record, lambda: out.rename(out.with_name("moved")))
    with pytest.raises(OutputError, match=r"are gone \(full, PER-LOC, seed 0\); if the folder was"):
        run_grid(RUNS, runner, out=out, quiet=True)
    assert runner.ran == [0, 1, 2]
    assert [record.seed for record in read_results(out / "results.json")] == [1, 2]


def test_several_processes_say_all_that_they_could_not_keep(
    make_record, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stands in for the pool; an error comes back from a process as an object."""

    def finished(attempt, runs, *, jobs: int):
        yield runs[0], attempt(runs[0])
        yield runs[1], OutputError("one is kept in a")
        yield runs[2], OutputError("two is kept in b")

    monkeypatch.setattr(grid, "as_finished", finished)
    with pytest.raises(OutputError, match="one is kept in a\ntwo is kept in b"):
        run_grid(RUNS, Runner(make_record), out=out, quiet=True, jobs=2)
    assert len(read_results(out / "results.json")) == 1


def test_series_of_another_run_are_not_taken(make_record, out: Path, caplog) -> None:
    runner = Runner(make_record, traces={"gamma": [1.0]})
    run_grid(RUNS[:1], runner, out=out, quiet=True)
    run_grid(RUNS[1:2], Runner(make_record, traces={"gamma": [2.0]}), out=out, quiet=True)
    one, two = (out / "records" / f"{run.key}.traces.json" for run in RUNS[:2])
    two.write_bytes(one.read_bytes())
    run_grid(RUNS[:2], runner, out=out, quiet=True)
    assert f"{two.name} is that of another run" in caplog.text
    assert runner.ran == [0, 1]
    assert two.with_name(f"{two.name}.damaged").read_bytes() == one.read_bytes()


def test_records_from_before_series_had_a_digest_are_read(make_record, out: Path) -> None:
    run_grid(RUNS[:1], Runner(make_record, traces={"gamma": [1.0]}), out=out, quiet=True)
    path = out / "records" / f"{RUNS[0].key}.json"
    data = json.loads(path.read_text())
    del data["traces_digest"]
    assert data["digest"] == digest(data["record"])
    path.write_text(json.dumps(data))
    found = load_run(out, RUNS[0])
    assert found is not None
    assert found.traces == {"gamma": [1.0]}


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("suffix", "content", "why"),
    [
        (".traces.json", '{"gamma": 5}', "holds no series of numbers"),
        (".traces.json", '{"gamma": ["1"]}', "holds no series of numbers"),
        (".traces.json", f'{{"gamma": [1{"0" * 400}]}}', "holds no series of numbers"),
        (".traces.json", f'{{"gamma": {DEEP}}}', "too deep to be read"),
        (".json", DEEP, "too deep to be read"),
        (".json", f'{{"record": {"[" * 900}{"]" * 900}}}', ""),
        (".json", None, "found a named pipe"),
        (".traces.json", None, "found a named pipe"),
    ],
)
@pytest.mark.timeout(60)
def test_an_odd_file_is_set_aside_and_the_rest_goes_on(
    make_record, out: Path, caplog, suffix: str, content: str | None, why: str
) -> None:
    runner = Runner(make_record)
    run_grid(RUNS, runner, out=out, quiet=True)
    expected = (out / "results.json").read_bytes()
    path = out / "records" / f"{RUNS[1].key}{suffix}"
    path.unlink()
    if content is None:
        os.mkfifo(path)
    else:
        path.write_text(content)
    assert [record.seed for record in finished_records(out)] == [0, 2]
    assert why in caplog.text
    assert len(run_grid(RUNS[:1], runner, out=out, quiet=True).records) == 2
    run_grid(RUNS, runner, out=out, quiet=True)
    assert runner.ran == [0, 1, 2, 1]
    assert (out / "results.json").read_bytes() == expected
    assert path.with_name(f"{path.name}.damaged").exists()


def test_what_was_set_aside_before_is_not_replaced(make_record, out: Path) -> None:
    path = out / "records" / f"{RUNS[0].key}.json"
    for text in ("one", "two"):
        run_grid(RUNS[:1], Runner(make_record), out=out, quiet=True)
        path.write_text(text)
    assert load_run(out, RUNS[0]) is None
    damaged = [path.with_name(f"{path.name}.damaged{n}") for n in ("", "-2")]
    assert [file.read_text() for file in damaged] == ["one", "two"]


def test_a_second_file_of_one_run_is_left_out(make_record, out: Path, caplog) -> None:
    run_grid(RUNS[:1], Runner(make_record), out=out, quiet=True)
    key = RUNS[0].key
    for suffix in (".json", ".traces.json"):
        (out / "records" / f"0{suffix}").write_bytes(
            (out / "records" / f"{key}{suffix}").read_bytes()
        )
    assert len(finished_records(out)) == 1
    assert f"0.json is left out of the results: {key}.json is of that run" in caplog.text
