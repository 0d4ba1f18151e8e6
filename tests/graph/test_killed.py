"""A graph that is killed while it grows holds whole steps: no text in part."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mkgc_cl.experiments.speed.graph import invented
from mkgc_cl.graph import KnowledgeGraph

GROW = """
import sys
from mkgc_cl.experiments.speed.graph import invented
from mkgc_cl.graph import KnowledgeGraph, store
store.CHUNK, store.BULK = 350, int(sys.argv[2])
def told():
    for number, (found, _) in enumerate(invented(4000)):
        yield found
        print(number, flush=True)
KnowledgeGraph(sys.argv[1]).add_all(told())
"""


@pytest.mark.slow
@pytest.mark.parametrize("bulk", [1, 10**9], ids=["sorted files", "transactions"])
def test_a_killed_graph_has_whole_steps_and_goes_on(tmp_path: Path, bulk: int) -> None:
    folder = tmp_path / "graph"
    texts = [found for found, _ in invented(4000)]
    kept = 0
    for wait in (60, 170):
        with subprocess.Popen(
            [sys.executable, "-c", GROW, str(folder), str(bulk)],
            stdout=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if int(line) >= wait:
                    break
            time.sleep(wait % 7 / 100)  # not always at the same point of a step
            os.killpg(process.pid, signal.SIGKILL)
        graph = KnowledgeGraph(folder)
        here = len(graph.sources())
        assert here >= max(kept, wait // 50 * 50 - 50)
        whole = KnowledgeGraph()
        whole.add_all(texts[:here])
        assert graph.quads() == whole.quads()
        graph.close()
        kept = here
    assert kept > 0
