"""A download in miniature, with a few made-up rows, and pictures to decode."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mkgc_cl.data import image_cache
from mkgc_cl.data.images import FileImage

# (task of the mini sep5, relation): the 20 relations of the released splits by their released task
SEP5 = (
    ("/per/per/peer", "/per/org/member_of", "/per/per/charges", "/per/misc/religion"),
    ("/loc/loc/contain", "/per/misc/present_in", "/per/per/siblings", "/per/per/neighbor"),
    ("/org/loc/locate_at", "/per/loc/place_of_residence", "/per/misc/awarded", "/per/per/parent"),
    ("/misc/loc/held_on", "/org/org/subsidiary", "/per/misc/nationality", "/misc/misc/part_of"),
    (
        "/per/per/alternate_names",
        "/per/per/couple",
        "/org/org/alternate_names",
        "/per/loc/place_of_birth",
    ),
)
RELATIONS = [name for group in SEP5 for name in group]


def relation_line(number: int, relation: str, *, split: str = "train") -> str:
    """One MRE line; equal arguments give equal lines."""
    row = {
        "token": ["Anna", "Lee", "met", f"Bo{number}", "in", "Rome"],
        "h": {"name": "Anna Lee", "pos": [0, 2]},
        "t": {"name": f"Bo{number}", "pos": [3, 4]},
        "img_id": f"{split}_{number}.jpg",
        "relation": relation,
    }
    return repr(row)


def sentence(image: str, words: Sequence[tuple[str, str]]) -> str:
    """One MNER sentence with its blank line."""
    return f"IMGID:{image}\n" + "".join(f"{word}\t{tag}\n" for word, tag in words) + "\n"


SENTENCES = (
    [("Anna", "B-PER"), ("Lee", "I-PER"), ("sings", "O")],
    [("Rome", "B-LOC"), ("greets", "O"), ("Bo", "B-PER")],
    [("Acme", "B-ORG"), ("hires", "O"), ("Cy", "B-PER")],
    [("Oscars", "B-MISC"), ("in", "O"), ("Rome", "B-LOC"), ("by", "O"), ("Acme", "B-ORG")],
    [("nothing", "O"), ("here", "O")],
    [("Rome", "B-LOC"), ("Acme", "B-ORG"), ("Inc", "I-ORG")],
)
# Task of each of SENTENCES by the rule MISC > LOC > ORG > PER; None: no entity.
OWNERS = ("PER", "LOC", "ORG", "MISC", None, "LOC")


def _write_mre(root: Path) -> None:
    text = root / "MRE" / "data" / "txt"
    (text / "sep5").mkdir(parents=True)
    table = {"None": 0, **{name: i for i, name in enumerate([*RELATIONS, "/per/misc/race"], 1)}}
    (root / "MRE" / "data" / "ours_rel2id.json").write_text(json.dumps(table))
    tests: list[str] = []
    for split, copies in (("train", 2), ("val", 1), ("test", 1)):
        names = [name for pair in zip(RELATIONS, ["None"] * 20, strict=True) for name in pair]
        lines = [relation_line(i, name, split=split) for i, name in enumerate(copies * names)]
        # CRLF, as the released files
        (text / f"ours_{split}.txt").write_bytes("".join(f"{x}\r\n" for x in lines).encode())
        negatives = [line for line in lines if "'None'" in line]
        share = len(negatives) // 5
        for task, group in enumerate(SEP5):
            mine = [line for line in lines if any(f"'{name}'" in line for name in group)]
            mine += negatives[task * share : (task + 1) * share]
            tests = [] if split != "test" or task == 0 else tests
            if split == "test":
                tests = mine = [*tests, *mine]
            (text / "sep5" / f"ours_{split}_{task}.txt").write_bytes(
                "".join(f"{x}\r\n" for x in mine).encode()
            )


def _write_mner(root: Path) -> None:
    text = root / "MNER" / "data" / "twitter2017"
    for folder, order in (
        ("sep-PLOM", ("PER", "LOC", "ORG", "MISC")),
        ("sep-POLM-NEW", ("PER", "ORG", "LOC", "MISC")),
    ):
        (text / folder).mkdir(parents=True)
        for split in ("train", "valid", "test"):
            full = "".join(sentence(f"{split}_{i}", words) for i, words in enumerate(SENTENCES))
            (text / f"{split}.txt").write_text(full)
            for task, own in enumerate(order):
                seen = order[: task + 1] if split == "test" else (own,)
                part = "".join(
                    sentence(f"{split}_{i}", [(w, t if t[2:] in seen else "O") for w, t in words])
                    for i, (words, owner) in enumerate(zip(SENTENCES, OWNERS, strict=True))
                    if split == "test" or owner == own
                )
                (text / folder / f"{split}_{task}.txt").write_text(part)


@pytest.fixture
def download(tmp_path: Path) -> Path:
    """Root of a miniature download: full files, sep5, both MNER orders; no pictures."""
    root = tmp_path / "download"
    _write_mre(root)
    _write_mner(root)
    return root


@pytest.fixture
def edit(download: Path) -> Callable[[str, Callable[[str], str]], Path]:
    """Change a text file of the miniature download."""

    def apply(name: str, change: Callable[[str], str]) -> Path:
        path = download / name
        path.write_bytes(change(path.read_bytes().decode()).encode())
        return path

    return apply


@pytest.fixture
def save_noise() -> Callable[..., FileImage]:
    """Write a picture of noise: ``save_noise(path, seed, width, height)``."""

    def save(path: Path, seed: int, width: int = 50, height: int = 40) -> FileImage:
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        return FileImage(path)

    return save


@pytest.fixture
def sources(tmp_path: Path, save_noise: Callable[..., FileImage]) -> list[FileImage]:
    """Seven pictures of different shapes."""
    folder = tmp_path / "posts"
    folder.mkdir()
    return [save_noise(folder / f"{i}.jpg", i, 40 + i, 60 - 3 * i) for i in range(7)]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of the pictures that were decoded, in order."""
    keys: list[str] = []
    original = image_cache.pixels_of

    def counted(source: FileImage, *args: object) -> object:
        keys.append(source.key)
        return original(source, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(image_cache, "pixels_of", counted)
    return keys
