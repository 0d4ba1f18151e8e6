"""JSON and provenance."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest

from mkgc_cl.results.json_files import to_json
from mkgc_cl.runs import provenance


def test_json_is_the_same_bytes_for_the_same_data() -> None:
    assert to_json({"b": [1.5, None], "a": "é"}) == to_json({"a": "é", "b": [1.5, None]})
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"a": float("nan")})
    assert to_json("\ud83d").encode() == b'"\\ud83d"\n'


@pytest.mark.slow
def test_results_and_their_environment_import_nothing_heavy() -> None:
    code = (
        "import sys, json, mkgc_cl.results.__main__, mkgc_cl.results.report, mkgc_cl.config;"
        "from mkgc_cl.runs.provenance import environment;"
        "print(json.dumps([environment(), sorted({m.split('.')[0] for m in sys.modules})]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    found, modules = json.loads(done.stdout)
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["packages"]["numpy"] == numpy.__version__
    assert found["cpus"] == os.cpu_count()
    heavy = {"torch", "avalanche", "matplotlib", "numpy", "transformers", "timm", "sklearn"}
    assert set(modules).isdisjoint(heavy | {"tqdm", "jinja2"})


def test_git_state_of_a_checkout_and_of_none(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        subprocess.run(command, check=True)

    assert provenance.git_state(tmp_path / "absent") is None
    git("init", "-q")
    (tmp_path / "a.py").write_text("1")
    assert provenance.git_state(tmp_path) is None
    git("add", "a.py")
    git("commit", "-qm", "first")
    state = provenance.git_state(tmp_path)
    assert state is not None
    assert state["dirty"] is False
    assert len(str(state["commit"])) == 40
    assert state["changes"] is None
    (tmp_path / "a.py").write_text("2")
    changed = provenance.git_state(tmp_path)
    assert changed["dirty"] is True
    assert changed["changes"] == provenance.git_state(tmp_path)["changes"] is not None
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_a.py").write_text("3")
    git("add", "tests")
    assert provenance.git_state(tmp_path)["changes"] == changed["changes"]
    (tmp_path / "a.py").write_bytes(b"# \xff")
    assert provenance.git_state(tmp_path)["changes"] not in (None, changed["changes"])
    (tmp_path / "env").mkdir()  # an environment inside somebody's repository, not tracked by it
    assert provenance.git_state(tmp_path / "env") is None


def test_peak_memory_sees_what_was_used_since_the_reset() -> None:
    provenance.reset_peak_memory()
    before = provenance.peak_memory_mb()
    if before is None:
        pytest.skip("this system does not tell the peak memory of a process")
    block = numpy.ones(30_000_000)  # 240 MB
    after = provenance.peak_memory_mb()
    assert after is not None
    assert after - before > 200 * block[0]
    del block
    if provenance.reset_peak_memory():
        assert provenance.peak_memory_mb() < after - 100
