"""A readout in closed form: additive statistics of classes, and what is solved from them."""

from mkgc_cl.models.gaussian.learning import Background, TaskLearning
from mkgc_cl.models.gaussian.options import GaussianOptions
from mkgc_cl.models.gaussian.readout import GaussianReadout
from mkgc_cl.models.gaussian.saving import (
    load_readout,
    readout_bytes,
    readout_of_bytes,
    save_readout,
)
from mkgc_cl.models.gaussian.statistics import ClassStatistics

__all__ = [
    "Background",
    "ClassStatistics",
    "GaussianOptions",
    "GaussianReadout",
    "TaskLearning",
    "load_readout",
    "readout_bytes",
    "readout_of_bytes",
    "save_readout",
]
