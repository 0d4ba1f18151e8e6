"""A script that is killed at any moment, as often as it may be, ends with what it would have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("killed.py")
TINY = ["--quick", "--seeds", "0", "--epochs", "2", "stream.train_per_task=12", "stream.first=2",
        "stream.test_size=24", "training.batch_size=4", "--device", "cpu"]  # fmt: skip
NER = ["imner", "--orders", "PER-ORG-LOC-MISC"]
STEPS = "checkpoint.steps=2"
CASES = {
    "MSPT": ("every", 9, [*NER, STEPS]),
    "RP-CRE": ("training", 5, ["imre", STEPS]),
    "UMGF": ("training", 5, [*NER, STEPS]),
    "Frozen + Gaussian": ("closed form", 5, ["imre"]),
}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the driver forks")
def test_killed_as_often_as_can_be(tmp_path: Path) -> None:
    # one process for all: importing everything takes longer than a run
    cases = [
        (str(tmp_path / system), points, [*argv, "--systems", system, *TINY])
        for system, (points, _, argv) in CASES.items()
    ]
    done = subprocess.run(
        [sys.executable, str(DRIVER), json.dumps(cases)],
        capture_output=True, text=True, timeout=1800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for (system, (_, points, _)), line in zip(CASES.items(), done.stdout.splitlines(), strict=True):
        said = json.loads(line)
        logs = "".join(path.read_text() for path in (tmp_path / system).glob("*.log"))
        assert said == {
            "straight": "code 0",
            "points": ["killed"] * points,
            "last": "code 0",
            "files": 3,
            "same": True,
            "left": [],
        }, f"{system}: {logs}"
