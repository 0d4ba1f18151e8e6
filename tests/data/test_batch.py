"""A batch's tensors by key, as Avalanche reads them, and by field."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.demo import demo_stream
from mkgc_cl.data.processor import Processor
from mkgc_cl.data.tokenizer import HashTokenizer
from mkgc_cl.data.views import ViewPlan


@pytest.mark.parametrize("kind", ["re", "ner"])
def test_every_tensor_that_the_processor_makes_is_a_field(kind: Any) -> None:
    stream = demo_stream(kind, train_per_task=12, test_size=24)
    processor = Processor(
        stream.labels,
        tokenizer=HashTokenizer(buckets=97),
        max_text_length=64,
        views=ViewPlan(image=16),
    )
    batch, _ = processor.collate(stream.tasks[0].train[:3])
    for key, tensor in batch.items():
        found = batch.crop(int(key[5:])) if key.startswith("crop_") else getattr(batch, key)
        assert found is tensor, key


def test_what_a_batch_does_not_have() -> None:
    batch = MultimodalBatch({"input_ids": torch.zeros(1, 2)}, uids=("a",))
    assert batch.images is None
    assert batch.alignment is None
    with pytest.raises(AttributeError, match=r"no 'word_mask' \(tagging: .* it has input_ids"):
        batch.word_mask  # noqa: B018
