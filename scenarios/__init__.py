"""Class-incremental streams as Avalanche benchmarks: IMRE, IMNER, a synthetic stream, own files."""

from mkgc_cl.scenarios import avalanche_home as avalanche_home  # before Avalanche is imported
from mkgc_cl.scenarios.benchmark import KnowledgeBenchmark, KnowledgeExperience, make_benchmark
from mkgc_cl.scenarios.catalogue import (
    as_benchmark,
    demo,
    from_files,
    from_mapping,
    from_yaml,
    imner,
    imre,
)

__all__ = [
    "KnowledgeBenchmark",
    "KnowledgeExperience",
    "as_benchmark",
    "demo",
    "from_files",
    "from_mapping",
    "from_yaml",
    "imner",
    "imre",
    "make_benchmark",
]
