"""Progress of a grid: a bar on a terminal, plain lines elsewhere, nothing with ``quiet``."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol, TextIO

from mkgc_cl.results.lasting import Lasting


class Progress(Protocol):
    """How a running run tells how far it is."""

    def __call__(self, fraction: float, note: str = "") -> None:
        """Say that ``fraction`` of the run is done, in [0, 1]."""


class GridProgress:
    """Shows how far a grid is and how long it will take.

    Time left is the time of the work done in this process, extended to the runs left; runs taken
    from an earlier run cost nothing and count for nothing. A stream that breaks ends the showing
    and nothing else.

    Args:
        runs: number of runs to be run now.
        quiet: show nothing.
        stream: where to; standard error by default, so that the table alone is on standard output.
        every: seconds between two lines of the same run, where there is no terminal.
    """

    def __init__(
        self, runs: int, *, quiet: bool = False, stream: TextIO | None = None, every: float = 30.0
    ) -> None:
        self._runs = runs
        self._quiet = quiet
        self._stream = Lasting(sys.stderr if stream is None else stream)
        self._every = every
        self._done = 0
        self._name = ""
        self._began = self._last = time.monotonic()
        self._bar: Any = None
        if runs and not quiet and self._stream.isatty():
            from tqdm import tqdm  # type: ignore[import-untyped]

            self._bar = tqdm(
                total=float(runs),
                file=self._stream,
                dynamic_ncols=True,
                bar_format="{l_bar}{bar}| {n:.1f}/{total:.0f} [{elapsed}<{remaining}]{postfix}",
            )

    def start(self, name: str) -> None:
        """Begin a run."""
        self._name = name
        self._last = time.monotonic()
        if self._bar is not None:
            self._bar.set_description_str(name)

    def __call__(self, fraction: float, note: str = "") -> None:
        """Show how far the running run is; see :class:`Progress`."""
        fraction = min(max(fraction, 0.0), 1.0)
        if self._bar is not None:
            self._move(self._done + fraction, note)
        elif time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            text = f"{100 * fraction:.0f} %" + (f", {note}" if note else "")
            self._line(self._done + 1, text, self._left(self._done + fraction))

    def finish(self, note: str) -> None:
        """End the run with a word on what came out."""
        self._done += 1
        if self._bar is not None:
            self._move(self._done, note)
        else:
            self._line(self._done, note, self._left(self._done))

    def message(self, text: str) -> None:
        """Show a line that does not belong to a run."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            self._stream.write(text + "\n")
            self._stream.flush()

    def close(self) -> None:
        """Leave the terminal in order."""
        if self._bar is not None:
            self._bar.close()

    def _move(self, to: float, note: str) -> None:
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(to - self._bar.n)

    def _line(self, number: int, text: str, left: str) -> None:
        self.message(f"[{number}/{self._runs}] {self._name}: {text}{left}")

    def _left(self, done: float) -> str:
        if done <= 0 or done >= self._runs:
            return ""
        seconds = (time.monotonic() - self._began) / done * (self._runs - done)
        return f", about {duration(seconds)} left"


def duration(seconds: float) -> str:
    """Write a duration for people.

    >>> duration(42), duration(125), duration(7300)
    ('42 s', '2 min 5 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
