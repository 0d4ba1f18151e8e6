"""Claims on runs, so that processes that work on one folder share the work.

A claim is a file beside the record that says who computes the run. It is created exclusively, which
is atomic on local and on network file systems, and touched as long as its process works. Locks of
the operating system are not used: some file systems have none, and some that several machines
share keep a lock to one of them without a word.
"""

from __future__ import annotations

import logging
import os
import platform
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from operator import index
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil

from mkgc_cl._files import PREFIX, SUFFIX
from mkgc_cl._patience import patiently
from mkgc_cl.errors import OutputError
from mkgc_cl.results.json_files import read_json, text_in, to_json
from mkgc_cl.results.writing import reason_of

logger = logging.getLogger(__name__)

HEARTBEAT = 30.0
"""Seconds between two signs of life of a claim."""

SILENCE = 300.0
"""Seconds without a sign of life after which a claim of another machine is dead.

Ten heartbeats; NFS shows the times of files up to a minute late.
"""

POLL = 1.0
"""Seconds between two looks at a claim."""

_SLACK = 60.0
"""Seconds by which a clock may be set back between the start of a process and its claim."""


@dataclass(frozen=True)
class Claim:
    """Who computes a run.

    Args:
        host: name of the machine.
        pid: number of the process there.
        since: when it began, in seconds since the epoch.
        processes: what numbers its processes, where a machine has several of these (containers).
        command: token of the command that it works for, which knows of its death.
        beat: last sign of life, by the clock of the file system.
    """

    host: str
    pid: int
    since: float
    processes: int = 0
    command: str = ""
    beat: float = field(default=0.0, compare=False)

    @property
    def here(self) -> bool:
        """Whether the process, if it lives, is one that can be looked at."""
        return (self.host, self.processes) == (platform.node(), _process_namespace())

    def __str__(self) -> str:
        """The process in words."""
        if not self.pid:
            return "a process that left no name"
        began = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.since))
        return f"process {self.pid} on {self.host}, since {began}"


@contextmanager
def claimed(path: Path, name: str = "the run", command: str = "") -> Iterator[Claim | None]:
    """Claim a run for the length of the block.

    A claim whose process is dead is taken over, with a warning: on this machine at once, on another
    one after :data:`SILENCE`.

    Args:
        path: of the record that the run will have.
        name: of the run, for messages.
        command: token of a command that makes the run in one process at a time: an earlier claim
            of its own is dead, on whatever machine.

    Yields:
        ``None`` where the run is ours, else the claim of the living process that has it.

    Raises:
        OutputError: no claim can be written.
    """
    place = _place(path)
    mine = Claim(platform.node(), os.getpid(), time.time(), _process_namespace(), command)
    text = to_json({key: value for key, value in asdict(mine).items() if key != "beat"})
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        other = _take(place, text, name, command)
    except OSError as error:
        raise OutputError(
            f"{place}: {name} cannot be claimed ({reason_of(error)}); choose another folder, or "
            "mend this one"
        ) from error
    if other is not None:
        yield other
        return
    done = Event()
    Thread(target=_beat, args=(place, done), name="claim", daemon=True).start()
    try:
        yield None
    finally:
        done.set()
        with suppress(OSError):
            if _read(place) == mine:  # else it was thought dead and taken over
                patiently(place.unlink)


def holder(path: Path) -> Claim | None:
    """Return the claim of the living process that has the run with this record, if one has."""
    place = _place(path)
    try:
        claim = _read(place)
        return claim if _lives(place, claim) else None
    except OSError:
        return None


def confirmed(path: Path, claim: Claim) -> Claim | None:
    """Wait for a sign of life of the process that has the run with this record.

    At most about :data:`HEARTBEAT` for a process that lives, and :data:`SILENCE` for one that died;
    not at all if it is one of this machine.

    Args:
        path: of the record that the run will have.
        claim: as it was found before.

    Returns:
        The claim of the living process, ``None`` where the run is free.
    """
    while (now := holder(path)) is not None:
        if now.here or now != claim or now.beat != claim.beat:
            return now
        time.sleep(POLL)
    return None


