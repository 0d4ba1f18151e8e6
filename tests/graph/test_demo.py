"""One command from samples to a graph, a page, a Turtle file and an image."""

from __future__ import annotations

from pathlib import Path

import pytest

from mkgc_cl.cli import main


@pytest.mark.slow
def test_one_command_shows_it_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "shown"
    assert main(["graph", "demo", str(folder), "--encoder", "tiny"]) == 0
    assert "240 texts read" in capsys.readouterr().out
    for name in ("graph.ttl", "graph.html", "tasks.png", "extractor/config.json"):
        assert (folder / name).stat().st_size > 1000
    assert main(["graph", "demo", str(folder)]) == 2
