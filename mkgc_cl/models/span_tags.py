"""Entity spans whatever their type: the tags O, B, I and how they convert to the typed tags."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mkgc_cl.data.processor import IGNORED

SPAN_TAGS = ("O", "B", "I")


def span_of(tags: Tensor) -> Tensor:
    """Forget the type of output ids (...): 0, 1, 2 for O, B, I; padding stays padding.

    >>> span_of(torch.tensor([0, 1, 2, 3, 4, -100])).tolist()
    [0, 1, 2, 1, 2, -100]
    """
    # outputs are O, then B and I of every type in turn
    untyped = torch.where(tags == 0, 0, 2 - tags % 2)
    return torch.where(tags == IGNORED, IGNORED, untyped)


def conversion_matrix(seen: Tensor) -> Tensor:
    """Spread span scores over the typed tags seen so far: (3, K) of their ids ``seen`` (K,).

    B gives 1/n to the B of each of the n types seen, I likewise; O gives 1 to O (Yu et al. 2020).
    RELEASED CODE hard-codes 1/4 for four types, which a stream that starts with one type has not
    got. Tags to come have no column: their number cannot change the rounding of a gradient.

    >>> conversion_matrix(torch.tensor([0, 1, 2, 5, 6])).tolist()[1]
    [0.0, 0.5, 0.0, 0.5, 0.0]
    """
    gives = F.one_hot(span_of(seen), len(SPAN_TAGS)).T
    return gives / gives.sum(dim=1, keepdim=True).clamp(min=1)  # nothing is seen at first
