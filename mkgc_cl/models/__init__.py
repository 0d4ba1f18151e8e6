"""Dual-stream models, their encoders and their heads."""

from mkgc_cl.models.dual_stream import DualStreamModel
from mkgc_cl.models.groups import build_optimizer, parameter_groups
from mkgc_cl.models.output import ModelOutput

__all__ = ["DualStreamModel", "ModelOutput", "build_optimizer", "parameter_groups"]
