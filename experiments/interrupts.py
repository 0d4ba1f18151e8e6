"""TERM and HUP end a script as Ctrl-C does: what has finished is kept, and is in the tables."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Terminated(KeyboardInterrupt):
    """The system, a batch queue or a closed terminal ends the program.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Raise :class:`Terminated` at TERM and HUP for the length of the block.

    Libraries that catch it, and interrupt their caller in the usual way (Ray does), hide no signal.

    A signal that is ignored, as ``nohup`` has it, or handled already stays so. Only the main thread
    can handle signals; elsewhere nothing changes.
    """
    came: list[int] = []

    def interrupt(number: int, _: object) -> None:
        came.append(number)
        raise Terminated(number)

    numbers = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")]
    caught = [n for n in numbers if n is not None and signal.getsignal(n) == signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        caught = []
    for number in caught:
        signal.signal(number, interrupt)
    try:
        yield
    except KeyboardInterrupt as error:
        if came and not isinstance(error, Terminated):
            raise Terminated(came[-1]) from error
        raise
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)
