"""The verbs that use a model, as a user calls them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from people import OTHERS, RECORDS

from mkgc_cl.cli import main

BIO = "IMGID:1\nAnn\tB-PER\nlives\tO\n\nBo B-PER\nruns O\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with samples."""
    lines = "".join(json.dumps(record) + "\n" for record in RECORDS)
    (tmp_path / "people.jsonl").write_text(lines)
    (tmp_path / "more.jsonl").write_text("".join(json.dumps(r) + "\n\n" for r in OTHERS))
    (tmp_path / "tags.txt").write_text(BIO)
    (tmp_path / "texts.txt").write_text("Ann lives in Rome\n\nBo dies in Lima\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_from_samples_to_a_graph(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = ["learn", "x", "people.jsonl", "--encoder", "tiny", "--task", "first"]
    assert main([*learn, "--types", "PER", "LOC", "lives_in"]) == 0
    assert "PER: 6 (new)" in capsys.readouterr().out
    assert main(["learn", "x", "more.jsonl", "tags.txt", "--held-out", "people.jsonl"]) == 0
    said = capsys.readouterr().out
    assert "dies_in: 6 (new)" in said
    assert "F1 of PER:" in said
    assert main(["predict", "x", "texts.txt"]) == 0
    out = capsys.readouterr().out
    first, second = map(json.loads, out.splitlines())
    assert first["uid"] == "texts.txt:1"
    assert second["text"] == "Bo dies in Lima"
    assert first["relations"][0]["task"] == "first"
    (folder / "found.jsonl").write_text(out)
    assert main(["graph", "add", "g", "found.jsonl"]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO('{"uid": "third", "text": "Cy lives in Bonn"}\n'))
    assert main(["graph", "add", "g", "--extractor", "x"]) == 0
    capsys.readouterr()
    ask = "SELECT ?task WHERE { GRAPH ?task { ?s relation:lives_in ?o } }"
    assert main(["graph", "query", "g", ask]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0]) == {"task": "urn:mkgc:task:first"}
    for name in ("g.ttl", "g.html"):
        assert main(["graph", "export", "g", name]) == 0
        assert (folder / name).stat().st_size > 500
    assert main(["graph", "export", "g", "neo", "--format", "neo4j"]) == 0
    assert main(["graph", "remove", "g", "third"]) == 0
    assert main(["learn", "x", "tags.txt", "--types", "PER"]) == 0
    assert main(["graph", "reread", "g", "--extractor", "x"]) == 0
    capsys.readouterr()
    assert main(["graph", "diff", "g", "--models", "none", "neither"]) == 2
    assert "there are ['" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["learn", "x", "absent.jsonl"], "absent.jsonl: expected a data file"),
        (["learn", "x", "bad.jsonl", "--encoder", "tiny"], "bad.jsonl:2"),
        (
            ["learn", "x", "people.jsonl", "--encoder", "tiny", "--types", "ORG"],
            "no sample has one",
        ),
        (["predict", "x", "texts.txt"], "expected a folder"),
        (["graph", "query", "absent", "ASK {}"], "folder of a graph"),
        (["graph", "add", "g", "texts.txt"], "what mkgc predict prints"),
        (["graph", "diff", "."], "--models OLD NEW"),
        (["serve", "x"], "expected a folder"),
    ],
)
def test_mistakes_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str], argv: list[str], said: str
) -> None:
    (folder / "bad.jsonl").write_text('{"tokens": ["a"], "tags": ["O"]}\n[1]\n{\n')
    assert main(argv) == 2
    assert said in capsys.readouterr().err
