"""Logit adjustment: from the prior that a model has learnt under to the one it meets."""

from __future__ import annotations

import torch
from torch import Tensor


def prior_shift(counts: Tensor, trained: Tensor, *, tau: float = 1.0) -> Tensor:
    r"""What to add to logits that were learnt under another prior (Menon et al., ICLR 2021).

    .. math:: \tau \log (\pi_c / \pi'_c)

    with the shares :math:`\pi` of the classes in the stream and :math:`\pi'` in what was trained
    on last, each among the classes that both have; 0 for the others.

    Args:
        counts: (C,) of the stream, at least 0.
        trained: (C,) of what was trained on.
        tau: weight.

    Returns:
        (C,), in double precision.

    >>> prior_shift(torch.tensor([80, 20, 0]), torch.tensor([6, 6, 6])).exp()
    tensor([1.6000, 0.4000, 1.0000], dtype=torch.float64)
    """
    stream, own = counts.double(), trained.double()
    both = (stream > 0) & (own > 0)
    shift = torch.zeros_like(stream)
    stream, own = stream[both], own[both]
    shift[both] = tau * ((stream / stream.sum()).log() - (own / own.sum()).log())
    return shift
