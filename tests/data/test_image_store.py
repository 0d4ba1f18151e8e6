"""The files of the image cache survive damage, full disks, SIGKILL and several processes."""

from __future__ import annotations

import io
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mkgc_cl.data.image_cache import ImageCache, pixels_of
from mkgc_cl.data.images import BLANK, FileImage
from mkgc_cl.errors import DataError

SIZE = 16


def new_cache(tmp_path: Path, **options: object) -> ImageCache:
    return ImageCache(SIZE, directory=tmp_path / "cache", **options)  # type: ignore[arg-type]


def files_of(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "cache").rglob("*") if path.is_file())


# ---------------------------------------------------------------- damage


def edit_index(change: Callable[[dict[str, object]], object]) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        body = json.loads((folder / "index.json").read_bytes())
        body = change(body) or body
        (folder / "index.json").write_text(json.dumps(body))

    return damage


def each_entry(change: Callable[[list[object]], object]) -> Callable[[Path], object]:
    return edit_index(lambda body: [change(e) for e in body["entries"].values()] and None)  # type: ignore[attr-defined]


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("shard-*.npy"))


def reshape_shard(folder: Path) -> None:
    np.save(shards(folder)[0], np.zeros((7, 3, 3, 3), dtype=np.uint8))


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def plant_payload(folder: Path) -> None:
    with shards(folder)[0].open("wb") as file:
        np.save(file, np.array([Payload(folder / "ran")], dtype=object), allow_pickle=True)


DAMAGE = [
    pytest.param(lambda f: (f / "index.json").write_bytes(b""), True, id="empty index"),
    pytest.param(lambda f: (f / "index.json").write_bytes(b'{"form'), True, id="cut index"),
    pytest.param(lambda f: (f / "index.json").write_bytes(b"\xff\xfe"), True, id="not UTF-8"),
    pytest.param(lambda f: (f / "index.json").write_text("[]"), True, id="a list"),
    pytest.param(edit_index(lambda b: b.update(format=99)), True, id="newer format"),
    pytest.param(edit_index(lambda b: b.update(entries={"a": 3})), True, id="entry not a row"),
    pytest.param(edit_index(lambda b: b.update(entries=[1])), True, id="entries not a table"),
    pytest.param(each_entry(lambda e: e.__setitem__(3, "0")), True, id="row not a number"),
    pytest.param(each_entry(lambda e: e.__setitem__(2, 5)), True, id="shard not a name"),
    pytest.param(
        each_entry(lambda e: e.__setitem__(2, "../../x.npy")), True, id="shard outside the folder"
    ),
    pytest.param(each_entry(lambda e: e.__setitem__(3, 10**6)), False, id="row outside the shard"),
    pytest.param(each_entry(lambda e: e.__setitem__(3, -1)), False, id="negative row"),
    pytest.param(lambda f: (f / "index.json").unlink(), False, id="no index"),
    pytest.param(lambda f: shards(f)[0].unlink(), True, id="no shard"),
    pytest.param(lambda f: os.truncate(shards(f)[0], 500), True, id="cut shard"),
    pytest.param(lambda f: shards(f)[0].write_bytes(b""), True, id="empty shard"),
    pytest.param(reshape_shard, True, id="shard of another shape"),
    pytest.param(plant_payload, True, id="pickle in a shard"),
]


@pytest.mark.parametrize(("damage", "warns"), DAMAGE)
def test_a_damaged_cache_is_rebuilt_with_a_warning(
    tmp_path: Path,
    sources: list[FileImage],
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], object],
    warns: bool,
) -> None:
    new_cache(tmp_path).prepare(sources)
    (index,) = (tmp_path / "cache").rglob("index.json")
    damage(index.parent)
    with caplog.at_level(logging.WARNING):
        batch = new_cache(tmp_path).batch(sources)
    assert ("decoded again" in caplog.text) == warns
    for row, source in zip(batch, sources, strict=True):
        assert np.array_equal(row, pixels_of(source, SIZE))
    assert not (index.parent / "ran").exists()
    assert len(files_of(tmp_path)) == 3  # lock, index, one shard: nothing left over


