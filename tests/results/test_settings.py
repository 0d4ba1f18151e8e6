"""Settings that differ, and the names of folders that are made of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from mkgc_cl.results.settings import differences_of, setting_folder
from mkgc_cl.runs import Run

USUAL = {"training": {"lr": 0.001, "epochs": 5}, "stream": {"order": "A-B"}, "text": "tiny"}


def run(**training: object) -> Run:
    config = {**USUAL, "training": USUAL["training"] | training, "fingerprint": "f00d"}
    return Run("EWC", "imre", "A-B", 0, config)


def name(made: Run, usual: dict | None = None) -> str:
    return setting_folder(Path("none"), made.identity, usual).name


def test_a_name_says_what_is_not_as_usual() -> None:
    assert name(run(), USUAL) == run().setting
    assert name(run()).startswith("A-B-")
    made = name(run(lr=3e-5, epochs=2), USUAL)
    assert made.rpartition("-")[0] == "A-B,lr=3e-05,epochs=2"
    assert made.rpartition("-")[2] == run(lr=3e-5, epochs=2).setting.rpartition("-")[2]


def test_a_name_is_short_and_of_one_folder(tmp_path: Path) -> None:
    many = {f"key{n}": f"../{n}/\n" for n in range(50)}
    made = Run("EWC", "imre", "/".join(["../per"] * 40), 0, many)
    folder = setting_folder(tmp_path, made.identity, dict.fromkeys(many, 0))
    assert folder.parent == tmp_path
    assert len(folder.name) < 110
    assert ",and-" in folder.name
    assert set("/\n").isdisjoint(folder.name)


def test_the_digest_alone_decides(tmp_path: Path) -> None:
    """Other words before it, as when a default changed, are the same folder."""
    named = setting_folder(tmp_path, run(lr=0.5).identity, USUAL)
    plain = setting_folder(tmp_path, run(lr=0.5).identity)
    assert named != plain
    plain.mkdir()
    assert setting_folder(tmp_path, run(lr=0.5).identity, USUAL) == plain
    assert setting_folder(tmp_path, run(lr=0.6).identity, USUAL) != plain
    seeded = dataclasses.replace(run(lr=0.5), seed=7, system="MSPT")
    assert setting_folder(tmp_path, seeded.identity, USUAL) == plain


def test_a_place_that_cannot_be_looked_into_is_told_of_later(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for parent in (tmp_path / "file", tmp_path / ("x" * 300), tmp_path / "a\0b"):
        assert setting_folder(parent, run().identity).parent == parent


def test_each_system_is_compared_with_itself(make_record) -> None:
    def group(lr: float, own: dict) -> list:
        return [
            dataclasses.replace(make_record(s), config={"lr": lr, "options": own.get(s, {})})
            for s in ("EWC", "MSPT", "Vanilla")
        ]

    one = group(0.1, {"EWC": {"weight": 1}, "MSPT": {"alpha": 2}})
    same = group(0.1, {"EWC": {"weight": 1}, "MSPT": {"alpha": 2}})
    other = group(0.2, {"EWC": {"weight": 7}, "MSPT": {"alpha": 2}})
    assert differences_of(one, same) == {}
    assert differences_of(one, same, other) == {
        "lr": ("0.1", "0.1", "0.2"),
        "options.weight (EWC)": ("1", "1", "7"),
    }
    assert differences_of(one[:1], other[1:])["lr"] == ("0.1", "0.2")  # no system in both
    moved = [dataclasses.replace(record, order="B-A") for record in one]
    assert differences_of(one, moved) == {"order": ("PER-LOC", "B-A")}
    assert differences_of(one, []) == {}
