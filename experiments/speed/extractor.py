"""What tagging by an extractor costs beside the bare forward pass of its encoder."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from mkgc_cl.data.samples import TaskStream
from mkgc_cl.errors import ConfigError
from mkgc_cl.inference import Extractor
from mkgc_cl.inference.speed import tagging_overhead


def measure_extractor(stream: TaskStream, *, encoder: str) -> tuple[dict[str, Any], str]:
    """Teach an extractor a few samples of each task, and let it tag the texts of all.

    Returns:
        The report, all plain types, and its text.

    Raises:
        ConfigError: the stream has relations and no tags, or there is no such encoder.
    """
    if stream.labels.kind != "ner":
        raise ConfigError(["an extractor is measured at tagging; give --task ner"])
    extractor = Extractor.from_encoder(encoder)
    for task in stream.tasks:
        extractor.learn(task.train[:32], types=task.classes, task=task.name)
    texts = {sample.tokens: None for task in stream.tasks for sample in task.train}
    found = tagging_overhead(extractor, [*texts])
    text = f"{encoder}, {torch.get_num_threads()} thread(s): {found}\n"
    return {"extractor": {"encoder": encoder, **asdict(found)}}, text
