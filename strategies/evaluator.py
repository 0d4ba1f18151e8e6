"""Avalanche's evaluation plugin, with metrics and loggers that work here."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from avalanche.logging import BaseLogger
from avalanche.training.plugins import EvaluationPlugin

from mkgc_cl.strategies.compatibility import refuse


def evaluation_plugin(*metrics: Any, loggers: Sequence[BaseLogger] = ()) -> EvaluationPlugin:
    """Return Avalanche's evaluation plugin; without loggers its values are read by asking.

    Raises:
        ConfigError: a metric or logger of Avalanche that cannot work here.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No loggers specified")
        plugin = EvaluationPlugin(*metrics, loggers=list(loggers))
    refuse([*plugin.metrics, *plugin.loggers])
    return plugin
