"""Several runs at a time, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TypeVar

from mkgc_cl._cores import usable_cores

T = TypeVar("T")
R = TypeVar("R")

_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def as_finished(
    work: Callable[[T], R], items: Sequence[T], *, jobs: int
) -> Iterator[tuple[T, R | Exception]]:
    """Work on items in ``jobs`` processes and yield each with its result as it is finished.

    The cores that this process may use are shared out among the processes (:func:`threads_each`):
    threads that fight for a core slow each other down many times. Processes are started anew, not
    forked, so that none inherits threads or locks.
    An interrupt lets nothing new begin.

    Args:
        work: a function that a new process can import.
        items: what to work on, begun in this order.
        jobs: number of processes, at least 2.
    """
    context = multiprocessing.get_context("spawn")
    with _threads(threads_each(jobs)):
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


def threads_each(jobs: int) -> int:
    """Return how many threads each of ``jobs`` processes computes with.

    Its share of the cores that this process may use, and no more than the user's own limit
    (``OMP_NUM_THREADS`` or ``MKL_NUM_THREADS``), which is one for each process; 1 at least.
    """
    # Of a list, one number for each level of nesting, the first counts.
    given = [os.environ.get(name, "").partition(",")[0].strip() for name in _LIMITS]
    limits = [int(text) for text in given if text.isdecimal() and int(text) > 0]
    return max(1, min([usable_cores() // jobs, *limits]))


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Let processes started in the block compute with so many threads."""
    before = {name: os.environ.get(name) for name in _LIMITS}
    os.environ.update(dict.fromkeys(_LIMITS, str(number)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
