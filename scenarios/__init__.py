"""Class-incremental streams as Avalanche benchmarks: IMRE, IMNER and a synthetic stream."""

from mkgc_cl.scenarios import avalanche_home as avalanche_home  # before Avalanche is imported
from mkgc_cl.scenarios.benchmark import KnowledgeBenchmark, KnowledgeExperience, make_benchmark
from mkgc_cl.scenarios.catalogue import as_benchmark, demo, imner, imre

__all__ = [
    "KnowledgeBenchmark",
    "KnowledgeExperience",
    "as_benchmark",
    "demo",
    "imner",
    "imre",
    "make_benchmark",
]
