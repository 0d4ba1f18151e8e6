"""A server is measured as its clients see it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mkgc_cl.experiments.speed.cli import main


@pytest.mark.slow
def test_every_way_to_ask_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mkgc_cl.experiments.speed import serving

    monkeypatch.setattr(serving, "TEXTS", 20)
    assert main(["--serve", "tiny", "--quiet", "--json", str(tmp_path / "speed.json")]) == 0
    report = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))
    rows = {row["what"]: row for row in report["serving"]}
    assert "server, 16 clients" in rows
    assert all(row["texts_per_s"] > 0 for row in rows.values())
    assert rows["server, 1 client"]["p95_ms"] >= rows["server, 1 client"]["p50_ms"] > 0
    assert "p95" in capsys.readouterr().out
