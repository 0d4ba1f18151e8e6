"""Runs on a Ray cluster of two nodes, of which a worker and then a node is killed."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from mkgc_cl import cluster
from mkgc_cl.errors import ConfigError
from mkgc_cl.experiments import imre
from mkgc_cl.experiments.pipeline.cli import main
from mkgc_cl.runs import Run, on_ray
from mkgc_cl.runs.grid import Attempt
from mkgc_cl.runs.on_ray import RayLaunch

# Runs leave a note of every step, and go on from the last: what checkpoints do, without PyTorch.
SCRIPT = """
import json, logging, os, signal, sys, threading, time
from pathlib import Path
import psutil
from mkgc_cl.metrics import Counts, ResultMatrix
from mkgc_cl.results import RunRecord
from mkgc_cl.runs import Run, run_grid
from mkgc_cl.runs.grid import attempt_at
from mkgc_cl.runs.on_ray import RayLaunch

OUT = Path(sys.argv[1])
RUNS = [Run("one", "made", order, seed, {}) for order in ("A-B", "B-A") for seed in (0, 1)]

def run(run, progress):
    steps = OUT.parent / f"steps-{run.order}-{run.seed}"
    while (done := len(steps.read_text().split()) if steps.exists() else 0) < 10:
        with steps.open("a") as file:
            file.write(f"{os.getpid()}\\n")
        time.sleep(0.3)
    matrix = ResultMatrix(1)
    matrix.record("test", after=0, on=0, counts=Counts(50 + run.seed, 100, 100))
    return RunRecord.from_matrix(matrix, system="one", scenario="made", order=run.order,
        seed=run.seed, tasks=["A"], seconds=1.0,
        provenance={"threads": os.environ["OMP_NUM_THREADS"]})

def at_work(parent, *but):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for steps in OUT.parent.glob("steps-*"):
            pids = steps.read_text().split()
            pid = int(pids[-1])
            if 3 < len(pids) < 8 and pid not in but and psutil.pid_exists(pid):
                if parent in (None, psutil.Process(pid).ppid()):
                    return pid
        time.sleep(0.05)

def kill(cluster, node, killed):
    killed.append(at_work(None))
    os.kill(killed[0], signal.SIGKILL)
    killed.append(at_work(node.all_processes["raylet"][0].process.pid, killed[0]))
    cluster.remove_node(node, allow_graceful=False)

def main():
    from ray.cluster_utils import Cluster
    logging.basicConfig(level=logging.WARNING)
    own = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=own)
    node = cluster.add_node(**own)
    os.environ["RAY_ADDRESS"], killed = cluster.address, []
    threading.Thread(target=kill, args=(cluster, node, killed), daemon=True).start()
    results = []
    with RayLaunch() as launch:
        for order in ("A-B", "B-A"):
            ahead = [each for each in RUNS if each.order == order]
            launch.ahead(attempt_at(ahead, run, OUT / order), ahead)
        for order in ("A-B", "B-A"):
            asked = [each for each in RUNS if each.order == order]
            made = run_grid(asked, run, out=OUT / order, quiet=True, launch=launch)
            results.append([made.exit_code, len(made.records)])
    cluster.shutdown()
    local = [run_grid([r for r in RUNS if r.order == o], run, out=OUT.parent / "local" / o,
             quiet=True) for o in ("A-B", "B-A")]
    print(json.dumps({"killed": killed, "results": results}))

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install 'mkgc_cl[ray]'")
def test_a_worker_and_a_node_that_are_killed_cost_nothing(tmp_path: Path) -> None:
    script = tmp_path / "grid.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "out")],
        env={**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)  # and nothing of Ray's
    assert said["results"] == [[0, 2], [0, 2]]
    assert len(set(said["killed"])) == 2
    for pid in said["killed"]:
        assert f"taken over from process {pid} on " in done.stderr
    for steps in tmp_path.glob("steps-*"):  # those killed went on: no step was made twice
        assert len(steps.read_text().split()) == 10
    for order in ("A-B", "B-A"):
        found, wanted = (tmp_path / place / order / "results.json" for place in ("out", "local"))
        assert found.read_bytes() == wanted.read_bytes()
        assert sorted(path.name for path in found.parent.iterdir()) == ["records", "results.json"]


