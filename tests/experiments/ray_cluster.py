"""A grid on a Ray cluster of two nodes, of which a worker and then a node is killed.

    python tests/experiments/ray_cluster.py FOLDER

Runs one command here, on the cluster, and on the cluster with an interrupt after which it goes on
here, and compares the records. Prints what happened; what it prints stands in docs/scale.md. Needs
Ray, and minutes.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

COMMAND = [sys.executable, "-m", "mkgc_cl.experiments.imner", "--quick", "--systems", "MSPT",
           "--orders", "PER-LOC-ORG-MISC", "PER-ORG-LOC-MISC", "--seeds", "0", "1",
           "--epochs", "3", "--device", "cpu", "stream.train_per_task=40", "stream.test_size=40",
           "stream.first=2", "training.batch_size=4", "checkpoint.steps=5"]  # fmt: skip
LIMIT = 600.0
began = time.monotonic()


def say(words: str) -> None:
    print(f"{time.monotonic() - began:6.0f} s  {words}", flush=True)


def start(out: Path, launcher: str, address: str = "") -> subprocess.Popen[str]:
    """The command, with a log beside its output."""
    with out.with_suffix(".log").open("a") as log:
        return subprocess.Popen(
            [*COMMAND, "--out", str(out), "--launcher", launcher],
            env={**os.environ, "RAY_ADDRESS": address},
            stdout=log, stderr=log, text=True,
        )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> int:
    return process.wait(timeout=LIMIT)


def until(found: Callable[[], Any]) -> Any:
    """Wait for something to be so."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.05)
    raise TimeoutError("it did not come")


def at_work(out: Path, *but: int, raylet: int | None = None) -> tuple[str, int] | None:
    """A run within a task and its process, but for some; of one node where its raylet is named."""
    for claim in out.rglob(".*.claim"):
        try:
            pid = json.loads(claim.read_text())["pid"]
            parent = psutil.Process(pid).ppid()
        except (OSError, ValueError, psutil.Error):
            continue
        key = claim.stem.lstrip(".")
        begun = list((claim.parents[1] / "checkpoints" / key).glob("checkpoint-*.json"))
        if len(begun) > 1 and pid not in but and raylet in (None, parent):
            return key, pid
    return None


def records(out: Path) -> dict[str, str]:
    """Every record and series but when and how long they ran."""
    found = {}
    for path in sorted(out.rglob("records/*.json")):
        text = path.read_text(encoding="utf-8")
        text = re.sub(r'"(seconds|peak_memory_mb|digest)": [^,\n]+', r'"\1": 0', text)
        found[path.name] = text
    return found


def taken_over(out: Path) -> list[str]:
    """What the log says of runs that went on."""
    lines = out.with_suffix(".log").read_text().splitlines()
    return [line for line in lines if "taken over" in line]


def compare(out: Path, wanted: dict[str, str]) -> bool:
    found = records(out)
    same = found == wanted
    say(f"{len(found) // 2} records, {'equal to' if same else 'NOT'} those of the local run")
    return same and not list(out.rglob("checkpoints"))


def main() -> int:
    """Run everything; 0 if all is as it should be."""
    from ray.cluster_utils import Cluster  # type: ignore[import-not-found, unused-ignore]

    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    logging.disable(logging.INFO)
    code = ended(start(folder / "local", "local"))
    wanted = records(folder / "local")
    say(f"local: exit code {code}, {len(wanted) // 2} records")

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    node = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        second = cluster.add_node(**node)
        raylet = second.all_processes["raylet"][0].process.pid
        say("a cluster of two nodes with a core each")
        out = folder / "killed"
        process = start(out, "ray", cluster.address)
        key, pid = until(lambda: at_work(out))
        os.kill(pid, signal.SIGKILL)
        say(f"killed process {pid} at run {key}, behind a checkpoint within a task")
        first = pid
        key, pid = until(lambda: at_work(out, first, raylet=raylet))
        cluster.remove_node(second, allow_graceful=False)
        say(f"killed the second node, with process {pid} at run {key}")
        code = ended(process)
        say(f"ray, killed: exit code {code}")
        for line in taken_over(out):
            say(f"  {line}")
        good = code == 0 and compare(out, wanted) and len(taken_over(out)) == 2

        out = folder / "interrupted"
        process = start(out, "ray", cluster.address)
        until(lambda: list(out.rglob("records/*.traces.json")) and at_work(out))
        process.send_signal(signal.SIGTERM)
        code = ended(process)
        say(f"ray, interrupted by TERM: exit code {code}, {len(records(out)) // 2} records")
        good = good and code == 143 and not list(out.rglob(".*.claim"))
    finally:
        cluster.shutdown()
    code = ended(start(out, "local"))
    say(f"the same command, local: exit code {code}")
    good = compare(out, wanted) and code == 0 and good
    say("as it should be" if good else "NOT as it should be")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
