"""Windows refuses files that somebody is reading or replacing: wait for them, elsewhere never."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

R = TypeVar("R")

# Each takes milliseconds, of which many readers and writers make seconds.
_PATIENCE = 10.0 if os.name == "nt" else 0.0


def patiently(act: Callable[[], R]) -> R:
    """Return what ``act`` returns, and call it again as long as that may help.

    Raises:
        PermissionError: the last one; what is refused for good is refused at last.
    """
    last = time.monotonic() + _PATIENCE
    while True:
        try:
            return act()
        except PermissionError:
            if time.monotonic() >= last:
                raise
            time.sleep(0.01)
