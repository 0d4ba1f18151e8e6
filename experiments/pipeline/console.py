"""What every script does at the terminal: its name, its messages, its exit code, its end."""

from __future__ import annotations

import logging
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import mkgc_cl
from mkgc_cl.errors import ConfigError, GroupError, MkgcError, OutputError
from mkgc_cl.experiments.pipeline.launch import follows, launched
from mkgc_cl.results.lasting import lasting_output

Tell = Callable[[str], None]
"""Says what is being done."""
GOES_ON = "interrupted; the same command goes on from here"


def program(file: str) -> str:
    """The words that start a script: its path in a checkout, its name where there is none."""
    installed = Path(str(mkgc_cl.__file__)).parent in Path(__file__).parents
    return f"mkgc run {Path(file).stem}" if installed else f"python experiments/{file}"


def commands(text: str) -> str:
    """Return a description with the commands in it as they can be given here."""
    return re.sub(r"python experiments/([\w.]+)", lambda found: program(found[1]), text)


def teller(*, quiet: bool) -> Tell:
    """Return what says on standard error what is being done, or with ``quiet`` says nothing."""

    def tell(words: str) -> None:
        if not quiet:
            sys.stderr.write(f"{words}\n")
            sys.stderr.flush()

    return tell


def exit_code(
    work: Callable[[], int], *, interrupted: str = GOES_ON, together: bool = False
) -> int:
    """Do what a script is for; say in a sentence what keeps it from that.

    Args:
        work: returns the exit code of a script that came to its end.
        interrupted: what to say of an interrupt.
        together: whether processes of ``torchrun`` can do it together.

    Returns:
        That code, or 1 where something could not be written, 2 where what was asked for is wrong,
        128 + n where signal n ended it: 130 Ctrl-C, 143 TERM, 129 HUP.
    """
    with lasting_output():
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
        try:
            if launched() and not together:
                raise ConfigError(["torchrun: this command runs in one process; start it without"])
            with signals_interrupt():
                return work()
        except MkgcError as error:
            if not follows():  # all processes find the same
                sys.stderr.write(f"{error}\n")
            return 1 if isinstance(error, OutputError | GroupError) else 2
        except KeyboardInterrupt as error:
            sys.stderr.write(f"\n{interrupted}\n")
            return 128 + (error.number if isinstance(error, Terminated) else signal.SIGINT)


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
