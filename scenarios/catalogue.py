"""The named streams: IMRE, IMNER, the synthetic stream, and those of own files."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec

from mkgc_cl.data.demo import demo_stream
from mkgc_cl.data.files import stream_from_files, stream_from_mapping, stream_from_yaml
from mkgc_cl.data.samples import TaskStream
from mkgc_cl.data.streams_mner import imner_stream
from mkgc_cl.data.streams_mre import imre_stream
from mkgc_cl.scenarios.benchmark import KnowledgeBenchmark, make_benchmark

P = ParamSpec("P")


def as_benchmark(build: Callable[P, TaskStream]) -> Callable[P, KnowledgeBenchmark]:
    """Turn a function that builds a stream into one that builds its benchmark.

    Arguments, documentation and errors stay those of ``build``, so they stand in one place.
    """

    @functools.wraps(build)
    def make(*args: P.args, **kwargs: P.kwargs) -> KnowledgeBenchmark:
        return make_benchmark(build(*args, **kwargs))

    signature = inspect.signature(build).replace(return_annotation=KnowledgeBenchmark)
    make.__signature__ = signature  # type: ignore[attr-defined]
    return make


imre = as_benchmark(imre_stream)
imner = as_benchmark(imner_stream)
demo = as_benchmark(demo_stream)
from_files = as_benchmark(stream_from_files)
from_yaml = as_benchmark(stream_from_yaml)
from_mapping = as_benchmark(stream_from_mapping)
