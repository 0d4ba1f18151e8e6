"""Process settings and fixtures every test shares, a download in miniature among them."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from mkgc_cl.results import RunRecord

# Before anything imports torch. The models of the tests are so small that a second thread costs
# more than it brings, and one thread sums in the same order on every machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# A test that needs the network is wrong: fail at once rather than wait for a hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("untimed", deadline=None, max_examples=50)
settings.load_profile("untimed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the exhaustive tests out unless ``-m`` names them: they repeat others in every case."""
    if "exhaustive" not in config.option.markexpr:
        left = [item for item in items if item.get_closest_marker("exhaustive")]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Take what was imported out of the collector's sight: a twentieth of the suite's time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each worker a half, so that one of them makes what a file shares, and let it steal."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log) if config.option.dist == "load" else None


@pytest.fixture(scope="session", autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep every cache of the tests, and of the processes they start, out of the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MKGC_CACHE", str(tmp_path_factory.mktemp("mkgc-cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_wait_for_the_disk() -> Iterator[None]:
    """Write files without forcing them to disk: only a power cut shows the difference.

    A worker that waits for a disk does nothing. A test of the call puts its own in place.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with ``MRE/`` and ``MNER/``; the test is skipped where it is not to be had."""
    value = os.environ.get("MKGC_DATA")
    if not value:
        pytest.skip("MKGC_DATA is not set; see 'Data you must fetch yourself' in README.md")
    root = Path(value)
    if not root.is_dir():
        pytest.fail(f"MKGC_DATA is {value!r}, which is not a folder; correct it or unset it")
    return root


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
    """Root of a miniature download: full files, sep5, both MNER orders; no images."""
    root = tmp_path / "download"
    _write_mre(root)
    _write_mner(root)
    return root


@pytest.fixture
def make_record() -> Callable[..., RunRecord]:
    """A function (system, seed, rows of per cents) -> record; the rows are the score matrix.

    ``None`` stands for a task without a positive to find.
    """
    from mkgc_cl.metrics import Counts, ResultMatrix
    from mkgc_cl.results import RunRecord

    def make(
        system: str = "full",
        seed: int = 0,
        rows: Sequence[Sequence[int | None]] = ((80,), (60, 70)),
        *,
        traces: Mapping[str, Sequence[float]] | None = None,
    ) -> RunRecord:
        matrix = ResultMatrix(len(rows))
        for after, row in enumerate(rows):
            for on, value in enumerate(row):
                counts = Counts() if value is None else Counts(value, 100, 100)
                matrix.record("test", after=after, on=on, counts=counts)
        return RunRecord.from_matrix(
            matrix,
            system=system,
            scenario="demo-ner",
            order="PER-LOC",
            seed=seed,
            tasks=[f"T{k}" for k in range(1, len(rows) + 1)],
            seconds=1.5,
            peak_memory_mb=100.0,
            config={"epochs": 1},
            provenance={"images": "real"},
            traces=traces or {},
        )

    return make
