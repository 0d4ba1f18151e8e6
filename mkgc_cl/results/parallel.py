"""Several cells at a time, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def as_finished(
    work: Callable[[T], R], items: Sequence[T], *, jobs: int
) -> Iterator[tuple[T, R | Exception]]:
    """Work on items in ``jobs`` processes and yield each with its result as it is finished.

    The cores are shared out among the processes: threads that fight for a core slow each other
    down many times. Processes are started anew, not forked, so that none inherits threads or locks.
    An interrupt lets nothing new begin.

    Args:
        work: a function that a new process can import.
        items: what to work on, begun in this order.
        jobs: number of processes, at least 2.
    """
    context = multiprocessing.get_context("spawn")
    with _threads(max(1, (os.cpu_count() or 1) // jobs)):
        pool = ProcessPoolExecutor(jobs, mp_context=context)
        try:
            futures: dict[Future[R], T] = {pool.submit(work, item): item for item in items}
            for future in as_completed(futures):
                error = future.exception()
                if error is None:
                    yield futures[future], future.result()
                elif isinstance(error, Exception):
                    yield futures[future], error
                else:
                    raise error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Let processes started in the block compute with so many threads."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(number)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
