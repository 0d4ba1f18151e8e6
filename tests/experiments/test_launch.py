"""What processes of torchrun tell each other, and what is refused under it."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch.distributed as dist

from mkgc_cl.errors import ConfigError, GroupError, TrainingError
from mkgc_cl.experiments.pipeline.cli import exit_code
from mkgc_cl.experiments.pipeline.launch import Team, follows, launch_problems, launched
from mkgc_cl.strategies.distributed import ALONE, Ranks


@pytest.fixture
def torchrun(monkeypatch: Any) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def kept_signals(monkeypatch: Any) -> None:
    monkeypatch.setattr("mkgc_cl.experiments.pipeline.launch.signal.signal", lambda *_: None)


def test_without_torchrun_nobody_follows(monkeypatch: Any) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("RANK", "1")  # of some other launcher
    assert not launched()
    assert not follows()
    assert launch_problems(jobs=2, device="cuda:0") == []


@pytest.mark.usefixtures("torchrun")
def test_runs_at_a_time_and_one_gpu_for_all_are_refused() -> None:
    assert follows()
    assert launch_problems(jobs=1, device="cuda") == []
    jobs, launcher, device = launch_problems(jobs=2, device="cuda:0", launcher="ray")
    assert "--jobs 2" in jobs
    assert "--launcher ray" in launcher
    assert "'cuda:0'" in device


@pytest.mark.usefixtures("torchrun")
def test_a_script_that_trains_by_itself_is_refused_once(capsys: Any, monkeypatch: Any) -> None:
    logging.disable()
    try:
        assert exit_code(lambda: 0) == 2
        assert not capsys.readouterr().err  # the first process says it
        monkeypatch.setenv("RANK", "0")
        assert exit_code(lambda: 0) == 2
    finally:
        logging.disable(logging.NOTSET)
    assert "start it without" in capsys.readouterr().err
    assert exit_code(lambda: 0, together=True) == 0


@pytest.mark.usefixtures("kept_signals")
@pytest.mark.parametrize(
    ("told", "raised", "reason"),
    [
        # the first process sees another one's failure as a connection that is gone, or is ended
        (True, RuntimeError("connection closed"), "process 2 of 2, TrainingError: no"),
        (True, KeyboardInterrupt(), "process 2 of 2, TrainingError: no"),
        (False, RuntimeError("connection closed"), "a process was lost: connection closed"),
        # its own mistakes are told as its own
        (True, ConfigError(["mine"]), "ConfigError: 1 mistake(s)"),
        (False, ValueError("mine"), "ValueError: mine"),
        (True, RuntimeError("CUDA out of memory"), "RuntimeError: CUDA out of memory"),
    ],
)
def test_the_first_process_tells_what_has_failed(
    told: bool, raised: BaseException, reason: str
) -> None:
    store = dist.HashStore()
    if told:
        other = Team(Ranks(1, 2, True), store)
        other.tell(TrainingError("no"))
        other.tell(RuntimeError("connection closed"))  # an echo of the first
    with pytest.raises(GroupError) as error, Team(ALONE, store).leading("a"):
        raise raised
    assert error.value.reason.startswith(reason)


@pytest.mark.usefixtures("kept_signals")
def test_nobody_is_blamed_for_a_process_that_is_lost() -> None:
    store, gone = dist.HashStore(), RuntimeError("[gloo/pair.cc] Connection closed by peer")
    Team(Ranks(1, 3, True), store).tell(gone)  # the third one was killed
    with pytest.raises(GroupError, match="a process was lost"), Team(ALONE, store).leading("a"):
        raise gone


def test_an_interrupt_stays_one() -> None:
    with pytest.raises(KeyboardInterrupt), Team(ALONE, dist.HashStore()).leading("a"):
        raise KeyboardInterrupt
