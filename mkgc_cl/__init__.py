"""Continual learning for multimodal knowledge graph construction.

The names that most programs begin with are here, and each is imported when it is first asked for:
``import mkgc_cl`` alone imports neither PyTorch nor Avalanche.

* streams: :func:`demo` (synthetic), :func:`imre`, :func:`imner`, :func:`make_benchmark` (yours);
* models: :class:`DualStreamModel` (text and image), :class:`TextModel`, :func:`build_optimizer`;
* training: :class:`MultimodalStrategy`, :func:`run_stream`, :func:`continual_evaluator`;
* the parts of MSPT as plugins: :class:`GradientModulationPlugin`,
  :class:`AttentionDistillationPlugin`, :class:`PrototypeReplayPlugin`; all of it: :func:`mspt`,
  by :class:`MSPTOptions` and :class:`Training`;
* use: :class:`Extractor`, which learns a type in seconds, finds entities and relations, is saved;
* :func:`check_system`, which tries a system of your own against what every system promises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mkgc_cl._lazy import lazy_names

if TYPE_CHECKING:
    from mkgc_cl.inference import Extractor
    from mkgc_cl.models import DualStreamModel, TextModel, build_optimizer
    from mkgc_cl.scenarios import demo, imner, imre, make_benchmark
    from mkgc_cl.strategies import (
        AttentionDistillationPlugin,
        GradientModulationPlugin,
        MSPTOptions,
        MultimodalStrategy,
        PrototypeReplayPlugin,
        Training,
        continual_evaluator,
        mspt,
        run_stream,
    )
    from mkgc_cl.strategies.contract import check_system

__version__ = "0.1.0"

__all__ = [
    "AttentionDistillationPlugin",
    "DualStreamModel",
    "Extractor",
    "GradientModulationPlugin",
    "MSPTOptions",
    "MultimodalStrategy",
    "PrototypeReplayPlugin",
    "TextModel",
    "Training",
    "__version__",
    "build_optimizer",
    "check_system",
    "continual_evaluator",
    "demo",
    "imner",
    "imre",
    "make_benchmark",
    "mspt",
    "run_stream",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "mkgc_cl.inference": ["Extractor"],
        "mkgc_cl.models": ["DualStreamModel", "TextModel", "build_optimizer"],
        "mkgc_cl.scenarios": ["demo", "imner", "imre", "make_benchmark"],
        "mkgc_cl.strategies": [
            "AttentionDistillationPlugin",
            "GradientModulationPlugin",
            "MSPTOptions",
            "MultimodalStrategy",
            "PrototypeReplayPlugin",
            "Training",
            "continual_evaluator",
            "mspt",
            "run_stream",
        ],
        "mkgc_cl.strategies.contract": ["check_system"],
    },
)
