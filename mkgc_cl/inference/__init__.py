"""Keep a model and use it: extraction from text, learning new types, saving and loading.

Nothing here imports Avalanche. A name is imported when it is first asked for: what is found in a
text can be stored and drawn without PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mkgc_cl._lazy import lazy_names

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

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "mkgc_cl.inference.card": ["CardFacts"],
        "mkgc_cl.inference.extraction": ["Entity", "Extraction", "Relation"],
        "mkgc_cl.inference.extractor": ["Extractor"],
        "mkgc_cl.inference.report": ["LearnReport"],
        "mkgc_cl.inference.saving": ["from_pretrained", "save_pretrained"],
    },
)
