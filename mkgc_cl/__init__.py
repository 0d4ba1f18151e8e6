"""Continual learning for multimodal knowledge graph construction."""

__version__ = "0.1.0"

__all__ = ["__version__"]
