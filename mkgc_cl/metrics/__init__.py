"""Measures of continual learning: counts, spans, the result matrix. Pure Python, no framework."""

from mkgc_cl.metrics.counts import Counts, relation_counts, span_counts, spans
from mkgc_cl.metrics.matrix import Forgetting, IncompleteMatrixError, ResultMatrix

__all__ = [
    "Counts",
    "Forgetting",
    "IncompleteMatrixError",
    "ResultMatrix",
    "relation_counts",
    "span_counts",
    "spans",
]