def test_a_failed_write_keeps_the_old_cache_and_leaves_nothing(
    tmp_path: Path, sources: list[FileImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    new_cache(tmp_path).prepare(sources[:3])
    before = {path: path.read_bytes() for path in files_of(tmp_path)}

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DataError, match=r"No space left on device.*MKGC_CACHE"):
            new_cache(tmp_path).prepare(sources)
    assert {path: path.read_bytes() for path in files_of(tmp_path)} == before


def test_a_folder_that_cannot_be_made_is_explained(
    tmp_path: Path, sources: list[FileImage]
) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataError, match="MKGC_CACHE"):
        new_cache(tmp_path).prepare(sources)


# ---------------------------------------------------------------- processes

FILL = """
import sys
from pathlib import Path
from mkgc_cl.data import image_cache
from mkgc_cl.data.image_cache import ImageCache
from mkgc_cl.data.images import FileImage
image_cache.SHARD_BYTES = 3 * 16 * 16 * 3
sources = [FileImage(path) for path in sorted(Path(sys.argv[1]).iterdir())]
cache = ImageCache(16, directory=Path(sys.argv[2]))
sys.stdout.write("go\\n")
sys.stdout.flush()
cache.prepare(sources)
sys.stdout.write(str(int(cache.batch(sources).sum())))
"""


def fill(folder: Path, cache: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", FILL, str(folder), str(cache)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def many(tmp_path: Path, save_noise: Callable[..., FileImage]) -> list[FileImage]:
    folder = tmp_path / "many"
    folder.mkdir()
    return [save_noise(folder / f"{i:03}.png", i, 300, 300) for i in range(60)]


@pytest.mark.slow
def test_sigkill_at_any_moment_leaves_a_valid_cache(
    tmp_path: Path, many: list[FileImage], decoded: list[str]
) -> None:
    folder = many[0].path.parent
    expected = np.stack([pixels_of(source, SIZE) for source in many])
    finished = 0
    for attempt in range(8):
        process = fill(folder, tmp_path / "cache")
        assert process.stdout is not None
        assert process.stdout.readline() == "go\n"
        time.sleep(0.01 + 0.03 * attempt)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        decoded.clear()
        found = [path for path in files_of(tmp_path) if path.suffix == ".npy"]
        assert len(found) >= finished  # what an earlier attempt finished is still there
        finished = len(found)
    assert np.array_equal(new_cache(tmp_path).batch(many), expected)
    assert len(decoded) <= len(many) - 3 * max(0, finished - 1)
    assert not [path for path in files_of(tmp_path) if path.suffix == ".tmp"]


def test_processes_that_fill_one_cache_at_once_agree(tmp_path: Path, many: list[FileImage]) -> None:
    folder = many[0].path.parent
    running = [fill(folder, tmp_path / "cache") for _ in range(3)]
    sums = [process.communicate(timeout=60)[0].split()[-1] for process in running]
    expected = np.stack([pixels_of(source, SIZE) for source in many])
    assert [process.returncode for process in running] == [0, 0, 0]
    assert sums == [str(int(expected.sum()))] * 3
    # 60 pictures in shards of three, each written by one process only.
    assert len([path for path in files_of(tmp_path) if path.suffix == ".npy"]) == 20


def test_a_cache_sent_to_a_worker_takes_no_pixels_of_files_along(
    tmp_path: Path, sources: list[FileImage]
) -> None:
    cache = new_cache(tmp_path)
    cache.prepare([*sources, BLANK])
    sent = pickle.dumps(cache)
    assert len(sent) < 7 * SIZE * SIZE * 3
    received = pickle.load(io.BytesIO(sent))  # noqa: S301 - what a loader's worker does
    assert np.array_equal(received.batch(sources), cache.batch(sources))
