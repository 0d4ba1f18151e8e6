"""Shards that a Ray cluster writes, of which a process is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from people import NAMES, PLACES, RECORDS

from mkgc_cl.inference import Extractor
from mkgc_cl.inference.shards import Job, planned, write_here


def writers(parent: int) -> list[psutil.Process]:
    """Processes of extractors below a process."""
    found = []
    for child in psutil.Process(parent).children(recursive=True):
        try:
            if "ShardWriter" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install 'mkgc_cl[ray]'")
def test_a_cluster_writes_what_one_process_does_though_a_writer_is_killed(tmp_path: Path) -> None:
    extractor = Extractor.from_encoder("tiny")
    extractor.learn(RECORDS)
    extractor.save(tmp_path / "x")
    file = tmp_path / "texts.txt"
    lines = [f"{NAMES[n % 6]} lives in {PLACES[n % 5]} {n}" for n in range(4000)]
    file.write_text("\n".join(lines))
    job = Job(tmp_path / "x", (file,), tmp_path / "here", texts=64)
    list(write_here(planned(job, lambda words: None)))

    out = replace(job, out=tmp_path / "ray").out
    argv = ["predict", "x", "texts.txt", "--out", "ray", "--shard", "64", "--launcher", "ray"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mkgc_cl", *argv],
        cwd=tmp_path, env={**os.environ, "RAY_ADDRESS": ""},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    killed: list[int] = []

    def kill() -> None:
        while process.poll() is None and not killed:
            if len(list(out.glob("part-*"))) > 1 and (found := writers(process.pid)):
                found[0].kill()
                killed.append(found[0].pid)
            time.sleep(0.02)

    threading.Thread(target=kill, daemon=True).start()
    said, wrong = process.communicate(timeout=240)
    assert process.returncode == 0, wrong
    assert killed
    assert said == "4000 texts in 63 parts: ray\n"
    shown = [line for line in wrong.splitlines() if not line.startswith("[")]
    assert shown == ["reading the input", "checking every text"]  # and nothing of Ray's
    assert len(list(out.iterdir())) == 64  # a manifest, and no count of deaths
    for part in sorted(job.out.glob("part-*")):
        assert (out / part.name).read_bytes() == part.read_bytes()
