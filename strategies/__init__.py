"""Training template, plugins and named recipes, each imported when it is first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mkgc_cl._lazy import lazy_names
from mkgc_cl.scenarios import avalanche_home as avalanche_home  # before Avalanche is imported

if TYPE_CHECKING:
    from mkgc_cl.strategies.adapted import adapt_strategy
    from mkgc_cl.strategies.assembly import mspt
    from mkgc_cl.strategies.checkpoints import Checkpointing
    from mkgc_cl.strategies.completion import CompletedLabelsPlugin
    from mkgc_cl.strategies.cumulative import CumulativePlugin
    from mkgc_cl.strategies.distillation import AttentionDistillationPlugin
    from mkgc_cl.strategies.drift import MovedStatisticsPlugin
    from mkgc_cl.strategies.emar import EMARPlugin
    from mkgc_cl.strategies.evaluation import (
        ContinualMetrics,
        JsonLinesLogger,
        continual_evaluator,
    )
    from mkgc_cl.strategies.ewc import EWCPlugin
    from mkgc_cl.strategies.gaussian import GaussianReadoutPlugin
    from mkgc_cl.strategies.interpolation import WeightInterpolationPlugin
    from mkgc_cl.strategies.modulation import GradientModulationPlugin
    from mkgc_cl.strategies.mspt_options import MSPTOptions
    from mkgc_cl.strategies.own_classes import OwnClassesPlugin
    from mkgc_cl.strategies.prior import PriorCorrectionPlugin
    from mkgc_cl.strategies.rate_control import control_coefficients
    from mkgc_cl.strategies.recipe import Encoders, Training
    from mkgc_cl.strategies.replay import PrototypeReplayPlugin
    from mkgc_cl.strategies.rp_cre import RPCREPlugin
    from mkgc_cl.strategies.run import StreamResult, run_stream
    from mkgc_cl.strategies.slow_encoder import SlowEncoderPlugin
    from mkgc_cl.strategies.stages import StepPolicy
    from mkgc_cl.strategies.template import MultimodalStrategy
    from mkgc_cl.strategies.token_distillation import TokenDistillationPlugin

__all__ = [
    "AttentionDistillationPlugin",
    "Checkpointing",
    "CompletedLabelsPlugin",
    "ContinualMetrics",
    "CumulativePlugin",
    "EMARPlugin",
    "EWCPlugin",
    "Encoders",
    "GaussianReadoutPlugin",
    "GradientModulationPlugin",
    "JsonLinesLogger",
    "MSPTOptions",
    "MovedStatisticsPlugin",
    "MultimodalStrategy",
    "OwnClassesPlugin",
    "PriorCorrectionPlugin",
    "PrototypeReplayPlugin",
    "RPCREPlugin",
    "SlowEncoderPlugin",
    "StepPolicy",
    "StreamResult",
    "TokenDistillationPlugin",
    "Training",
    "WeightInterpolationPlugin",
    "adapt_strategy",
    "continual_evaluator",
    "control_coefficients",
    "mspt",
    "run_stream",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "mkgc_cl.strategies.adapted": ["adapt_strategy"],
        "mkgc_cl.strategies.assembly": ["mspt"],
        "mkgc_cl.strategies.checkpoints": ["Checkpointing"],
        "mkgc_cl.strategies.completion": ["CompletedLabelsPlugin"],
        "mkgc_cl.strategies.cumulative": ["CumulativePlugin"],
        "mkgc_cl.strategies.distillation": ["AttentionDistillationPlugin"],
        "mkgc_cl.strategies.drift": ["MovedStatisticsPlugin"],
        "mkgc_cl.strategies.emar": ["EMARPlugin"],
        "mkgc_cl.strategies.evaluation": [
            "ContinualMetrics",
            "JsonLinesLogger",
            "continual_evaluator",
        ],
        "mkgc_cl.strategies.ewc": ["EWCPlugin"],
        "mkgc_cl.strategies.gaussian": ["GaussianReadoutPlugin"],
        "mkgc_cl.strategies.interpolation": ["WeightInterpolationPlugin"],
        "mkgc_cl.strategies.modulation": ["GradientModulationPlugin"],
        "mkgc_cl.strategies.mspt_options": ["MSPTOptions"],
        "mkgc_cl.strategies.own_classes": ["OwnClassesPlugin"],
        "mkgc_cl.strategies.prior": ["PriorCorrectionPlugin"],
        "mkgc_cl.strategies.rate_control": ["control_coefficients"],
        "mkgc_cl.strategies.recipe": ["Encoders", "Training"],
        "mkgc_cl.strategies.replay": ["PrototypeReplayPlugin"],
        "mkgc_cl.strategies.rp_cre": ["RPCREPlugin"],
        "mkgc_cl.strategies.run": ["StreamResult", "run_stream"],
        "mkgc_cl.strategies.slow_encoder": ["SlowEncoderPlugin"],
        "mkgc_cl.strategies.stages": ["StepPolicy"],
        "mkgc_cl.strategies.template": ["MultimodalStrategy"],
        "mkgc_cl.strategies.token_distillation": ["TokenDistillationPlugin"],
    },
)