def forget_dead(path: Path, command: str = "") -> None:
    """Remove the claim of a process of this machine that died at the run with this record.

    Args:
        path: of the record that the run would have.
        command: token of a command whose processes are dead, see :func:`claimed`.
    """
    place = _place(path)
    with suppress(OSError):
        claim = _read(place)
        if (claim.here or _is_of(claim, command)) and not _lives(place, claim, command):
            _removed(place, claim)


def _place(path: Path) -> Path:
    return path.with_name(f".{path.stem}.claim")


def _take(place: Path, text: str, name: str, command: str) -> Claim | None:
    """Write our claim, ``text``, and return ``None``, or return the living one that is there."""
    while True:
        with suppress(FileExistsError):
            _create(place, text)
            return None
        with suppress(FileNotFoundError):  # it was given up meanwhile
            found = _read(place)
            if _lives(place, found, command):
                return found
            if _removed(place, found):
                logger.warning("%s: taken over from %s, which is dead", name, found)


def _create(place: Path, text: str) -> None:
    with place.open("x", encoding="utf-8") as file:
        try:
            file.write(text)
            file.flush()
        except BaseException:
            place.unlink(missing_ok=True)
            raise


def _removed(place: Path, dead: Claim) -> bool:
    """Remove a dead claim, and none that was made anew, or showed life, since it was read."""
    aside = place.with_name(f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}")
    patiently(partial(place.rename, aside))
    found = _read(aside)
    if (found, found.beat) != (dead, dead.beat):
        aside.replace(place)
        return False
    aside.unlink()
    return True


def _read(place: Path) -> Claim:
    """Read a claim; one that is being written, or damaged, is of an unknown process.

    Raises:
        FileNotFoundError: there is none.
    """
    beat = place.stat().st_mtime
    try:
        data: Any = read_json(place)
        return Claim(
            text_in(data["host"]),
            index(data["pid"]),
            _time(data["since"]),
            index(data["processes"]),
            text_in(data.get("command", "")),
            beat,
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        place.stat()  # gone meanwhile, or damaged
    return Claim("", 0, 0.0, beat=beat)


def _time(value: object) -> float:
    """Return seconds since the epoch; ``ValueError``, ``TypeError`` or ``OverflowError`` if not."""
    time.localtime(value)  # type: ignore[arg-type]
    return value  # type: ignore[return-value]


def _is_of(claim: Claim, command: str) -> bool:
    return command != "" and claim.command == command


def _lives(place: Path, claim: Claim, dead: str = "") -> bool:
    """Whether its process lives; those of the command ``dead`` do not."""
    if _is_of(claim, dead):
        return False
    return _runs(claim) if claim.here else _now(place.parent) - claim.beat < SILENCE


def _runs(claim: Claim) -> bool:
    """Whether the process that claimed a run on this machine is there, and not its number alone."""
    if not 0 < claim.pid < 2**31 or not psutil.pid_exists(claim.pid):
        return False
    try:
        process = psutil.Process(claim.pid)
        ended = process.status() == psutil.STATUS_ZOMBIE
        return not ended and bool(process.create_time() < claim.since + _SLACK)
    except psutil.NoSuchProcess:
        return bool(psutil.pid_exists(claim.pid))  # another user's, hidden from us
    except psutil.Error:
        return True


def _now(folder: Path) -> float:
    """The time by the clock that stamps files in that folder, which may be a server's."""
    with tempfile.TemporaryFile(dir=folder, prefix=PREFIX, suffix=SUFFIX) as file:
        return os.fstat(file.fileno()).st_mtime


def _beat(place: Path, done: Event) -> None:
    """Show that the run is being computed until ``done`` is set."""
    while not done.wait(HEARTBEAT):
        with suppress(OSError):
            os.utime(place)


def _process_namespace() -> int:
    """Number of the space of process numbers, which containers have their own of; 0: only one."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0
