"""Keep a model and use it: extraction from text, learning new types, saving and loading.

Nothing here imports Avalanche. A name is imported when it is first asked for: what is found in a
text can be stored and drawn without PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkgc_cl.inference.card import CardFacts
    from mkgc_cl.inference.extraction import Entity, Extraction, Relation
    from mkgc_cl.inference.extractor import Extractor
    from mkgc_cl.inference.report import LearnReport
    from mkgc_cl.inference.saving import from_pretrained, save_pretrained

__all__ = [
    "CardFacts",
    "Entity",
    "Extraction",
    "Extractor",
    "LearnReport",
    "Relation",
    "from_pretrained",
    "save_pretrained",
]

_HOMES = {
    "CardFacts": "card",
    "Entity": "extraction",
    "Extraction": "extraction",
    "Extractor": "extractor",
    "LearnReport": "report",
    "Relation": "extraction",
    "from_pretrained": "saving",
    "save_pretrained": "saving",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
