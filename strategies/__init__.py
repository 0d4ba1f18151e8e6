"""Training template, plugins and named recipes."""

from mkgc_cl.scenarios import avalanche_home as avalanche_home  # before Avalanche is imported
from mkgc_cl.strategies.adapted import adapt_strategy
from mkgc_cl.strategies.cumulative import CumulativePlugin
from mkgc_cl.strategies.distillation import AttentionDistillationPlugin
from mkgc_cl.strategies.emar import EMARPlugin
from mkgc_cl.strategies.evaluation import ContinualMetrics, JsonLinesLogger, continual_evaluator
from mkgc_cl.strategies.ewc import EWCPlugin
from mkgc_cl.strategies.gaussian import GaussianReadoutPlugin
from mkgc_cl.strategies.modulation import GradientModulationPlugin
from mkgc_cl.strategies.mspt import mspt
from mkgc_cl.strategies.rate_control import control_coefficients
from mkgc_cl.strategies.replay import PrototypeReplayPlugin
from mkgc_cl.strategies.rp_cre import RPCREPlugin
from mkgc_cl.strategies.run import StreamResult, run_stream
from mkgc_cl.strategies.stages import StepPolicy
from mkgc_cl.strategies.template import MultimodalStrategy
from mkgc_cl.strategies.token_distillation import TokenDistillationPlugin

__all__ = [
    "AttentionDistillationPlugin",
    "ContinualMetrics",
    "CumulativePlugin",
    "EMARPlugin",
    "EWCPlugin",
    "GaussianReadoutPlugin",
    "GradientModulationPlugin",
    "JsonLinesLogger",
    "MultimodalStrategy",
    "PrototypeReplayPlugin",
    "RPCREPlugin",
    "StepPolicy",
    "StreamResult",
    "TokenDistillationPlugin",
    "adapt_strategy",
    "continual_evaluator",
    "control_coefficients",
    "mspt",
    "run_stream",
]
