"""One table of input that looks odd and is fine: what is found, and what it must equal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from bad_input.acts import model_of, relations, show, tags, task_with
from bad_input.breaking import MNER, PICTURE, SEP5, TRAIN, encoded

from mkgc_cl.scenarios import make_benchmark
from mkgc_cl.strategies import PrototypeReplayPlugin, mspt

Pair = tuple[object, object]


def line_ends(name: str, end: bytes) -> Callable[[Path], Pair]:
    def act(root: Path) -> Pair:
        before = relations(root).tasks, tags(root).tasks
        path = root / name
        path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", end))
        return (relations(root).tasks, tags(root).tasks), before

    return act


def mode(name: str, kind: str) -> Callable[[Path], Pair]:
    """A picture in another mode shows the same pixels as in RGB."""

    def act(root: Path) -> Pair:
        path = root / PICTURE
        path.parent.mkdir(parents=True)
        shown = []
        for which in (name, "RGB"):
            path.write_bytes(encoded(which, kind))
            shown.append(show(root).tolist())
        return shown[0], shown[1]

    return act


def lonely_class(root: Path) -> Pair:
    """A class of one post keeps that post."""
    benchmark = make_benchmark(relations(root))
    strategy = mspt(model_of(benchmark.stream), epochs=1)
    plugin = next(p for p in strategy.plugins if isinstance(p, PrototypeReplayPlugin))
    task = benchmark.stream.tasks[0]
    name = task.classes[0]
    one = next(s for s in task.train if s.relation == name)
    few = (one, *(s for s in task.train if s.relation != name))
    benchmark = make_benchmark(task_with(train=few)(benchmark.stream))
    strategy.train(benchmark.train_stream[0])
    return plugin.memory.slots[name], (one.uid,)


def no_memory(root: Path) -> Pair:
    """A memory of 0 is a run without one, to the bit."""
    weights = []
    for options in ({"memory_size": 0}, {"memory": False}):
        benchmark = make_benchmark(relations(root))
        strategy = mspt(model_of(benchmark.stream), epochs=1, **options)
        for experience in benchmark.train_stream[:2]:
            strategy.train(experience)
        weights.append({k: v.tolist() for k, v in strategy.network.state_dict().items()})
    return weights[0], weights[1]


FINE: dict[str, Callable[[Path], Pair]] = {
    **{
        f"{Path(name).name} with {word}": line_ends(name, end)
        for name in (TRAIN, MNER + "train.txt", SEP5 + "ours_train_0.txt")
        for word, end in (("LF", b"\n"), ("CRLF", b"\r\n"))
    },
    "grey PNG": mode("L", "PNG"),
    "PNG with opacity": mode("RGBA", "PNG"),
    "PNG with palette": mode("P", "PNG"),
    "CMYK TIFF": mode("CMYK", "TIFF"),
    "class of one post": lonely_class,
    "memory of 0": no_memory,
}


@pytest.mark.parametrize("name", FINE)
def test_odd_input_that_is_fine(name: str, download: Path) -> None:
    found, expected = FINE[name](download)
    assert found == expected
