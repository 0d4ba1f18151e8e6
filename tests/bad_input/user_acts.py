"""What users do with data, streams and settings; each raises where something is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch

from mkgc_cl.config import resolve, setting
from mkgc_cl.data import Task, TaskStream, imner_stream, imre_stream
from mkgc_cl.data.images import FileImage
from mkgc_cl.data.samples import VisualInput
from mkgc_cl.models import DualStreamModel
from mkgc_cl.scenarios import make_benchmark
from mkgc_cl.scenarios.benchmark import KnowledgeExperience
from mkgc_cl.strategies import (
    MSPTOptions,
    MultimodalStrategy,
    PrototypeReplayPlugin,
    Training,
    mspt,
)

Act = Callable[[Path], object]
"""What a user does, given the root of the download."""


def relations(root: Path | None, **settings: Any) -> TaskStream:
    return imre_stream(root, **{"tasks": 5, "missing_images": "blank", **settings})


def tags(root: Path | None, **settings: Any) -> TaskStream:
    return imner_stream(root, **{"missing_images": "blank", **settings})


def model_of(stream: TaskStream, **options: Any) -> DualStreamModel:
    return DualStreamModel.build(stream.labels, **{"max_text_length": 64, **options})


def show(root: Path, **options: Any) -> torch.Tensor:
    """Decode the image of the first training sample: (1, 3, S, S)."""
    stream = relations(root)
    model = model_of(stream, **options)
    samples = [s for s in stream.tasks[0].train if s.uid == "mre/train/0"]
    model.processor.prepare(samples)
    return model.processor.collate(samples)[0]["images"]


def show_own(name: str) -> Act:
    """Show an image of one's own with the first training sample."""

    def act(root: Path) -> object:
        image = VisualInput(FileImage(root / name))
        stream = first(visual=image)(relations(root))
        return model_of(stream).processor.prepare(stream.tasks[0].train[:1])

    return act


def method(stream: TaskStream, **options: Any) -> MultimodalStrategy:
    """MSPT for one epoch, with options of it and of its training."""
    training = {f.name for f in fields(Training)} & options.keys()
    how = Training(**{"epochs": 1, **{name: options.pop(name) for name in training}})
    return mspt(model_of(stream), MSPTOptions(**options), how)


def train(**options: Any) -> Act:
    """Train MSPT on the first task."""

    def act(root: Path) -> object:
        benchmark = make_benchmark(relations(root))
        strategy = method(benchmark.stream, **options)
        return strategy.train(benchmark.train_stream[0])

    return act


def score_after(**options: Any) -> Act:
    """Train on the first task and evaluate on it."""

    def act(root: Path) -> object:
        benchmark = make_benchmark(relations(root))
        strategy = method(benchmark.stream, **options)
        strategy.train(benchmark.train_stream[0])
        return strategy.eval(benchmark.test_stream[:1])

    return act


def changed(change: Callable[[TaskStream], TaskStream], stream: Any = relations) -> Act:
    """Make a benchmark of a stream of one's own."""
    return lambda root: make_benchmark(change(stream(root)))


def first(**changes: Any) -> Callable[[TaskStream], TaskStream]:
    """Change the first training sample."""

    def change(stream: TaskStream) -> TaskStream:
        task = stream.tasks[0]
        sample = replace(task.train[0], **changes)
        return replace(
            stream, tasks=(replace(task, train=(sample, *task.train[1:])), *stream.tasks[1:])
        )

    return change


def task_with(**changes: Any) -> Callable[[TaskStream], TaskStream]:
    """Change the first task."""
    return lambda stream: replace(
        stream, tasks=(replace(stream.tasks[0], **changes), *stream.tasks[1:])
    )


def empty_experience(root: Path) -> object:
    """Train on an experience made by hand, of no samples."""
    stream = relations(root)
    task = Task("T1", stream.tasks[0].classes, (), (), ())
    experience = KnowledgeExperience(task, (), labels=stream.labels, index=0)
    return method(stream).train(experience)


def settings(*overrides: str) -> Act:
    return lambda _: resolve(Settings, overrides=overrides)


def settings_file(text: bytes) -> Act:
    def act(root: Path) -> object:
        path = root.parent / "run.yaml"
        path.write_bytes(text)
        try:
            return resolve(Settings, yaml_path=path)
        finally:
            path.unlink()

    return act


def load_exemplars(root: Path) -> None:
    plugin = PrototypeReplayPlugin()
    kept = {"slots": {"peer": ["mre/train/999"]}, "tasks": {"mre/train/999": "T1"}}
    state = {**plugin.state_dict(), "exemplars": kept}
    plugin.load_state_dict(state, samples=relations(root).tasks[0].train)


@dataclass(frozen=True)
class Settings:
    epochs: int = setting(1, help="passes over the data", minimum=1)
    device: Literal["cpu", "cuda"] = setting("cpu", help="where to run")
