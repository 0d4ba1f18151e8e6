"""An output reads as its scores: a row per sample, or a real word."""

from __future__ import annotations

import pytest
import torch

from mkgc_cl.models import ModelOutput

LOGITS = torch.arange(12.0).reshape(2, 3, 2)
MASK = torch.tensor([[True, True, True], [True, False, False]])


def output(*, tags: bool) -> ModelOutput:
    nothing = torch.empty(0)
    return ModelOutput(
        logits=LOGITS if tags else LOGITS[:, 0],
        features=nothing,
        text_states=nothing,
        text_mask=nothing,
        word_mask=MASK if tags else None,
    )


@pytest.mark.parametrize(
    ("tags", "rows"),
    [(False, [[0, 1], [6, 7]]), (True, [[0, 1], [2, 3], [4, 5], [6, 7]])],
)
def test_scores_have_a_row_a_sample_or_real_word(tags: bool, rows: list[list[int]]) -> None:
    given = output(tags=tags)
    scores = torch.tensor(rows, dtype=torch.float32)
    assert torch.equal(given.scores, scores)
    assert torch.equal(given[:, [1]], scores[:, [1]])
    assert torch.equal(torch.softmax(given, dim=1), scores.softmax(dim=1))
    assert torch.equal(torch.cat([given, given]), torch.cat([scores, scores]))
    assert torch.equal(torch.norm(given, p="fro", dim=1), scores.norm(dim=1))


def test_gradients_pass_through() -> None:
    logits = LOGITS.clone().requires_grad_()
    given = ModelOutput(
        logits=logits, features=logits, text_states=logits, text_mask=MASK, word_mask=MASK
    )
    torch.sum(given).backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad, MASK[..., None].expand(2, 3, 2).float())
