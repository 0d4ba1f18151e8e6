"""A task is learnt at its end, and what its words called O teach is decided before it."""

from __future__ import annotations

import pytest
import torch

from mkgc_cl.errors import ConfigError
from mkgc_cl.models import GaussianReadout
from mkgc_cl.models.gaussian import ClassStatistics, GaussianOptions, TaskLearning

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
ROWS = torch.tensor([[-4.0], [-4.2], [4.0], [4.2]])


@pytest.fixture
def readout() -> GaussianReadout:
    """One that has learnt O at -4 and B-PER at 4."""
    made = GaussianReadout(TAGS, width=1)
    made.add(ROWS, torch.tensor([0, 0, 1, 1]))
    return made


@pytest.mark.parametrize(
    ("background", "annotated", "expected"),
    [
        ("read-as-O", (), [1.0, 0.0, 1.0]),
        ("read-as-O", ("B-PER",), [1.0, 1.0, 1.0]),
        ("all", (), [1.0, 1.0, 1.0]),
        ("soft", ("B-PER",), [1.0, 1.0, 1.0]),
    ],
)
def test_words_called_o(
    readout: GaussianReadout, background: str, annotated: tuple[str, ...], expected: list[float]
) -> None:
    before = readout.counts.clone()
    learning = TaskLearning(readout, background=background, annotated=annotated)  # type: ignore[arg-type]
    weights = learning.look(torch.tensor([[-4.1], [4.1], [4.1]]), torch.tensor([0, 0, 3]))
    torch.testing.assert_close(weights, torch.tensor(expected, dtype=torch.float64))
    assert torch.equal(readout.counts, before)
    learning.finish()
    assert readout.counts.tolist() == [2 + sum(expected[:2]), 2, 0, 1, 0]


def test_soft_words_teach_as_much_as_they_are_o(readout: GaussianReadout) -> None:
    row = torch.tensor([[0.5]])
    (weight,) = TaskLearning(readout, background="soft").look(row, torch.tensor([0]))
    assert weight == readout.log_posterior(row)[0, 0].exp()
    with pytest.raises(ConfigError, match="choose one of"):
        TaskLearning(readout, background="none")  # type: ignore[arg-type]


@pytest.mark.parametrize("covariance", ["shared", "class"])
def test_other_outputs_hold_what_the_same_samples_taught(covariance: str) -> None:
    options = GaussianOptions(covariance=covariance)  # type: ignore[arg-type]
    source = torch.Generator().manual_seed(0)
    rows, labels = torch.randn(30, 3, generator=source), torch.arange(30) % 3
    one = GaussianReadout(("None", "a", "b"), width=3, options=options)
    one.add(rows, labels)
    made = one.relabeled(("None", "c", "a"), {"b": "None"})
    plain = GaussianReadout(("None", "c", "a"), width=3, options=options)
    plain.add(rows, torch.tensor([0, 2, 0])[labels])
    for name in ("counts", "means", "scatter"):
        torch.testing.assert_close(getattr(made, name), getattr(plain, name))
    with pytest.raises(ConfigError, match="'b' has learnt samples and has no place"):
        one.relabeled(("None", "a"))


def test_single_samples_that_are_left_scatter_nothing() -> None:
    one = ClassStatistics.empty(2, 2)
    rows = torch.tensor([[0.1, 0.7], [0.3, 0.2], [5.0, 1.3]])
    one.add(rows, torch.tensor([0, 0, 1]))
    one.remove(rows[:1], torch.tensor([0]))
    assert one.counts.tolist() == [1, 1]
    assert not one.scatter.any()
