"""The image cache survives damage, full and read-only disks, SIGKILL and several processes."""

from __future__ import annotations

import errno
import hashlib
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
from typing import Any

import numpy as np
import pytest

from mkgc_cl.data import image_store
from mkgc_cl.data.image_cache import ImageCache, pixels_of
from mkgc_cl.data.images import BLANK, FileImage
from mkgc_cl.errors import DataError, ImageError

SIZE = 16


def new_cache(tmp_path: Path, **options: object) -> ImageCache:
    return ImageCache(SIZE, directory=tmp_path / "cache", **options)  # type: ignore[arg-type]


def files_of(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "cache").rglob("*") if path.is_file())


# ---------------------------------------------------------------- damage


def digest_of(folder: Path, entries: object) -> str:
    text = json.dumps([folder.name, entries], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def edit_index(
    change: Callable[[dict[str, Any]], object], *, seal: bool = True
) -> Callable[[Path], object]:
    """Change the index; ``seal`` makes its digest the right one, as no accident would."""

    def damage(folder: Path) -> None:
        body = json.loads((folder / "index.json").read_bytes())
        change(body)
        if seal:
            body["digest"] = digest_of(folder, body["entries"])
        (folder / "index.json").write_text(json.dumps(body))

    return damage


def each_entry(change: Callable[[list[object]], object]) -> Callable[[Path], object]:
    return edit_index(lambda body: [change(entry) for entry in body["entries"].values()])


def swap_entries(body: dict[str, Any]) -> None:
    first, second, *_ = body["entries"]
    entries = body["entries"]
    entries[first][3], entries[second][3] = entries[second][3], entries[first][3]


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("shard-*"))


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def swap_shards(folder: Path) -> None:
    one, other = shards(folder)
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)


def name_by_digest_what_is_no_image(folder: Path) -> None:
    data = b"x" * 500
    name = f"shard-{hashlib.sha256(data).hexdigest()[:32]}.rgb"
    (folder / name).write_bytes(data)
    each_entry(lambda entry: entry.__setitem__(2, name))(folder)


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


DAMAGE = [
    pytest.param(lambda f: (f / "index.json").write_bytes(b""), id="empty index"),
    pytest.param(lambda f: (f / "index.json").write_bytes(b'{"form'), id="cut index"),
    pytest.param(lambda f: (f / "index.json").write_bytes(b"\xff\xfe"), id="not UTF-8"),
    pytest.param(lambda f: (f / "index.json").write_text("[]"), id="a list"),
    pytest.param(lambda f: (f / "index.json").write_text("[" * 10**5), id="deep lists"),
    pytest.param(lambda f: make_pipe(f / "index.json"), id="index a pipe"),
    pytest.param(lambda f: link_device(f / "index.json"), id="index a device"),
    pytest.param(edit_index(lambda b: b.update(format=99)), id="newer format"),
    pytest.param(edit_index(lambda b: b.pop("digest"), seal=False), id="no digest"),
    pytest.param(edit_index(swap_entries, seal=False), id="swapped entries"),
    pytest.param(edit_index(lambda b: b.update(entries={"a": 3})), id="entry not a row"),
    pytest.param(edit_index(lambda b: b.update(entries=[1])), id="entries not a table"),
    pytest.param(each_entry(lambda e: e.__setitem__(3, "0")), id="row not a number"),
    pytest.param(each_entry(lambda e: e.__setitem__(3, -1)), id="negative row"),
    pytest.param(each_entry(lambda e: e.__setitem__(2, 5)), id="shard not a name"),
    pytest.param(each_entry(lambda e: e.__setitem__(2, "../x.rgb")), id="shard elsewhere"),
    pytest.param(lambda f: shards(f)[0].unlink(), id="no shard"),
    pytest.param(lambda f: os.truncate(shards(f)[0], 500), id="cut shard"),
    pytest.param(lambda f: os.truncate(shards(f)[0], 3 * 16 * 16), id="shard cut to an image"),
    pytest.param(lambda f: shards(f)[0].write_bytes(b""), id="empty shard"),
    pytest.param(lambda f: flip(shards(f)[0], 0), id="first byte flipped"),
    pytest.param(lambda f: flip(shards(f)[0], 1000), id="middle byte flipped"),
    pytest.param(lambda f: flip(shards(f)[1], -1), id="last byte flipped"),
    pytest.param(swap_shards, id="swapped shards"),
    pytest.param(name_by_digest_what_is_no_image, id="no whole images"),
    pytest.param(lambda f: make_pipe(shards(f)[0]), id="shard a pipe"),
    pytest.param(lambda f: link_device(shards(f)[0]), id="shard a device"),
]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.timeout(60)
def test_a_damaged_cache_is_rebuilt_with_a_warning(
    tmp_path: Path,
    sources: list[FileImage],
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], object],
) -> None:
    sources = sources[:6]
    for part in (sources[:3], sources[3:]):  # a shard each, of the same size
        new_cache(tmp_path).prepare(part)
    (index,) = (tmp_path / "cache").rglob("index.json")
    before = {path.name for path in shards(index.parent)}
    damage(index.parent)
    with caplog.at_level(logging.WARNING):
        batch = new_cache(tmp_path).batch(sources)
    for row, source in zip(batch, sources, strict=True):
        assert np.array_equal(row, pixels_of(source, SIZE))
    # The file is named, and once.
    warned = [record.getMessage() for record in caplog.records]
    assert warned
    for message in warned:
        assert message.startswith(str(index.parent))
        assert message.endswith("decoded again")
    assert len(set(warned)) == len(warned)
    assert [p.name for p in tmp_path.rglob("*.tmp")] == []
    # Nothing is left over, and the next one finds it whole.
    assert len(shards(index.parent)) <= len(before)
    caplog.clear()
    new_cache(tmp_path).prepare(sources)
    assert caplog.records == []


