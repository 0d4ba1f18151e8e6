"""The verbs that use a model, as a user calls them."""

from __future__ import annotations

import io
import json
import threading
import time
from pathlib import Path

import pytest
from people import OTHERS, RECORDS

from mkgc_cl.cli import main
from mkgc_cl.errors import DataError
from mkgc_cl.inference import Extractor
from mkgc_cl.inference.folders import saving
from mkgc_cl.inference.json_lines import read_records
from mkgc_cl.inference.keeping import FORMAT

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


@pytest.mark.slow
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
    assert main(["graph", "export", "g", "g.html", "--order", "first", "task 2"]) == 0
    assert main(["graph", "remove", "g", "third"]) == 0
    capsys.readouterr()
    (folder / "one.txt").write_text("Cy lives in Bonn")
    assert main(["graph", "add", "g", "one.txt", "--extractor", "x"]) == 0
    assert capsys.readouterr().out == "1 text added\n"
    assert main(["graph", "remove", "g", "one.txt:1"]) == 0
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
        (["graph", "add", ".", "texts.txt"], "found something else"),
    ],
)
def test_mistakes_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str], argv: list[str], said: str
) -> None:
    (folder / "bad.jsonl").write_text('{"tokens": ["a"], "tags": ["O"]}\n[1]\n{\n')
    assert main(argv) == 2
    assert said in capsys.readouterr().err


def test_a_first_call_that_fails_leaves_nothing_in_the_way(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learn = ["learn", "x", "people.jsonl", "--encoder", "tiny"]
    assert main([*learn, "--types", "ORG"]) == 2
    for argv in (["predict", "x", "texts.txt"], ["serve", "x"], ["export", "x", "--out", "o"]):
        capsys.readouterr()
        assert main(argv) == 2
        assert "x: expected a saved mkgc_cl.extractor, found an empty" in capsys.readouterr().err
    assert main(learn) == 0


@pytest.mark.slow
def test_every_line_of_a_file_has_a_name_of_its_own(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["learn", "x", "people.jsonl", "--encoder", "tiny", "--types", "PER"])
    lines = ['{"text": "Ann lives"}', "", '{"text": "Bo runs"}']
    (folder / "texts.jsonl").write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    capsys.readouterr()
    assert main(["predict", "x", "texts.jsonl"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["uid"] for one in found] == ["texts.jsonl:1", "texts.jsonl:3"]
    assert [one["text"] for one in found] == ["Ann lives", "Bo runs"]
    (folder / "texts.jsonl").write_text("Ann\n\n{")
    assert main(["predict", "x", "texts.jsonl"]) == 2
    assert "texts.jsonl:3:" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        ["learn", "x", "more.jsonl", "--encoder", "minilm"],
        ["learn", "x", "more.jsonl", "--negative", "NA"],
        ["predict", "x", "texts.txt", "--text", "Ann"],
    ],
)
def test_what_would_have_no_effect_is_refused(folder: Path, argv: list[str]) -> None:
    main(["learn", "x", "people.jsonl", "--encoder", "tiny"])
    with pytest.raises(SystemExit):
        main(argv)


@pytest.mark.parametrize(
    "change",
    [
        {"entities": [{"text": "Ann"}]},
        {"entities": 5},
        {"tokens": 5},
        {"text": "\ud800"},
        {"relations": [{"head": 0, "tail": 9, "type": "knows", "score": 1.0}]},
        {"surprise": 1},
    ],
)
def test_what_predict_did_not_print_is_not_added(
    folder: Path, capsys: pytest.CaptureFixture[str], change: dict[str, object]
) -> None:
    entity = {"text": "Ann", "type": "PER", "score": 1.0, "start": 0, "end": 1}
    entity |= {"char_start": 0, "char_end": 3}
    good = {"uid": "one", "text": "Ann", "tokens": ["Ann"], "entities": [entity]}
    (folder / "found.jsonl").write_text(json.dumps(good) + "\n")
    assert main(["graph", "add", "g", "found.jsonl"]) == 0
    (folder / "found.jsonl").write_text(json.dumps({**good, "uid": "two", **change}) + "\n")
    assert main(["graph", "add", "g", "found.jsonl"]) == 2
    assert "sample two: expected what mkgc predict prints" in capsys.readouterr().err


@pytest.mark.slow
def test_an_extractor_is_exported_and_compared(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    main(["learn", "x", "people.jsonl", "--encoder", "tiny"])
    capsys.readouterr()
    assert main(["export", "x", "--out", "o", "--texts", "texts.txt", "people.jsonl"]) == 0
    said = capsys.readouterr().out
    assert "tags.onnx" in said
    assert "8 texts: 0 answered otherwise" in said
    assert "by ONNX Runtime" in said
    assert main(["export", "x", "--out", "x"]) == 1  # a folder of something else
    assert "holds something else" in capsys.readouterr().err


@pytest.mark.slow
def test_who_waits_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["learn", "x", "people.jsonl", "--encoder", "tiny"])
    with saving(Path("x"), FORMAT):
        other = threading.Thread(target=main, args=(["learn", "x", "more.jsonl"],))
        other.start()
        said = ""
        for _ in range(600):
            said += capsys.readouterr().err
            if said:
                break
            time.sleep(0.05)
    other.join(60)
    assert "x: waiting for another process that changes it" in said
    assert set(Extractor.load("x").relations) == {"lives_in", "dies_in"}


def test_files_of_others_are_not_written_over(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "README.md").write_text("mine")
    assert main(["learn", ".", "people.jsonl", "--encoder", "tiny"]) == 1
    assert "holds something else" in capsys.readouterr().err
    assert (folder / "README.md").read_text() == "mine"


def test_a_list_in_json_and_the_documents_of_conll_are_read(folder: Path) -> None:
    (folder / "list.json").write_text(json.dumps(RECORDS, indent=1))
    assert [one["uid"] for one in read_records(folder / "list.json")] == [r["uid"] for r in RECORDS]
    (folder / "conll.txt").write_text("-DOCSTART- -X- -X- O\n\nAnn NNP B-NP B-PER\n")
    (found,) = read_records(folder / "conll.txt")
    assert (found["tokens"], found["tags"]) == (["Ann"], ["B-PER"])
    for wrong in ("[", "[5]"):
        (folder / "list.json").write_text(wrong)
        with pytest.raises(DataError, match="expected JSON"):
            read_records(folder / "list.json")
