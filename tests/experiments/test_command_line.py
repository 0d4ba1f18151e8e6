"""What scripts share: flags that cannot be meant, exit codes, runs that are there already."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mkgc_cl.data import LabelSpace
from mkgc_cl.errors import ConfigError, DataError, OutputError
from mkgc_cl.experiments import (
    ablation,
    ablation_plan,
    command_line,
    imre,
    paper_rows,
    table_cli,
    table_plan,
)
from mkgc_cl.metrics import Counts, ResultMatrix
from mkgc_cl.results import Run, RunRecord, run_grid

LABELS = LabelSpace("re", ("r",), na="None")
RUN = Run("full", "demo-ner", "PER", 0, {"epochs": 1})


def record(*_: object) -> RunRecord:
    matrix = ResultMatrix(1)
    matrix.record("test", after=0, on=0, counts=Counts(1, 2, 2))
    return RunRecord.from_matrix(
        matrix, system=RUN.system, scenario=RUN.scenario, order=RUN.order, seed=RUN.seed,
        tasks=["T1"], seconds=1.0, config=RUN.config,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["--out", ""], "--out is empty; give a value, or leave the flag out"),
        (["--config", " "], "--config is empty"),
        (["--data", "", "--scenario", "imner"], "--data is empty"),
        (["--seeds", ""], "--seeds is empty"),
        (["--order", "-"], "--order is empty"),
        (["--out", "FILE"], "FILE: results cannot be kept there (Not a directory)"),
        (["--out", "FILE/below"], "FILE/below: results cannot be kept there (Not a directory)"),
        (["--out", "x" * 300], "results cannot be kept there (File name too long)"),
        (["--config", "x" * 5000], "xxx...: no such file or setting"),
        (["--config", "FIFO"], "FIFO: expected a regular file, found a named pipe"),
        (["--config", "."], ".: expected a regular file, found a folder"),
        (["name=" + "x" * 300], "'name' must be at most 200 bytes long, got 300"),
        (['name="a\\nb"'], "'name' must be the name of one folder"),
        (['name="a\\0b"'], "no NUL"),
        (['name="\\ud800"'], "no bytes that are not UTF-8"),
    ],
)
def test_flags_that_cannot_be_meant(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    argv: list[str],
    problem: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").touch()
    os.mkfifo(tmp_path / "FIFO")
    tables = table_cli
    argv = ["--out", str(tmp_path / "runs"), *argv]
    with pytest.raises(ConfigError) as caught:
        ablation.settings_of_orders(ablation.parse(argv))
    assert problem in "\n".join(caught.value.problems)
    assert len(str(caught.value)) < 1000
    if "--order" not in argv:  # which tables do not have
        script = imre.SCRIPT
        with pytest.raises(ConfigError) as caught:
            tables.settings_of(script, tables.parse(script, argv))
        assert problem in "\n".join(caught.value.problems)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["FIFO", "FILE"]


def test_an_empty_flag_is_told_with_the_other_mistakes() -> None:
    with pytest.raises(ConfigError) as caught:
        ablation.settings_of_orders(ablation.parse(["--out", "", "--epochs", "0", "seeds=1,1"]))
    assert len(caught.value.problems) == 2  # the last is asked for where all fields are right


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OutputError("the disk is full"), 1),
        (ConfigError(["wrong"]), 2),
        (DataError("damaged"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes(capsys, error: BaseException, code: int) -> None:
    def fail() -> int:
        raise error

    streams = sys.stdout, sys.stderr
    assert command_line.exit_code(fail) == code
    assert command_line.exit_code(lambda: 0) == 0
    assert str(error) in capsys.readouterr().err
    assert (sys.stdout, sys.stderr) == streams


def test_runs_beside_are_taken_over_when_they_are_whole(tmp_path: Path) -> None:
    plan = table_plan
    run_grid([RUN], record, out=tmp_path / "one", quiet=True)
    target = tmp_path / "two"
    traces = tmp_path / "one" / "records" / f"{RUN.key}.traces.json"
    text = traces.read_text()
    for wrong in ('{"gamma": 5}', "", '{"gamma": [1.0]}'):
        traces.write_text(wrong)
        plan.reuse_finished([RUN], target)
        assert not target.exists()
    traces.write_text(text)
    plan.reuse_finished([RUN], target)
    assert (target / "records" / traces.name).read_text() == text


def test_records_of_other_settings_are_no_rows_of_an_ablation(tmp_path: Path) -> None:
    settings = ablation.settings_of(ablation.parse([]))
    plan = ablation_plan.Plan(settings, LABELS, "f00d", paper_rows.Paper(), tmp_path)
    own = replace(record(), config=plan.runs[0].config)
    assert plan.current([record(), own]) == (own,)