@pytest.mark.parametrize(
    ("damage", "rows"),
    [
        pytest.param(lambda f: (f / "index.json").unlink(), 6, id="no index"),
        pytest.param(each_entry(lambda e: e.__setitem__(3, 3)), 6, id="row outside the shard"),
        # Without new times a file is not hashed again: of three, one has them.
        pytest.param(each_entry(lambda e: e.__setitem__(0, "other")), 4, id="other sources"),
    ],
)
def test_what_an_index_does_not_tell_of_is_decoded(
    tmp_path: Path,
    sources: list[FileImage],
    decoded: list[str],
    damage: Callable[[Path], object],
    rows: int,
) -> None:
    new_cache(tmp_path).prepare(sources[:3])
    (index,) = (tmp_path / "cache").rglob("index.json")
    damage(index.parent)
    os.utime(sources[0].path, ns=(1, 1))
    batch = new_cache(tmp_path).batch(sources[:3])
    for row, source in zip(batch, sources[:3], strict=True):
        assert np.array_equal(row, pixels_of(source, SIZE))
    assert len(decoded) == rows


def test_an_index_of_another_fit_is_not_taken_for_this_ones(
    tmp_path: Path, sources: list[FileImage]
) -> None:
    new_cache(tmp_path, fit="squash").prepare(sources)
    (squashed,) = (tmp_path / "cache").rglob("*-squash-*")
    squashed.rename(squashed.with_name(squashed.name.replace("squash", "crop")))
    assert np.array_equal(new_cache(tmp_path).get(sources[1]), pixels_of(sources[1], SIZE))


# ---------------------------------------------------------------- damage during use


def overwrite_in_place(path: Path) -> None:
    before = path.stat()
    flip(path, 5)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    "damage",
    [
        overwrite_in_place,
        lambda path: os.truncate(path, 0),
        lambda path: path.unlink(),
        make_pipe,
    ],
    ids=["flipped", "cut", "deleted", "pipe"],
)
def test_a_shard_that_is_damaged_while_in_use_is_rebuilt_whole(
    tmp_path: Path,
    sources: list[FileImage],
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], object],
) -> None:
    cache = new_cache(tmp_path)
    cache.batch(sources)
    (shard,) = (tmp_path / "cache").rglob("shard-*")
    pixels = shard.read_bytes()
    time.sleep(0.02)  # a file system stamps changes within some milliseconds alike
    damage(shard)
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(cache.get(sources[4]), pixels_of(sources[4], SIZE))
    assert shard.name in caplog.text
    assert shard.read_bytes() == pixels
    assert np.array_equal(
        cache.batch(sources), np.stack([pixels_of(source, SIZE) for source in sources])
    )


def test_a_shard_that_changes_while_it_is_read_is_not_believed(
    tmp_path: Path, sources: list[FileImage]
) -> None:
    cache = new_cache(tmp_path)
    cache.batch(sources)
    (shard,) = (tmp_path / "cache").rglob("shard-*")
    reading = cache._store._opened(shard.name)
    reading.__enter__()
    time.sleep(0.02)  # a file system stamps changes within some milliseconds alike
    flip(shard, 5)
    with pytest.raises(DataError, match="changed while it was read"):
        reading.__exit__(None, None, None)


def test_a_image_that_changed_since_is_an_error_where_its_old_pixels_are_lost(
    tmp_path: Path, sources: list[FileImage], save_noise: Callable[..., FileImage]
) -> None:
    cache = new_cache(tmp_path)
    cache.prepare(sources)
    save_noise(sources[2].path, 99)
    old = cache.get(sources[2]).copy()
    other = new_cache(tmp_path)
    other.prepare(sources)  # decodes the new image; the old shard still has the others
    assert np.array_equal(cache.get(sources[2]), old)
    (shard,) = {
        entry.shard for entry in (other._held[s.key].entry for s in sources if s != sources[2])
    }
    next((tmp_path / "cache").rglob(shard)).unlink()
    with pytest.raises(ImageError, match="start again") as caught:
        cache.get(sources[0])
    assert caught.value.path == sources[2].path


