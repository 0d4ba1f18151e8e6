"""One table of input that looks odd and is fine: what is found, and what it must equal."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Callable
from pathlib import Path

import pytest
from broken_files import IMAGE, MNER, NAMES, SEP5, TRAIN, encoded
from user_acts import Settings, method, relations, settings_file, show, tags, task_with

from mkgc_cl.scenarios import make_benchmark
from mkgc_cl.strategies import PrototypeReplayPlugin

Pair = tuple[object, object]


def line_ends(name: str, end: bytes) -> Callable[[Path], Pair]:
    def act(root: Path) -> Pair:
        before = relations(root).tasks, tags(root).tasks
        path = root / name
        data = path.read_bytes()
        path.write_bytes(data.replace(b"\r\n", b"\n").replace(b"\n", end))
        assert path.read_bytes() != data
        return (relations(root).tasks, tags(root).tasks), before

    return act


def names_with_mark(root: Path) -> Pair:
    """JSON in UTF-8 may start with a byte-order mark."""
    before = relations(root)
    path = root / NAMES
    path.write_bytes(BOM_UTF8 + path.read_bytes())
    return relations(root).tasks, before.tasks


def settings_with_mark(root: Path) -> Pair:
    found = settings_file(BOM_UTF8 + b"epochs: 3\r\ndevice: cuda\r\n")(root)
    return found, Settings(epochs=3, device="cuda")


def mode(name: str, kind: str) -> Callable[[Path], Pair]:
    """An image in any mode is black on the left and white on the right."""

    def act(root: Path) -> Pair:
        path = root / IMAGE
        path.parent.mkdir(parents=True)
        path.write_bytes(encoded(name, kind))
        pixels = show(root)  # (1, 3, S, S)
        ends = [pixels[..., column].unique().tolist() for column in (0, -1)]
        return ends, [[0], [255]]

    return act


def lonely_class(root: Path) -> Pair:
    """A class of one sample keeps that sample."""
    benchmark = make_benchmark(relations(root))
    strategy = method(benchmark.stream)
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
    for options in ({"exemplars": 0}, {"memory": False}):
        benchmark = make_benchmark(relations(root))
        strategy = method(benchmark.stream, **options)
        for experience in benchmark.train_stream[:2]:
            strategy.train(experience)
        weights.append({k: v.tolist() for k, v in strategy.network.state_dict().items()})
    return weights[0], weights[1]


FINE: dict[str, Callable[[Path], Pair]] = {
    **{
        f"{Path(name).name} with {word}": line_ends(name, end)
        for name, word, end in (
            (TRAIN, "LF", b"\n"),
            (SEP5 + "ours_train_0.txt", "LF", b"\n"),
            (MNER + "train.txt", "CRLF", b"\r\n"),
        )
    },
    "ours_rel2id.json with a byte-order mark": names_with_mark,
    "settings with a byte-order mark and CRLF": settings_with_mark,
    "RGB PNG": mode("RGB", "PNG"),
    "grey PNG": mode("L", "PNG"),
    "PNG with opacity": mode("RGBA", "PNG"),
    "PNG with palette": mode("P", "PNG"),
    "CMYK TIFF": mode("CMYK", "TIFF"),
    "class of one sample": lonely_class,
    "memory of 0": no_memory,
}


@pytest.mark.parametrize("name", FINE)
def test_odd_input_that_is_fine(name: str, download: Path) -> None:
    found, expected = FINE[name](download)
    assert found == expected
