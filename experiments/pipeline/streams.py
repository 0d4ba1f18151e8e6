"""The streams of the settings: the one place where a scenario becomes a stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from mkgc_cl.data import TaskStream, imner_stream, imre_stream
from mkgc_cl.data.merge import first_tasks, merge_tasks
from mkgc_cl.data.orders import order_arguments
from mkgc_cl.data.stream_checks import check_stream
from mkgc_cl.experiments.pipeline.corpus import corpus_stream
from mkgc_cl.experiments.pipeline.settings import StreamSettings, arrival


# All are looked at before the first is trained on, so all of a sweep must have their place: four
# controls in several orders. One is words and names of images, next to nothing beside a model.
@lru_cache(maxsize=32)
def read_stream(stream: StreamSettings, images: str) -> TaskStream:
    """Read the stream of the settings; once for the runs of one process.

    Imports no training code: what is wrong with the data is told before that is loaded.

    Raises:
        DataError: it cannot be read.
    """
    whole = replace(stream, control="none", merge=1, first=None)
    if stream == whole:
        found = READERS[stream.scenario](stream, images)
        check_stream(found)
        return found
    from mkgc_cl.data.controls import controlled

    changed = controlled(read_stream(whole, images), stream.control, seed=stream.seed)
    merged = merge_tasks(changed, stream.merge)
    return first_tasks(merged, stream.first or len(merged.tasks))


@lru_cache(maxsize=32)
def benchmark_of(stream: StreamSettings, images: str) -> Any:
    """Build the Avalanche benchmark of :func:`read_stream`."""
    from mkgc_cl.scenarios import make_benchmark

    return make_benchmark(read_stream(stream, images))


def _demo(stream: StreamSettings, images: str) -> TaskStream:
    from mkgc_cl.data.demo import demo_stream

    return demo_stream(
        stream.task,
        seed=stream.seed,
        order=stream.order or None,
        train_per_task=stream.train_per_task,
        test_size=stream.test_size,
    )


def _imner(stream: StreamSettings, images: str) -> TaskStream:
    order = order_arguments("imner", arrival(stream, "imner"))
    visual = _visual(stream, images)
    repair = "" if stream.repair == "none" else stream.repair
    return imner_stream(stream.data, **order, rule=stream.rule, repair=repair, **visual)


def _imre(stream: StreamSettings, images: str) -> TaskStream:
    order = order_arguments("imre", arrival(stream, "imre"))
    visual = _visual(stream, images)
    return imre_stream(stream.data, **order, negative=stream.negative, **visual)


def _files(stream: StreamSettings, images: str) -> TaskStream:
    return corpus_stream(str(stream.data), order=stream.order, **_visual(stream, images))


def _visual(stream: StreamSettings, images: str) -> dict[str, Any]:
    return {
        "images": images,
        "missing_images": stream.missing_images,
        "captions": stream.captions,
        "captioner": stream.captioner,
    }


READERS: Mapping[str, Callable[[StreamSettings, str], TaskStream]] = {
    "demo": _demo,
    "files": _files,
    "imner": _imner,
    "imre": _imre,
}
"""How each scenario is read; a new one joins here and in ``StreamSettings.scenario``."""