def test_without_ray_a_script_names_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    argv = ["--quick", "--launcher", "ray", "--out", str(tmp_path), "--seeds", "x"]
    assert main(imre.SCRIPT, argv) == 2
    said = capsys.readouterr().err
    assert "pip install 'mkgc_cl[ray]'" in said
    assert "'seeds'" in said  # all mistakes at once


def test_a_node_that_does_not_share_what_it_must_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = on_ray._source()
    site = on_ray._Site(tmp_path, ".ray-x", source, 1)
    assert "does not see the output folder" in "".join(on_ray._wrong_here(site, Path("out")))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".ray-x").touch()
    assert on_ray._wrong_here(site, Path("out")) == []
    other = on_ray._Site(tmp_path, ".ray-x", {**source, "torch": "1.0"}, 1)
    (wrong,) = on_ray._wrong_here(other, Path("out"))
    assert f"torch is {source['torch']} there and 1.0 where the command was given" in wrong
    away = on_ray._Site(tmp_path / "absent", ".ray-x", source, 1)
    assert "has no folder" in "".join(on_ray._wrong_here(away, Path("out")))
    run = Run("one", "made", "A", 0, {})
    attempt = Attempt(lambda run, progress: None, Path("out"), {})  # type: ignore[arg-type, return-value]
    made, said = on_ray._attempted(attempt, run, other)
    assert "run one, A, seed 0 was not made: node" in str(made)
    assert said == []


def test_what_a_run_warns_of_comes_back_with_it() -> None:
    with on_ray._heard() as said:
        logging.getLogger("mkgc_cl.data").warning("%s is damaged", "a.png")
        logging.getLogger("mkgc_cl.data").info("read")
        logging.getLogger("other").warning("no")
    assert said == [("mkgc_cl.data", logging.WARNING, "a.png is damaged")]


def test_what_a_run_warned_of_that_was_finished_before_its_turn_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its record is there when its order is due, and nobody asks for its result."""
    said = [("mkgc_cl.data", logging.WARNING, "a.png is damaged")]
    cancelled: list[object] = []
    with RayLaunch() as launch:
        launch._ray = SimpleNamespace(
            wait=lambda refs, **_: (refs[:1], refs[1:]),
            get=lambda ref: (None, said),
            cancel=lambda ref, **_: cancelled.append(ref),
            exceptions=SimpleNamespace(RayError=OSError),
        )
        attempt = Attempt(lambda run, progress: None, tmp_path, {})  # type: ignore[arg-type, return-value]
        for seed in (0, 1):
            run = Run("one", "made", "A", seed, {})
            launch._begun[run.key] = (f"ref {seed}", attempt, run)
    assert caplog.messages == ["a.png is damaged"]
    assert "ref 1" in cancelled


@pytest.mark.parametrize(
    ("device", "gpus", "wanted"),
    [("cpu", 4, 0), ("auto", 0, 0), ("auto", 4, 1), ("cuda", 0, 1), ("cuda", 4, 1)],
)
def test_a_run_on_cuda_takes_a_gpu(device: str, gpus: int, wanted: int) -> None:
    assert on_ray._gpus(device, {"GPU": gpus}) == wanted


def test_what_no_cluster_can_give_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a GPU of its own"):
        on_ray._gpus("cuda:1", {})
    with pytest.raises(ConfigError, match="jobs=0"):
        RayLaunch(jobs=0)
    small = {"Alive": True, "Resources": {"CPU": 2.0}}
    launch = RayLaunch()
    launch._ray = SimpleNamespace(nodes=lambda: [small, {"Alive": False, "Resources": {"CPU": 9}}])
    with pytest.raises(ConfigError, match="takes 4 cores and 0 GPUs, and no node"):
        launch._check_nodes(on_ray._Site(tmp_path, "", {}, 4), tmp_path, 0)


def test_an_address_where_nobody_listens_is_told_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"  # bound, and not listening
        with pytest.raises(OSError, match="refused"):
            cluster._probe(address)
        free.listen()
        cluster._probe(address)
    for other in ("auto", "local", "ray://host:10001", "nonsense"):
        cluster._probe(other)
