"""Prediction over any number of texts, in shards that are finished once and for all.

An output folder holds::

    manifest.json       what is read with what: the same command goes on, and nothing else does
    part-00000.jsonl    what was found in the first texts; there as soon as it is whole
    part-00001.jsonl    ...

Together the parts are what one process prints that reads all of it, in the order of the input.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mkgc_cl._files import PREFIX, SUFFIX, atomic_file
from mkgc_cl.errors import ConfigError, DataError, OutputError, gathered
from mkgc_cl.inference.documents import document
from mkgc_cl.inference.extractor import CHUNK
from mkgc_cl.inference.folders import CONFIG, LARGEST_CONFIG, read_config
from mkgc_cl.inference.json_lines import record_of, text_lines
from mkgc_cl.inference.keeping import FORMAT as EXTRACTOR
from mkgc_cl.inference.shard_inputs import check_files, described, readable
from mkgc_cl.regular_file import read_regular

if TYPE_CHECKING:
    from mkgc_cl.inference.extractor import Extractor

FORMAT = "mkgc_cl.shards/1"
MANIFEST = "manifest.json"
LARGEST = 2**30
"""Bytes of a manifest: a line for every shard is in it."""
TEXTS = 128 * CHUNK
"""Texts of a shard: minutes of one core."""
TOLD = 1000
"""Malformed texts behind which no more are looked for."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be read with what, and where it goes.

    Args:
        extractor: folder of the extractor.
        files: the texts, a line each.
        out: output folder.
        constrain: see :class:`~mkgc_cl.inference.Extractor`.
        texts: texts of a shard, a multiple of :data:`~mkgc_cl.inference.extractor.CHUNK`: texts
            are read together as they are in one process, so that every digit is the same.
        threads: cores that an extractor computes with; another number is other last digits.
    """

    extractor: Path
    files: tuple[Path, ...]
    out: Path
    constrain: bool = True
    texts: int = TEXTS
    threads: int = 1

    def __post_init__(self) -> None:
        wrong = []
        if self.texts < 1 or self.texts % CHUNK:
            wrong.append(f"a shard must have a multiple of {CHUNK} texts, got {self.texts}")
        if self.threads < 1:
            wrong.append(f"an extractor has at least one thread, got {self.threads}")
        if not self.files:
            wrong.append("there is nothing to read; name files")
        if wrong:
            raise ConfigError(wrong)

    def identity(self) -> dict[str, Any]:
        """What every process and every later call must share; the input apart.

        Raises:
            MissingDataError: there is no extractor.
            DataError: there is something else in its place.
        """
        read_config(self.extractor, EXTRACTOR)
        config = read_regular(self.extractor / CONFIG, limit=LARGEST_CONFIG)
        return {
            "format": FORMAT,
            "extractor": hashlib.sha256(config).hexdigest(),
            "constrain": self.constrain,
            "texts per shard": self.texts,
            "threads": self.threads,
            "mkgc_cl": metadata.version("mkgc_cl"),
            "torch": metadata.version("torch"),
        }


@dataclass(frozen=True)
class Shards:
    """A job whose input is known; made by :func:`planned`.

    Args:
        job: the job.
        starts: of every shard, the number of a file, the position in it and the number of the line.
        total: texts of the whole input.
        sizes: bytes of every file.
        digest: sha256 of the manifest.
    """

    job: Job
    starts: tuple[tuple[int, int, int], ...]
    total: int
    sizes: tuple[int, ...]
    digest: str

    def size(self, shard: int) -> int:
        """Number of texts of a shard."""
        return min(self.job.texts, self.total - shard * self.job.texts)

    def path(self, shard: int) -> Path:
        """File of a shard."""
        width = max(5, len(str(len(self.starts) - 1)))
        return self.job.out / f"part-{shard:0{width}}.jsonl"

    @property
    def waiting(self) -> list[int]:
        """Shards that are not finished."""
        return [shard for shard in range(len(self.starts)) if not self.path(shard).exists()]

    def records(self, shard: int) -> Iterator[dict[str, Any]]:
        """Texts of a shard, which may begin in one file and end in another."""
        return islice(self._from(*self.starts[shard]), self.size(shard))

    def _from(self, number: int, position: int, line: int) -> Iterator[dict[str, Any]]:
        for path in self.job.files[number:]:
            with readable(path), path.open(encoding="utf-8") as file:
                file.seek(position)
                for at, text in text_lines(file, name=str(path), first=line):
                    yield record_of(text, at, name=path.name)
            position, line = 0, 1

    def write(self, shard: int, extractor: Extractor) -> None:
        """Read the texts of a shard and write what was found, all of it or nothing.

        Raises:
            DataError: a text lacks the image or the caption that a model reads, or the input was
                changed.
            OutputError: it cannot be written.
        """
        count = 0
        with _written(self.path(shard)), atomic_file(self.path(shard)) as file:
            for found in extractor.stream(self.records(shard), constrain=self.job.constrain):
                file.write((json.dumps(found.to_dict(), ensure_ascii=False) + "\n").encode())
                count += 1
            if count != self.size(shard):
                raise DataError(
                    f"expected {self.size(shard)} texts for {self.path(shard).name}, found "
                    f"{count}: the input was changed meanwhile; put it back",
                    path=self.job.files[self.starts[shard][0]],
                )

    def opened(self) -> Extractor:
        """Load the extractor, in whatever process, which computes with its threads from now on.

        Raises:
            OutputError: the output folder is not seen here.
            ConfigError: input or extractor were changed, or this process has other packages.
        """
        from mkgc_cl.inference import Extractor

        path = self.job.out / MANIFEST
        try:
            text = path.read_bytes()
        except OSError:
            text = b""
        if hashlib.sha256(text).hexdigest() != self.digest:
            raise OutputError(
                f"{path}: node {platform.node()} does not see the manifest that was written; put "
                "the output on a file system that all nodes share"
            )
        wrong = [
            f"{path} is not the file of {size:,} bytes that was checked; every node must see it"
            for path, size in zip(self.job.files, self.sizes, strict=True)
            if _size(path) != size
        ]
        if not wrong:
            torch.set_num_threads(self.job.threads)
            extractor = Extractor.load(self.job.extractor)
            wrong = _differences(json.loads(text), self.job.identity())
        if wrong:
            raise ConfigError([f"on node {platform.node()}: {each}" for each in wrong])
        return extractor


def planned(job: Job, tell: Callable[[str], object]) -> Shards:
    """Read the input, or what an earlier call of the same command found in it.

    Every text is looked at before the first is read: what is malformed is told now.

    Args:
        job: the job.
        tell: told what takes its time.

    Raises:
        DataError: naming every file that is missing or not a regular one, or every malformed text.
        ConfigError: the output folder belongs to another command; says how that differs.
        OutputError: it cannot be written to, or holds something else.
    """
    path, identity = job.out / MANIFEST, job.identity()
    text = _begun(job.out)
    if text is not None and (wrong := _differences(_parsed(text, path), identity)):
        raise ConfigError([*wrong, f"so {job.out} belongs to another command; give another"])
    check_files(job.files)
    tell("reading the input")
    files = [described(each) for each in job.files]
    if text is None:
        tell("checking every text")
        starts, total = _survey(job)
        made = {**identity, "files": files, "texts": total, "shards": starts}
        text = (json.dumps(made) + "\n").encode()
        with _written(path):
            try:
                with atomic_file(path, new=True) as file:
                    file.write(text)
            except FileExistsError:  # of a command that began meanwhile, perhaps another one
                return planned(job, tell)
    kept = _parsed(text, path)
    if kept["files"] != files:
        wrong = _changed(kept["files"], files)
        raise ConfigError([*wrong, f"so {job.out} is of another input; give another folder"])
    shards = tuple((number, position, line) for number, position, line in kept["shards"])
    sizes = tuple(each["bytes"] for each in files)
    return Shards(job, shards, kept["texts"], sizes, hashlib.sha256(text).hexdigest())


def _begun(out: Path) -> bytes | None:
    """The manifest of an output folder, ``None`` where nothing has begun."""
    try:
        names = {entry.name for entry in out.iterdir()}
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(
            f"{out}: cannot be an output folder ({error.strerror}); give another"
        ) from error
    if MANIFEST in names:
        return read_regular(out / MANIFEST, limit=LARGEST)
    if any(not (name.startswith(PREFIX) and name.endswith(SUFFIX)) for name in names):
        raise OutputError(f"{out}: holds something else; give a folder that is empty or new")
    return None


def _parsed(text: bytes, path: Path) -> dict[str, Any]:
    try:
        kept: Any = json.loads(text)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        kept = None
    if isinstance(kept, dict) and kept.get("format") == FORMAT:
        return kept
    raise DataError(f"expected a manifest of the format {FORMAT}, found something else", path=path)


def _differences(kept: dict[str, Any], here: dict[str, Any]) -> list[str]:
    return [
        f"{name!r} was {kept.get(name)}, and is {value}"
        for name, value in here.items()
        if kept.get(name) != value
    ]


def _changed(kept: Sequence[dict[str, Any]], files: Sequence[dict[str, Any]]) -> list[str]:
    if len(kept) != len(files):
        return [f"there were {len(kept)} files to read, and are {len(files)}"]
    pairs = zip(kept, files, strict=True)
    return [f"file {old['name']} was {old}, and is {new}" for old, new in pairs if old != new]


def _size(path: Path) -> int | None:
    """Bytes of a file, ``None`` where it is not seen."""
    try:
        return path.stat().st_size
    except OSError:
        return None


def _survey(job: Job) -> tuple[list[tuple[int, int, int]], int]:
    """Look at every text; where the shards begin, and how many texts there are."""
    starts: list[tuple[int, int, int]] = []
    problems: list[DataError] = []
    total = 0
    names = Counter(path.name for path in job.files)
    for number, path in enumerate(job.files):
        try:
            with readable(path), path.open(encoding="utf-8") as file:
                texts, line = text_lines(file, name=str(path)), 0
                while len(problems) < TOLD:
                    due = total % job.texts == 0
                    position = file.tell() if due else 0
                    found = next(texts, None)
                    if found is None:
                        break
                    if due:
                        starts.append((number, position, line + 1))
                    line, text = found
                    total += 1
                    try:
                        record = record_of(text, line, name=path.name)
                        document(record)
                    except DataError as error:
                        problems.append(DataError(error.message, path=path, line=line))
                        continue
                    if names[path.name] > 1 and record["uid"] == f"{path.name}:{line}":
                        names[path.name] = 0  # told once
                        problems.append(
                            DataError(
                                f"its text has no uid, and another file is called {path.name}, "
                                "too: two texts would get one uid; rename one of the files, or "
                                "give JSON lines with a uid",
                                path=path,
                                line=line,
                            )
                        )
        except DataError as error:  # what follows in this file cannot be read
            problems.append(error)
    if problems:
        raise gathered(problems)
    return starts, total


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error}); finished shards are kept"
        ) from error


@dataclass(frozen=True, slots=True)
class Wrote:
    """What became of a shard.

    Args:
        shard: its number.
        error: why it was not written, ``None`` where it was.
    """

    shard: int
    error: DataError | None = None


def write_here(shards: Shards) -> Generator[Wrote, None, None]:
    """Write what is not finished in this process, one after the other."""
    waiting = shards.waiting
    if not waiting:
        return
    extractor = shards.opened()
    for shard in waiting:
        try:
            shards.write(shard, extractor)
        except DataError as error:  # the others go on
            yield Wrote(shard, error)
        else:
            yield Wrote(shard)
