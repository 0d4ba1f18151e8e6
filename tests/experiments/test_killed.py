"""A script that is killed at any moment, as often as it may be, ends with what it would have."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("killed.py")
TINY = ["--quick", "--seeds", "0", "--epochs", "2", "stream.train_per_task=12", "stream.first=2",
        "stream.test_size=12", "training.batch_size=4", "--device", "cpu"]  # fmt: skip
ORDER = {"imner": ["--orders", "PER-ORG-LOC-MISC"], "imre": []}
CASES = [
    ("imner", "MSPT", 2),
    ("imre", "MSPT", None),
    ("imre", "RP-CRE", 2),
    ("imner", "UMGF", 2),
    ("imre", "Frozen + Gaussian", None),
    ("imner", "Frozen + Gaussian", 1),
]


@pytest.mark.slow
@pytest.mark.parametrize(("script", "system", "steps"), CASES)
def test_killed_as_often_as_can_be(
    script: str, system: str, steps: int | None, tmp_path: Path
) -> None:
    argv = [script, "--systems", system, *TINY, *ORDER[script]]
    if steps is not None:
        argv.append(f"checkpoint.steps={steps}")
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(tmp_path), *argv],
        capture_output=True, text=True, timeout=1800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    logs = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert said["straight"] == ["code 0"], logs
    assert set(said["points"]) <= {"killed", "code 0"}, logs
    assert said["points"].count("killed") >= (3 if "Gaussian" in system else 5), said["points"]
    assert set(said["random"]) <= {"killed", "code 0"}, logs
    assert said["last"] == ["code 0", "code 0"], logs
    assert len(said["files"]) == 3
    assert said["same"] == [True, True]
    assert said["left"] == []
