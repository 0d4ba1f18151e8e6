"""The base of every plugin here: Avalanche's, with its class argument as type checkers know it."""

from __future__ import annotations

from typing import Any

from avalanche.core import SupervisedPlugin


class Plugin(SupervisedPlugin):
    """A plugin of Avalanche's.

    ``class Mine(Plugin, supports_distributed=True)`` says that it goes by sums over all processes
    where these share a training; whoever derives from it says so again.
    """

    def __init_subclass__(cls, *, supports_distributed: bool = False, **more: Any) -> None:
        super().__init_subclass__(supports_distributed=supports_distributed, **more)