CUT = """
import os, sys
from pathlib import Path
from mkgc_cl.data.image_cache import ImageCache
from mkgc_cl.data.images import FileImage
sources = [FileImage(path) for path in sorted(Path(sys.argv[1]).iterdir())]
cache = ImageCache(64, directory=Path(sys.argv[2]))
before = [int(cache.get(source).sum()) for source in sources]
for shard in Path(sys.argv[2]).rglob("shard-*"):
    os.truncate(shard, 4096)
sys.stdout.write(str(before == [int(cache.get(source).sum()) for source in sources]))
"""


@pytest.mark.slow
def test_a_shard_cut_short_does_not_kill_its_reader(
    tmp_path: Path, sources: list[FileImage]
) -> None:
    folder = sources[0].path.parent
    done = subprocess.run(
        [sys.executable, "-c", CUT, str(folder), str(tmp_path / "cache")],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "True")  # a map: -7, SIGBUS


# ---------------------------------------------------------------- read-only and full disks


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Refuse every write of the cache, as a read-only file system does (root may write any)."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    def apply() -> None:
        monkeypatch.setattr(image_store.FileLock, "acquire", refuse)
        monkeypatch.setattr(image_store, "write_atomic", refuse)
        monkeypatch.setattr(Path, "unlink", refuse)

    return apply


def test_a_whole_cache_may_be_read_only(
    tmp_path: Path, sources: list[FileImage], read_only: Callable[[], None], decoded: list[str]
) -> None:
    new_cache(tmp_path).prepare(sources)
    os.utime(sources[0].path, ns=(1, 1))  # of new times, which cannot be remembered
    decoded.clear()
    read_only()
    batch = new_cache(tmp_path).batch(sources)
    assert decoded == []
    assert np.array_equal(batch, np.stack([pixels_of(source, SIZE) for source in sources]))


def test_a_read_only_cache_that_lacks_images_says_what_to_do(
    tmp_path: Path, sources: list[FileImage], read_only: Callable[[], None]
) -> None:
    new_cache(tmp_path).prepare(sources[:3])
    read_only()
    with pytest.raises(DataError, match=r"cannot be written \(Read-only file system\).*MKGC_CACHE"):
        new_cache(tmp_path).prepare(sources)
    (shard,) = (tmp_path / "cache").rglob("shard-*")
    flip(shard, 3)
    with pytest.raises(DataError, match=f"{shard.name}: the shard.*damaged.*MKGC_CACHE"):
        new_cache(tmp_path).prepare(sources[:3])


def test_a_whole_cache_is_read_while_another_process_fills_it(
    tmp_path: Path, sources: list[FileImage]
) -> None:
    new_cache(tmp_path).prepare(sources)
    with new_cache(tmp_path)._store.locked():
        assert new_cache(tmp_path).batch(sources).shape == (7, SIZE, SIZE, 3)


def test_a_shard_is_digested_once_a_process(
    tmp_path: Path, sources: list[FileImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    new_cache(tmp_path).prepare(sources)
    digested: list[Path] = []
    verify = image_store.ImageStore._verify
    monkeypatch.setattr(
        image_store.ImageStore,
        "_verify",
        lambda store, file, path: (digested.append(path), verify(store, file, path)),
    )
    for _ in range(2):
        cache = new_cache(tmp_path)
        cache.batch(sources)
        cache.batch(sources[::-1])
    assert len(digested) == 1


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
        found = [path for path in files_of(tmp_path) if path.name.startswith("shard-")]
        assert len(found) >= finished  # what an earlier attempt finished is still there
        finished = len(found)
    assert np.array_equal(new_cache(tmp_path).batch(many), expected)
    assert len(decoded) <= len(many) - 3 * max(0, finished - 1)
    assert not [path for path in files_of(tmp_path) if path.suffix == ".tmp"]


@pytest.mark.slow
def test_processes_that_fill_one_cache_at_once_agree(tmp_path: Path, many: list[FileImage]) -> None:
    folder = many[0].path.parent
    running = [fill(folder, tmp_path / "cache") for _ in range(3)]
    sums = [process.communicate(timeout=60)[0].split()[-1] for process in running]
    expected = np.stack([pixels_of(source, SIZE) for source in many])
    assert [process.returncode for process in running] == [0, 0, 0]
    assert sums == [str(int(expected.sum()))] * 3
    # 60 images in shards of three, each written by one process only.
    assert len([path for path in files_of(tmp_path) if path.name.startswith("shard-")]) == 20


def test_a_cache_sent_to_a_worker_takes_no_pixels_of_files_along(
    tmp_path: Path, sources: list[FileImage]
) -> None:
    cache = new_cache(tmp_path)
    cache.prepare([*sources, BLANK])
    sent = pickle.dumps(cache)
    assert len(sent) < 7 * SIZE * SIZE * 3
    received = pickle.load(io.BytesIO(sent))  # noqa: S301 - what a loader's worker does
    assert np.array_equal(received.batch(sources), cache.batch(sources))
