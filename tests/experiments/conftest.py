"""Training stood in for: a script runs from the command line to its files in a second."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

from mkgc_cl.data import LabelSpace, TaskStream
from mkgc_cl.experiments import controls
from mkgc_cl.experiments.pipeline import cli, paper_rows, plan, report, run, sweep
from mkgc_cl.metrics import Counts, ResultMatrix
from mkgc_cl.results import RunRecord, about

REAL = {"image_files": 9, "image_files_blank": 9}
MADE = TaskStream("made", LabelSpace("re", ("r",), na="None"), (), REAL)

Script = Callable[..., int]


@pytest.fixture
def ran(untrained: list[tuple[str, str, int]], monkeypatch: pytest.MonkeyPatch) -> list:
    """Nothing built before it either."""
    monkeypatch.setattr(run, "check_builds", lambda *_: None)
    return untrained


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int]]:
    """Replace training by numbers that depend on row, budget and seed; return what was run."""
    done: list[tuple[str, str, int]] = []

    def make_run(self: run.Runner, made: run.Run, progress: object) -> RunRecord:
        done.append((made.system, made.order, made.seed))
        if made.config["options"].get("weight") == -1:
            raise ValueError("weight=-1")
        tasks = {"sep10": 10, "sep7": 7, "sep5": 5}.get(made.order, 4)
        matrix = ResultMatrix(tasks)
        more = made.config["exemplars"] or 0
        for after in range(tasks):
            for on in range(after + 1):
                tp = 80 - 5 * (after - on) + len(made.system) % 7 + made.seed + more
                matrix.record("test", after=after, on=on, counts=Counts(tp, 100, 100))
        return RunRecord.from_matrix(
            matrix,
            system=made.system,
            scenario=made.scenario,
            order=made.order,
            seed=made.seed,
            tasks=[f"T{n + 1}" for n in range(tasks)],
            seconds=1.0,
            config=made.config,
            provenance={**self.made_by, "stream": REAL},
            traces={"gamma": [1.0, 2.0, 0.5, 1.5], "boundaries": [0.0, 2.0]},
        )

    monkeypatch.setattr(run.Runner, "__call__", make_run)
    for module in (plan, controls):
        monkeypatch.setattr(module, "read_stream", lambda *_: MADE)
    for draw in ("draw_matrix", "draw_curves"):  # figures take seconds
        monkeypatch.setattr(about, draw, lambda *_, **__: None)
    monkeypatch.setattr(report, "draw_gamma", lambda *_, **__: None)
    monkeypatch.setattr(sweep, "draw_sweep", lambda *_, **__: None)
    monkeypatch.setattr(paper_rows, "other_data", lambda *_: "")
    return done


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Run a script by name, quietly, into ``tmp_path``."""

    def call(name: str, *argv: str) -> int:
        made = importlib.import_module(f"mkgc_cl.experiments.{name}").SCRIPT
        return cli.main(made, [*argv, "--out", str(tmp_path), "--quiet"])

    return call
