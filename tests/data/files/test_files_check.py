"""``mkgc data check corpus.yaml``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from mkgc_cl.data.__main__ import main
from mkgc_cl.data.files import stream_from_yaml

TEXT = "IMGID:1\nAnn\tB-PER\nin\tO\nRome\tB-LOC\n\nIMGID:2\nBo\tB-PER\n"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "images").mkdir()
    for name in ("1.JPG", "2.png"):
        Image.new("RGB", (9, 9)).save(tmp_path / "images" / name, "PNG")
    path = tmp_path / "corpus.yaml"
    path.write_text("train: a.txt\ntest: a.txt\nkind: ner\nimage_folder: images\n")
    return path


def test_what_a_corpus_gives(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(corpus), "--images"]) == 0
    out = capsys.readouterr().out
    assert "a.txt (conll, tags in BIO)" in out
    assert "task PER (PER): 1 train, 0 valid, 2 test" in out
    assert "left out, train: mentions of another task's types: 1" in out
    assert f"from_yaml({str(corpus)!r})  # 2 images, 0 of them blank" in out
    assert stream_from_yaml(corpus).tasks


def test_what_is_wrong_with_one(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = corpus.parent / "images" / "2.png"
    broken.write_bytes(broken.read_bytes()[:40])
    assert main(["check", str(corpus)]) == 0
    capsys.readouterr()
    assert main(["check", str(corpus), "--images", "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert [problem["path"] for problem in found["problems"]] == [str(broken)]
    (corpus.parent / "a.txt").write_text(TEXT.replace("B-LOC", "I-LOC").replace("Bo\t", "Bo "))
    assert main(["check", str(corpus), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert [problem["line"] for problem in found["problems"]] == [7, 4]
    corpus.write_text("train: a.txt\nkind: nre\n")
    assert main(["check", str(corpus)]) == 2
    assert "'kind' must be one of" in capsys.readouterr().out
