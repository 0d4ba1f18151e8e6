"""Text streams that outlive whoever reads them: no run ends for a line that nobody can see."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

logger = logging.getLogger(__name__)


class Lasting:
    """A stream that drops what can no longer be written.

    Standard error behind ``| head``, a terminal that is gone, a closed standard output: the first
    failure is the last, and what is written from then on goes nowhere.

    Args:
        stream: where to write; ``None``, as Python has it for a closed one, writes nowhere.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write at once; what the stream's encoding lacks is spelled out."""
        if self._stream is not None:
            try:
                try:
                    self._stream.write(text)
                except UnicodeEncodeError as error:
                    name = error.encoding
                    self._stream.write(text.encode(name, "backslashreplace").decode(name))
                self._stream.flush()
            except (OSError, ValueError) as error:  # ValueError: it was closed
                self._drop(error)
        return len(text)

    def flush(self) -> None:
        """Do nothing: every text is written at once."""

    def isatty(self) -> bool:
        """Whether the stream is a terminal, and still there."""
        with suppress(OSError, ValueError):
            return self._stream is not None and self._stream.isatty()
        return False

    def __getattr__(self, name: str) -> Any:
        # such as fileno(), by which tqdm asks for the width of the terminal
        return getattr(self._stream, name)

    def _drop(self, error: Exception) -> None:
        stream: Any = self._stream
        self._stream = None
        if not isinstance(error, BrokenPipeError):  # whose reader had enough
            logger.warning("what is printed cannot be written any more: %s", error)
        if stream in (sys.__stdout__, sys.__stderr__):
            # Python flushes these at its end, which would fail once more and change the exit code.
            with suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)


@contextmanager
def lasting_output() -> Iterator[None]:
    """Let no failure of standard output or standard error end the block."""
    before = sys.stdout, sys.stderr
    lasting: Any = tuple(map(Lasting, before))
    sys.stdout, sys.stderr = lasting
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
