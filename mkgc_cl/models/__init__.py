"""Models of both tasks, their encoders and their heads.

Shapes in docstrings, here and everywhere else in the package:

======  ============================================================================
letter  number of
======  ============================================================================
B       samples of a batch
N       samples, rows or candidates of any other collection
U       different visual inputs of a batch: samples may share one
T       tokens (word pieces with special tokens) of the longest sample
W       words of the longest sample
S       spans; in (3, S, S) the pixels of a side
P       patches of an image, its class token included where the text says so
V       slots for crops
L       layers that interact, or are read
H       heads of an attention
D       the width of an encoder's states
F       the width of what is classified: its features
C       outputs: relations with N/A, or tags with ``O``
K       outputs that compete: those seen so far; in clustering, the clusters
======  ============================================================================
"""

from mkgc_cl.models.base import ExtractionModel
from mkgc_cl.models.dual_stream import DualStreamModel
from mkgc_cl.models.feature_cache import FeatureCache
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
    "FeatureCache",
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
