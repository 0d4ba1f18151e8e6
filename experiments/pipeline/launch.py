"""Runs on several processes: ``torchrun`` starts them, all share each run, and the first one leads.

The first process does what a script does alone. Before a run it says which, and the others, who
have read the same settings and data, train it along. They write nothing and print nothing: what
goes wrong in one of them it leaves in the store of ``torchrun``, the first tells it, and all end.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING

from mkgc_cl.errors import GroupError, MkgcError, OutputError

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

    from mkgc_cl.strategies.distributed import Ranks

PATIENCE = 10
"""Seconds before a process ends that has failed outside of a run.

A mistake in settings or data shows in all processes at once, and torchrun ends all when the first
one has ended: that has to be the one that tells.
"""


def launched() -> bool:
    """Whether ``torchrun`` has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def hush() -> None:
    """Keep PyTorch from saying in every process that all parameters had a gradient.

    Call it before anything imports PyTorch. A level that is already set stays.
    """
    if launched():
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def follows() -> bool:
    """Whether this process is one of several and not the first of them."""
    return launched() and os.environ.get("RANK", "0") != "0"


def launch_problems(*, jobs: int, device: str, launcher: str = "local") -> list[str]:
    """What there is to say against a command under ``torchrun``."""
    if not launched():
        return []
    found = []
    if jobs > 1:
        found.append(f"--jobs {jobs}: the processes of torchrun share one run at a time; leave it")
    if launcher != "local":
        found.append(
            f"--launcher {launcher}: torchrun has started the processes; use one of the two"
        )
    if re.fullmatch(r"cuda:\d+", device) and os.environ.get("LOCAL_WORLD_SIZE", "1") != "1":
        found.append(f"'device' is one GPU, {device!r}; give cuda, and each process takes its own")
    return found


class Team:
    """The processes that make runs together.

    Args:
        ranks: the processes.
        store: where they leave each other words.

    Attributes:
        making: whether this process, which follows, makes a run.
    """

    def __init__(self, ranks: Ranks, store: Store) -> None:
        self.ranks = ranks
        self.making = False
        self._store = store

    @contextmanager
    def leading(self, key: str) -> Iterator[None]:
        """Make a run of this key in all processes; for the first one.

        Raises:
            GroupError: it failed here or in another process.
            KeyboardInterrupt: it was interrupted.
        """
        try:
            self.ranks.text_of_first(key)
            yield
        except OutputError:
            raise
        except BaseException as error:
            if isinstance(error, Exception):
                signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's, while this is told
            words = self._told()
            if words is None and not isinstance(error, Exception):
                raise
            if words is None or (isinstance(error, Exception) and not echoes(error)):
                what = "a process was lost" if echoes(error) else type(error).__name__
                words = f"{what}: {error}\n\n{traceback.format_exc()}"
            reason, _, trace = words.partition("\n\n")
            raise GroupError(reason, traceback=trace) from error

    def follow(self, make: Callable[[str], object]) -> None:
        """Make every run that the first process makes, by its key, until there are no more."""
        while key := self.ranks.text_of_first(""):
            self.making = True
            make(key)
            self.making = False
        self._leave()

    def dismiss(self) -> None:
        """Let the others end; for the first process.

        Raises:
            GroupError: one of them has failed.
        """
        with self.leading(""):
            pass
        self._leave()

    def tell(self, error: BaseException) -> None:
        """Leave what has failed here for the first process, unless another one already has."""
        with suppress(Exception):
            if self._told() is None and not echoes(error):
                place = f"process {self.ranks.rank + 1} of {self.ranks.number}"
                words = f"{place}, {type(error).__name__}: {error}\n\n{traceback.format_exc()}"
                self._store.set("failed", words)

    def _told(self) -> str | None:
        with suppress(Exception):  # the store is gone with torchrun
            if self._store.check(["failed"]):
                return str(self._store.get("failed").decode())
        return None

    def _leave(self) -> None:
        import torch.distributed as dist

        dist.destroy_process_group()
        team.cache_clear()


def echoes(error: BaseException) -> bool:
    """Whether an error is what another process's end looks like: a connection that is gone.

    PyTorch has no type for it.
    """
    ours = isinstance(error, MkgcError) or not isinstance(error, RuntimeError)
    return not ours and re.search("gloo|nccl|connection|socket", str(error), re.I) is not None


@lru_cache(maxsize=1)
def team() -> Team | None:
    """The processes that ``torchrun`` started, joined at the first call; ``None`` without it."""
    if not launched():
        return None
    from mkgc_cl.strategies.distributed import join

    return Team(*join())


def following(work: Callable[[], int]) -> int:
    """Do a script's work in a process that follows, in silence.

    Returns:
        The exit code of work that came to its end; else the process ends here.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)  # even where it waits for the others
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # for good
    try:
        return work()
    except BaseException as error:
        if isinstance(error, SystemExit) and not error.code:
            os._exit(0)
        together = team() if team.cache_info().currsize else None
        if together is not None:
            together.tell(error)
        if together is None or not together.making:
            time.sleep(PATIENCE)
        # not by way of Python's end, which may wait for a process that is lost
        os._exit(1)


def ended(code: int) -> int:
    """Return the exit code of the first process; end it at once if it has failed in company."""
    if code and launched() and team.cache_info().currsize:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code
