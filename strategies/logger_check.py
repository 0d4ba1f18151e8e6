"""The one logger of Avalanche that makes numbers up, refused by name."""

from __future__ import annotations

from collections.abc import Iterable

from avalanche.logging import BaseLogger, CSVLogger

from mkgc_cl.errors import ConfigError


def check_loggers(loggers: Iterable[BaseLogger]) -> None:
    """Refuse loggers that write numbers which nobody measured.

    Avalanche 0.6's ``CSVLogger`` has a fixed column each for accuracy, loss and forgetting, writes
    0 where it was told none of them, and has no column for F1.

    Raises:
        ConfigError: one of them is a ``CSVLogger``.
    """
    if any(isinstance(logger, CSVLogger) for logger in loggers):
        raise ConfigError(
            [
                "Avalanche's CSVLogger writes 0 for accuracy, loss and forgetting where nobody "
                "measured them, and has no column for F1; use JsonLinesLogger(path) of "
                "mkgc_cl.strategies, which writes every value that was measured and nothing else"
            ]
        )
