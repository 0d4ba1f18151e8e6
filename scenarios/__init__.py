"""Class-incremental streams as Avalanche benchmarks: IMRE, IMNER, a synthetic stream, own files.

Each name is imported when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mkgc_cl._lazy import lazy_names
from mkgc_cl.scenarios import avalanche_home as avalanche_home  # before Avalanche is imported

if TYPE_CHECKING:
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

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "mkgc_cl.scenarios.benchmark": [
            "KnowledgeBenchmark",
            "KnowledgeExperience",
            "make_benchmark",
        ],
        "mkgc_cl.scenarios.catalogue": [
            "as_benchmark",
            "demo",
            "from_files",
            "from_mapping",
            "from_yaml",
            "imner",
            "imre",
        ],
    },
)
