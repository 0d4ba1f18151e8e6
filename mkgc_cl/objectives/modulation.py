"""Gradient modulation: who leads, and by how much it is slowed (eq. 5-8)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Target = Literal["dominant", "paper"]


class Coefficients(NamedTuple):
    """Factor on the step of each modality, in [0, 1]; 0 only where tanh rounds to 1 (above 19)."""

    text: float
    vision: float


def contribution(
    logits: Tensor, targets: Tensor, *, seen: Tensor | None = None, ignore: int = -100
) -> Tensor:
    r"""Confidence of one stream in the true labels (eq. 5), summed over the batch.

    .. math:: \sum_i s_i = \sum_i \mathrm{softmax}(W f_i)_{y_i}

    Args:
        logits: (B, C) or (B, W, C) logits of one stream alone, half of the bias included.
        targets: (B,) or (B, W) label ids.
        seen: (K,) ids of the outputs the softmax is over, in order; all by default. Masked outputs
            have no part in it either way, but leave no trace in its rounding if they are left out.
        ignore: label of positions to leave out (padding; word-pieces are no positions here).

    Returns:
        Scalar in [0, number of labelled positions].
    """
    mask = targets != ignore
    scores, labels = logits[mask], targets[mask]
    if seen is not None:
        scores, labels = scores.index_select(1, seen), torch.searchsorted(seen, labels)
    return scores.softmax(dim=-1).gather(1, labels[:, None]).sum()


def contribution_ratio(
    text_logits: Tensor,
    vision_logits: Tensor,
    targets: Tensor,
    seen: Tensor | None = None,
    totals: Callable[[list[float]], Sequence[float]] = list,
    *,
    ignore: int = -100,
) -> float:
    r"""Contribution ratio :math:`\gamma^t_n = \sum_i s^t_i / \sum_i s^v_i` (eq. 6), positive.

    Args:
        text_logits: of the text, see :func:`contribution`.
        vision_logits: of the image.
        targets: label ids.
        seen: ids of the outputs the softmax is over.
        totals: adds up both sums over processes that share the batch.
        ignore: label of positions to leave out.
    """
    text, vision = totals(
        [
            float(contribution(logits.detach(), targets, seen=seen, ignore=ignore))
            for logits in (text_logits, vision_logits)
        ]
    )
    smallest = torch.finfo(torch.float32).tiny
    return max(text, smallest) / max(vision, smallest)


def modulation_coefficient(alpha: float, ratio: float) -> float:
    r"""Modulation coefficient (eq. 7): :math:`1 - \tanh(\alpha\gamma)` above 1, else 1.

    Args:
        alpha: strength, at least 0 (paper: 0.3 IMNER, 0.1 IMRE in the released code); 0 is no
            modulation.
        ratio: contribution ratio of the modality, positive.

    >>> round(modulation_coefficient(0.3, 2.0), 4), modulation_coefficient(0.3, 0.9)
    (0.463, 1.0)
    """
    return 1.0 - math.tanh(alpha * ratio) if ratio > 1 else 1.0


def coefficients(ratio: float, *, alpha: float, target: Target = "dominant") -> Coefficients:
    """Coefficients of both modalities from the text's contribution ratio.

    Args:
        ratio: gamma of eq. (6).
        alpha: strength of eq. (7).
        target: ``"dominant"`` slows the modality that leads, on either side, as OGM-GE and the
            released code do. PAPER: ``"paper"`` takes eq. (9) to the letter: only the text's
            coefficient exists, and it multiplies the vision step.
    """
    if target == "paper":
        return Coefficients(text=1.0, vision=modulation_coefficient(alpha, ratio))
    return Coefficients(
        text=modulation_coefficient(alpha, ratio), vision=modulation_coefficient(alpha, 1.0 / ratio)
    )


def average(steps: Sequence[Coefficients]) -> Coefficients:
    r"""Mean of coefficients, each modality's by itself (eq. 8): :math:`G = \mathrm{Avg}(g_n)`.

    A step slows one modality at most; a mean may slow both. Where the ratio crosses 1 from step to
    step, each modality leads in some of them, and both means are below 1. By hand, at alpha 0.3:
    gamma 2 gives text :math:`1 - \tanh 0.6 = 0.463` and vision 1, gamma 1/2 the reverse, and their
    mean is (0.463 + 1) / 2 for either, which balances nothing and lowers both learning rates.

    >>> [round(g, 3) for g in coefficients(2.0, alpha=0.3)]
    [0.463, 1.0]
    >>> [round(g, 3) for g in coefficients(0.5, alpha=0.3)]
    [1.0, 0.463]
    >>> both = [coefficients(2.0, alpha=0.3), coefficients(0.5, alpha=0.3)]
    >>> [round(g, 3) for g in average(both)]
    [0.731, 0.731]

    Args:
        steps: the coefficients, at least one.
    """
    return Coefficients(
        text=sum(step.text for step in steps) / len(steps),
        vision=sum(step.vision for step in steps) / len(steps),
    )
