"""A readout in closed form: additive statistics of classes, and what is solved from them."""

from mkgc_cl.models.gaussian.options import GaussianOptions
from mkgc_cl.models.gaussian.readout import GaussianReadout
from mkgc_cl.models.gaussian.saving import load_readout, save_readout
from mkgc_cl.models.gaussian.statistics import ClassStatistics

__all__ = [
    "ClassStatistics",
    "GaussianOptions",
    "GaussianReadout",
    "load_readout",
    "save_readout",
]
