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

# Kinds of moments and the how-manieth of its kind, in the order in which a run of two short tasks
# comes to them, so that every one is met.
TRAINED = (
    ("step", 4),
    ("file", 5),
    ("description", 2),
    ("after a description", 1),
    ("between tasks", 1),
    ("evaluation", 1),
    ("step", 2),
    ("history", 1),
    ("record", 1),
    ("report", 1),
    ("table", 3),
)
CLOSED_FORM = (
    ("file", 1),
    ("description", 1),
    ("after a description", 1),
    ("evaluation", 1),
    ("between tasks", 1),
    ("record", 1),
    ("report", 1),
    ("table", 3),
)
# Every moment for one system, and those of one that takes no steps; that the states of the others
# are whole says their contract (tests/strategies/test_systems.py).
KINDS = [
    ("MSPT", TRAINED, [*NER, STEPS]),
    ("Frozen + Gaussian", (("file", 1), ("between tasks", 1)), ["imre"]),
]
# RP-CRE has no version for tags.
MATRIX = [
    ("MSPT", TRAINED, [*NER, STEPS]),
    ("MSPT", TRAINED, ["imre", STEPS]),
    ("RP-CRE", TRAINED, ["imre", STEPS]),
    ("UMGF", TRAINED, [*NER, STEPS]),
    ("UMGF", TRAINED, ["imre", STEPS]),
    ("Frozen + Gaussian", CLOSED_FORM, NER),
    ("Frozen + Gaussian", CLOSED_FORM, ["imre"]),
]


@pytest.mark.timeout(3700)  # a hundred runs; its subprocess has 3600
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the driver forks")
@pytest.mark.parametrize(
    "cases",
    [
        pytest.param(KINDS, id="every kind", marks=pytest.mark.slow),
        pytest.param(MATRIX, id="everywhere", marks=pytest.mark.exhaustive),
    ],
)
def test_killed_as_often_as_can_be(cases: list, tmp_path: Path) -> None:
    # one process for all: importing everything takes longer than a run
    asked = [
        (str(tmp_path / f"{system}, {argv[0]}"), points, [*argv, "--systems", system, *TINY])
        for system, points, argv in cases
    ]
    done = subprocess.run(
        [sys.executable, str(DRIVER), json.dumps(asked)],
        capture_output=True, text=True, timeout=3600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for (folder, points, _), line in zip(asked, done.stdout.splitlines(), strict=True):
        logs = "".join(path.read_text() for path in Path(folder).glob("*.log"))
        assert json.loads(line) == {
            "straight": "code 0",
            "points": ["killed"] * len(points),
            "last": "code 0",
            "files": 6,
            "same": True,
            "left": [],
        }, f"{folder}: {logs}"
