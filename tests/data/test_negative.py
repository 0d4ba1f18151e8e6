"""Relation files whose negative class has another name than the public ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mkgc_cl.data import RelationSample, imre_stream
from mkgc_cl.data.__main__ import main
from mkgc_cl.data.locate import MrePaths
from mkgc_cl.data.negative import require_negative
from mkgc_cl.errors import DataError


def rename(root: Path, negative: str) -> None:
    """Call pairs without a relation ``negative`` in every file of the download."""
    for path in (root / "MRE/data").rglob("ours_*"):
        old, new = ("None", negative) if path.suffix == ".json" else ("'None'", repr(negative))
        path.write_bytes(path.read_bytes().replace(old.encode(), new.encode()))


def named(samples: tuple[object, ...], negative: str) -> Iterator[object]:
    for sample in samples:
        assert isinstance(sample, RelationSample)
        yield replace(sample, relation=negative) if sample.relation == "None" else sample


@pytest.mark.parametrize("settings", [{"tasks": 5}, {"tasks": 5, "build": True}, {"seed": 1}])
def test_another_name_gives_the_same_stream(download: Path, settings: dict[str, object]) -> None:
    wanted = {"missing_images": "blank", **settings}
    before = imre_stream(download, **wanted)  # type: ignore[arg-type]
    rename(download, "no_relation")
    found = imre_stream(download, **wanted, negative="no_relation")  # type: ignore[arg-type]
    assert found.labels == replace(before.labels, na="no_relation")
    for task, old in zip(found.tasks, before.tasks, strict=True):
        assert task.classes == old.classes
        for split in ("train", "valid", "test"):
            assert getattr(task, split) == tuple(named(getattr(old, split), "no_relation"))


@pytest.mark.parametrize("listed", [True, False], ids=["with ours_rel2id.json", "without"])
@pytest.mark.parametrize("settings", [{"tasks": 5}, {"seed": 1}])
def test_the_name_is_not_guessed(download: Path, settings: dict[str, object], listed: bool) -> None:
    rename(download, "no_relation")
    if not listed:
        MrePaths(download).relations.unlink()
    with pytest.raises(DataError, match="did you mean 'no_relation'") as caught:
        imre_stream(download, missing_images="blank", **settings)  # type: ignore[arg-type]
    paths = MrePaths(download)
    assert caught.value.path == (paths.relations if listed else paths.full("train"))


@pytest.mark.parametrize(
    ("names", "wanted", "likely"),
    [
        (["peer", "no_relation"], "None", "no_relation"),
        (["other", "peer", "N/A"], "None", "N/A"),
        (["peer", "Other"], "None", "Other"),
        (["none", "peer"], "None", "none"),
        (["no_relatin", "peer"], "no_relation", "no_relatin"),
        (["peer", "owns"], "None", "..."),
    ],
)
def test_the_likely_name_is_told(names: list[str], wanted: str, likely: str) -> None:
    with pytest.raises(DataError, match=f"found only {', '.join(sorted(names))}") as caught:
        require_negative(names, wanted, Path("x"))
    assert str(caught.value).endswith(f"negative={likely!r}")


def test_the_check_names_it_and_prints_what_runs(
    download: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rename(download, "NA")
    MrePaths(download).relations.unlink()
    assert main(["check", str(download), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    (problem,) = found["problems"]
    assert "did you mean 'NA'" in problem["message"]
    assert not [entry for entry in found["run"] if entry["code"].startswith("imre")]
    assert main(["check", str(download), "--json", "--negative", "NA"]) == 0
    code = [entry["code"] for entry in json.loads(capsys.readouterr().out)["run"]]
    assert f"imre({str(download)!r}, tasks=5, negative='NA', missing_images=\"blank\")" in code
