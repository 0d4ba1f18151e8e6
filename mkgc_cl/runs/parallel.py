"""Several runs at a time, each in a process of its own."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from threading import Thread
from typing import Any, Generic, TypeVar

from mkgc_cl._cores import usable_cores
from mkgc_cl._environ import environment_variables
from mkgc_cl.errors import ConfigError, WorkerError

T = TypeVar("T")
R = TypeVar("R")

_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_GRACE = 5.0
"""Seconds that a process without work has to end by itself."""
_TO_ALL = [-getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Exit codes by signals that a closed terminal or a batch queue sends to a whole group."""
_MOMENT = 1.0
"""Seconds within which such a signal reaches all."""


def as_finished(
    work: Callable[[T], R], items: Sequence[T], *, jobs: int
) -> Generator[tuple[T, R | Exception], None, None]:
    """Work on items in ``jobs`` processes and yield each with its result as it is finished.

    A process that dies costs the item that it works on, and another one takes its place.
    Close the iterator to stop: processes at work are killed. They also end with this process,
    however it ends, and leave Ctrl-C to it.

    The cores that this process may use are shared out among the processes (:func:`threads_each`):
    threads that fight for a core slow each other down many times. Processes are started anew, not
    forked, so that none inherits threads or locks.

    Args:
        work: a function that a new process can import.
        items: what to work on, begun in this order.
        jobs: number of processes, at least 1.

    Yields:
        An item, and what ``work`` returned or raised; :class:`WorkerError` where its process died.
    """
    left = deque(items)
    workers: dict[Any, _Worker[T, R]] = {}  # by connection, whose type is the system's
    threads = threads_each(jobs)
    try:
        while left or workers:
            while left and len(workers) < jobs:
                worker = _Worker(work, threads)
                workers[worker.connection] = worker
                worker.begin(left.popleft())
            for connection in wait(list(workers)):
                worker = workers[connection]
                item, result = worker.item, worker.result()
                if worker.connection.closed:
                    del workers[worker.connection]
                elif left:
                    worker.begin(left.popleft())
                else:
                    worker.end()
                    del workers[worker.connection]
                yield item, result
    finally:
        for worker in workers.values():
            worker.process.kill()
        for worker in workers.values():
            worker.process.join()


def check_jobs(jobs: int) -> None:
    """Raise a :class:`ConfigError` where nothing could run at a time."""
    if jobs < 1:
        raise ConfigError([f"jobs={jobs}; give 1 or more"])


def threads_each(jobs: int) -> int:
    """Return how many threads each of ``jobs`` processes computes with.

    Its share of the cores that this process may use, and no more than the user's own limit for a
    process: ``OMP_NUM_THREADS``, ``MKL_NUM_THREADS``, or what PyTorch was set to here; 1 at least.
    """
    # Of a list, one number for each level of nesting, the first counts.
    given = [os.environ.get(name, "").partition(",")[0].strip() for name in _LIMITS]
    limits = [int(text) for text in given if text.isdecimal() and int(text) > 0]
    if (torch := sys.modules.get("torch")) is not None:
        limits.append(torch.get_num_threads())
    return max(1, min([usable_cores() // jobs, *limits]))


def limit_threads(number: int) -> None:
    """Let this process compute with so many threads from now on."""
    os.environ.update(dict.fromkeys(_LIMITS, str(number)))
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(number)


class _Worker(Generic[T, R]):
    """A process that works on one item after another."""

    item: T

    def __init__(self, work: Callable[[T], R], threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._work = work
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,))
        with environment_variables(dict.fromkeys(_LIMITS, str(threads))):
            self.process.start()
        theirs.close()  # now it closes when the process ends

    def begin(self, item: T) -> None:
        """Let it work on an item."""
        self.item = item
        with suppress(ConnectionError):  # it is dead, as result() will find
            self.connection.send((self._work, item))

    def result(self) -> R | Exception:
        """Return what came of the item; close the connection if the process died of it."""
        try:
            result: R | Exception = self.connection.recv()
        except (EOFError, OSError):
            self.connection.close()
            self.process.join()
            if self.process.exitcode in _TO_ALL:
                time.sleep(_MOMENT)  # and let it interrupt this process, too, if it was sent to all
            return WorkerError(_death(self.process.exitcode))
        return result

    def end(self) -> None:
        """Let it go."""
        self.connection.close()
        self.process.join(_GRACE)
        self.process.kill()
        self.process.join()


def _death(code: int | None) -> str:
    """Say what ended a process, and what to do."""
    if code is None or code >= 0:
        return (
            f"its process ended with exit code {code}; what it wrote last on standard error says "
            "why; the same command runs it again"
        )
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    why = " (out of memory, if nobody did it by hand)" if name == "SIGKILL" else ""
    advice = "the same command runs it again; give fewer --jobs if memory is short"
    return f"its process was killed by {name}{why}; {advice}"


def _serve(connection: Connection) -> None:
    """Work on what comes until nothing comes any more."""
    _end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to answer
    with suppress(EOFError):
        while True:
            connection.send(_worked(*connection.recv()))


def _worked(work: Callable[[Any], Any], item: Any) -> Any:
    try:
        return work(item)
    except Exception as error:
        return error


def _end_with_parent() -> None:
    """Let this process die with its parent, however that dies."""
    parent = multiprocessing.parent_process()
    if parent is None:  # nobody has started it
        return

    def follow() -> None:
        parent.join()
        os._exit(1)

    if sys.platform == "linux":  # at once, where no thread gets its turn
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    Thread(target=follow, name="follow", daemon=True).start()
