"""Orders by name build the streams that they name."""

from __future__ import annotations

from pathlib import Path

import pytest

from mkgc_cl.data import imner_stream, imre_stream
from mkgc_cl.data.orders import order_arguments
from mkgc_cl.data.splits_imre import RELEASED
from mkgc_cl.errors import ConfigError


@pytest.mark.parametrize(("order", "tasks"), [("sep5", 5), ("seed:0/7", 7), ("seed:0", 10)])
def test_of_relations(order: str, tasks: int, download: Path) -> None:
    arguments = order_arguments("imre", order)
    stream = imre_stream(download, **arguments, missing_images="blank")
    assert len(stream.tasks) == tasks
    every = {name for group in RELEASED[5] for name in group}
    assert set(stream.labels.classes) == every
    again = imre_stream(download, **order_arguments("imre", order), missing_images="blank")
    assert again.labels == stream.labels
    if order.startswith("seed"):
        other = imre_stream(download, **{**arguments, "seed": 1}, missing_images="blank")
        assert other.labels != stream.labels


@pytest.mark.parametrize("order", ["LOC-MISC-PER-ORG", "seed:0", "seed:0/2"])
def test_of_types(order: str, download: Path) -> None:
    stream = imner_stream(download, **order_arguments("imner", order), missing_images="blank")
    assert len(stream.tasks) == (2 if order.endswith("/2") else 4)
    assert sorted(stream.labels.classes) == ["LOC", "MISC", "ORG", "PER"]
    if not order.startswith("seed"):
        assert "-".join(stream.labels.classes) == order


@pytest.mark.parametrize(
    ("scenario", "order"),
    [
        ("imre", "sep6"),
        ("imre", "seed:"),
        ("imre", "seed:-1"),
        ("imre", "PER-LOC"),
        ("imner", "PER-LOC-ORG"),
        ("imner", "PER-PER-LOC-ORG"),
        ("imner", "sep10"),
    ],
)
def test_no_other_names(scenario: str, order: str) -> None:
    with pytest.raises(ConfigError) as caught:
        order_arguments(scenario, order)  # type: ignore[arg-type]
    assert repr(order) in caught.value.problems[0]
