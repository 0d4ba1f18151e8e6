"""Models of both tasks, their encoders and their heads."""

from mkgc_cl.models.base import ExtractionModel
from mkgc_cl.models.dual_stream import DualStreamModel
from mkgc_cl.models.gaussian import GaussianOptions, GaussianReadout, load_readout, save_readout
from mkgc_cl.models.groups import build_optimizer, parameter_groups
from mkgc_cl.models.growing import load_grown
from mkgc_cl.models.mega import MEGAModel
from mkgc_cl.models.memory_attention import MemoryAttentionReadout
from mkgc_cl.models.mkgformer import MKGformerModel
from mkgc_cl.models.output import DualStreamOutput, ModelOutput
from mkgc_cl.models.prototypes import PrototypeReadout
from mkgc_cl.models.text_model import TextModel
from mkgc_cl.models.umgf import UMGFModel
from mkgc_cl.models.umt import UMTModel

__all__ = [
    "DualStreamModel",
    "DualStreamOutput",
    "ExtractionModel",
    "GaussianOptions",
    "GaussianReadout",
    "MEGAModel",
    "MKGformerModel",
    "MemoryAttentionReadout",
    "ModelOutput",
    "PrototypeReadout",
    "TextModel",
    "UMGFModel",
    "UMTModel",
    "build_optimizer",
    "load_grown",
    "load_readout",
    "parameter_groups",
    "save_readout",
]
