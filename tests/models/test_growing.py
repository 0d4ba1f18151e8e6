"""Models that grow with their stream."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mkgc_cl.data import LabelSpace, RelationSample, TaggingSample
from mkgc_cl.data.images import BLANK
from mkgc_cl.data.samples import VisualInput
from mkgc_cl.errors import ConfigError
from mkgc_cl.models import DualStreamModel, TextModel, load_grown

SHORT = {"ner": LabelSpace("ner", ("A", "B")), "re": LabelSpace("re", ("A", "B"), na="None")}
LONG = {"ner": LabelSpace("ner", ("A", "B", "C")), "re": LabelSpace("re", ("A", "B", "C"), "None")}
VISUAL = VisualInput(BLANK)
SAMPLE: dict[str, Any] = {
    "ner": TaggingSample("s", ("a", "b"), ("B-A", "O"), VISUAL),
    "re": RelationSample("s", ("a", "b"), (0, 1), (1, 2), "A", VISUAL),
}


@pytest.mark.parametrize("kind", ["ner", "re"])
@pytest.mark.parametrize("family", [TextModel, DualStreamModel])
def test_as_if_it_had_been_built_for_all_classes(kind: Any, family: Any) -> None:
    learnt, whole, grown = (
        family.build(labels[kind], text="tiny", seed=seed)
        for labels, seed in ((SHORT, 3), (LONG, 3), (LONG, 3))
    )
    for model in (learnt, whole):
        # the same step in both, which moves the outputs that are seen
        model.observe(["A", "B"])
        model.eval()
        batch, targets = model.processor.collate([SAMPLE[kind]])
        model.loss(model(batch), targets).backward()
        torch.optim.SGD(model.parameters(), lr=0.5).step()
    load_grown(grown, learnt)
    assert grown.seen.tolist() == whole.seen.tolist()
    expected = whole.state_dict()
    for name, tensor in grown.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0, msg=name)


def test_what_cannot_grow() -> None:
    learnt = TextModel.build(SHORT["ner"], text="tiny")
    other = LabelSpace("ner", ("B", "A", "C"))
    with pytest.raises(ConfigError, match="first ones"):
        load_grown(TextModel.build(other, text="tiny"), learnt)
    with pytest.raises(ConfigError, match="built alike"):
        load_grown(TextModel.build(LONG["ner"], text="tiny", tagger="softmax"), learnt)
