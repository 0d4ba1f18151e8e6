"""A saved extractor: the same to the bit, never half written, refused where it is not that."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from people import OTHERS, RECORDS, record
from safetensors.torch import load, save

from mkgc_cl.errors import DataError, MissingDataError, MkgcError, OutputError
from mkgc_cl.inference import CardFacts, Extractor, folders, keeping

TEXTS = ["Ann lives in Rome", "Flo dies in Oslo today", "nobody lives"]

ALONE = """
import json, sys
from mkgc_cl import Extractor
print(json.dumps(Extractor.load(sys.argv[1])(sys.argv[2]).to_dict()))
assert not {"avalanche", "matplotlib", "sklearn"} & set(sys.modules)
"""


@pytest.mark.slow
def test_a_loaded_one_predicts_and_learns_on_to_the_bit(taught: Extractor, tmp_path: Path) -> None:
    taught.save(tmp_path / "x")
    again = Extractor.load(tmp_path / "x")
    assert again(TEXTS) == taught(TEXTS)
    assert again.model == taught.model
    assert (again.tasks, again.constraints) == (taught.tasks, taught.constraints)
    for extractor in (taught, again):
        extractor.learn([record("Gus", "Pisa"), *RECORDS], task="later")
        extractor.forget(OTHERS[:1])
    for kind, part in taught.parts.items():
        mine, theirs = part.readout.state_dict(), again.parts[kind].readout.state_dict()  # type: ignore[attr-defined]
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
        assert taught.ledgers[kind] == again.ledgers[kind]
    assert again(TEXTS) == taught(TEXTS)


def test_an_empty_one_is_kept_too(fresh: Extractor, tmp_path: Path) -> None:
    fresh.save(tmp_path)
    again = Extractor.load(tmp_path)
    again.learn(RECORDS)
    fresh.learn(RECORDS)
    assert again(TEXTS) == fresh(TEXTS)


@pytest.mark.slow
def test_it_loads_without_the_training_framework(taught: Extractor, tmp_path: Path) -> None:
    taught.save(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(tmp_path), TEXTS[0]],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["entities"][0]["text"] == "Ann"


@pytest.mark.slow
def test_the_folder_holds_tensors_and_text_and_no_file_of_before(
    taught: Extractor, tmp_path: Path
) -> None:
    taught.save(tmp_path)
    before = {path.name for path in tmp_path.glob("[!.]*")}
    taught.learn([record("Gus", "Pisa")])
    taught.save(
        tmp_path, facts=CardFacts(title="Mine", results={"F1": 0.9}, licences={"data": "CC0"})
    )
    after = {path.name for path in tmp_path.glob("[!.]*")}
    assert len(before) == len(after) == 7
    assert {name for name in before if name.startswith("encoder")} <= after
    assert {path.suffix for path in tmp_path.glob("[!.]*")} == {".json", ".md", ".safetensors"}
    card = (tmp_path / "README.md").read_text()
    assert "# Mine" in card
    assert "| F1 | 0.9 |" in card
    assert "| data | CC0 |" in card
    assert "PER, LOC" in card


def _edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], str]:
    def damage(folder: Path) -> str:
        path = folder / "config.json"
        described = json.loads(path.read_text())
        change(described)
        path.write_text(json.dumps(described))
        return "config.json"

    return damage


def _file(start: str, change: Callable[[bytes], bytes | None]) -> Callable[[Path], str]:
    def damage(folder: Path) -> str:
        (path,) = (p for p in folder.glob(f"{start}-????????????.safetensors"))
        data = change(path.read_bytes())
        path.unlink() if data is None else path.write_bytes(data)
        return path.name

    return damage


def _whole(path: str, data: bytes | None) -> Callable[[Path], str]:
    def damage(folder: Path) -> str:
        (folder / path).unlink() if data is None else (folder / path).write_bytes(data)
        return path

    return damage


def _flip(data: bytes) -> bytes:
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_edited(lambda c: c.update(format="mkgc_cl.extractor/3")), "a newer version"),
        (_edited(lambda c: c.update(format="mkgc_cl.extractor/x")), "another version"),
        (_edited(lambda c: c.update(format="mkgc_cl.extractor/1")), "; make it again with this"),
        (_edited(lambda c: c.update(format="mkgc_cl.model/1")), "found 'mkgc_cl.model/1'"),
        (_edited(lambda c: c.pop("format")), "another kind of file"),
        (_edited(lambda c: c.pop("parts")), "describes no extractor"),
        (_edited(lambda c: c["parts"]["ner"]["classes"].reverse()), "does not fit"),
        (_edited(lambda c: c["parts"]["ner"].update(layers=[1])), "does not fit"),
        (_edited(lambda c: c["parts"]["ner"]["readout"].update(file="../x")), "name of a file"),
        (
            _edited(lambda c: next(iter(c["encoders"].values()))["text"].pop("model_type")),
            "no text",
        ),
        (
            _edited(lambda c: next(iter(c["encoders"].values()))["text"].update(hidden_size=32)),
            "fit",
        ),
        (_whole("config.json", b"{"), "expected JSON"),
        (_whole("config.json", b"[]"), "another kind of file"),
        (_whole("config.json", b"[" * 100_000), "expected JSON"),
        (_file("tags", lambda data: data[:-100]), "truncated, damaged"),
        (_file("tags", _flip), "truncated, damaged"),
        (_file("encoder", _flip), "truncated, damaged"),
        (_file("relations-ledger", lambda data: b""), "truncated, damaged"),
    ],
)
def test_what_is_not_what_was_saved_is_refused_by_name(
    taught: Extractor, tmp_path: Path, damage: Callable[[Path], str], said: str
) -> None:
    taught.save(tmp_path)
    name = damage(tmp_path)
    with pytest.raises(DataError, match=said) as error:
        Extractor.load(tmp_path)
    assert error.value.path is not None
    assert error.value.path.name == name or said == "does not fit" or said == "fit"


@pytest.mark.parametrize("name", ["config.json", "tags", "encoder"])
def test_what_is_missing_is_named(taught: Extractor, tmp_path: Path, name: str) -> None:
    taught.save(tmp_path)
    (path,) = (p for p in tmp_path.iterdir() if p.name.startswith(name) and "ledger" not in p.name)
    path.unlink()
    with pytest.raises(MissingDataError) as error:
        Extractor.load(tmp_path)
    assert error.value.path == path
    with pytest.raises(MissingDataError, match="expected a folder"):
        Extractor.load(tmp_path / "nowhere")


def test_a_readout_of_another_label_order_is_refused(taught: Extractor, tmp_path: Path) -> None:
    taught.save(tmp_path)
    path = tmp_path / "config.json"
    described = json.loads(path.read_text())
    one = described["parts"]["ner"]["readout"]
    data = (tmp_path / one["file"]).read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    swapped = header["mkgc_cl"].replace("PER", "???").replace("LOC", "PER").replace("???", "LOC")
    described["parts"]["ner"]["readout"] = folders.write_tensors(
        tmp_path, "tags", save(load(data), metadata={"mkgc_cl": swapped})
    )
    path.write_text(json.dumps(described))
    with pytest.raises(DataError, match="does not fit its description"):
        Extractor.load(tmp_path)


@pytest.mark.slow
def test_a_save_that_fails_leaves_the_one_before(
    taught: Extractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught.save(tmp_path)
    before = taught(TEXTS)
    taught.learn([record("Gus", "Pisa")])
    whole = folders.write_atomic
    for failing in range(1, 4):
        left = [failing]

        def write(path: Path, data: Any, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise OSError(28, "No space left on device", str(path))
            whole(path, data)

        monkeypatch.setattr(folders, "write_atomic", write)
        with pytest.raises(OSError, match="No space"):
            taught.save(tmp_path)
        monkeypatch.setattr(folders, "write_atomic", whole)
        assert Extractor.load(tmp_path)(TEXTS) == before
    taught.save(tmp_path)
    assert Extractor.load(tmp_path).model == taught.model


def test_a_folder_of_something_else_is_left_alone(taught: Extractor, tmp_path: Path) -> None:
    for name in ("README.md", "config.json"):
        folder = tmp_path / name.lower()
        folder.mkdir()
        (folder / name).write_text('{"model_type": "bert"}')
        with pytest.raises(OutputError, match="something else"):
            taught.save(folder)
        assert (folder / name).read_text() == '{"model_type": "bert"}'


@pytest.mark.slow
def test_who_reads_while_another_saves_gets_the_old_one_or_the_new_one(
    taught: Extractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught.save(tmp_path)
    taught.learn([record("Gus", "Pisa")])
    read = folders.read_config
    saves = [taught.save]

    def slow(folder: Path, format_: str) -> dict[str, Any]:
        described = read(folder, format_)
        if saves:
            saves.pop()(tmp_path)  # the files that were described are gone
        return described

    monkeypatch.setattr(folders, "read_config", slow)
    assert Extractor.load(tmp_path).model == taught.model


def test_two_that_save_do_not_take_each_others_files(
    taught: Extractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught.save(tmp_path)
    monkeypatch.setattr(folders, "PATIENCE", 0.0)
    with folders.saving(tmp_path, keeping.FORMAT), ThreadPoolExecutor(1) as other:
        saved = other.submit(taught.save, tmp_path)
        with pytest.raises(OutputError, match="another"):
            saved.result()


@pytest.mark.parametrize("value", [None, [], {}, "x", -1])
def test_a_description_of_other_kinds_of_values_is_refused(
    taught: Extractor, tmp_path: Path, value: Any
) -> None:
    taught.save(tmp_path)
    whole = json.loads((tmp_path / "config.json").read_text())
    (name,) = whole["encoders"]
    places = [("parts",), ("encoders",), ("encoders", name), ("parts", "ner", "readout")]
    places += [("encoders", name, "text", key) for key in ("model_type", "hidden_size")]
    for place in places:
        changed = copy.deepcopy(whole)
        inner = changed
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        (tmp_path / "config.json").write_text(json.dumps(changed))
        with pytest.raises(MkgcError):
            Extractor.load(tmp_path)
