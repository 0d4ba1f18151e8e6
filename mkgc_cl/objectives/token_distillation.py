"""Token distillation: what the previous model says of the words that a task leaves unlabelled."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Restrict = Literal["pad", "renormalize"]


def teacher_words(logits: Tensor, known: Tensor, *, temperature: float = 1.0) -> Tensor:
    r"""Log-probabilities of the tags the teacher has seen: :math:`\log\mathrm{softmax}(z/T)`.

    Args:
        logits: (..., C) scores of the teacher.
        known: (C,) bool, true on the K outputs that it has seen.
        temperature: T, above 0.

    Returns:
        (..., K).
    """
    return (logits[..., known] / temperature).log_softmax(dim=-1)


def token_divergence(
    teacher: Tensor,
    student: Tensor,
    known: Tensor,
    *,
    temperature: float = 1.0,
    restrict: Restrict = "pad",
) -> Tensor:
    r"""Divergence of every word's distribution from the teacher's (Monaikul et al., AAAI 2021).

    .. math:: \mathrm{KL}(p \Vert q) = \sum_{c\ \mathrm{known}} p_c (\log p_c - \log q_c)

    with the teacher's :math:`p` and the student's :math:`q = \mathrm{softmax}(z/T)`. It is not
    scaled by :math:`T^2` (Hinton et al. 2015): with T above 1, its gradient is smaller.

    Args:
        teacher: (..., K) log-probabilities, of :func:`teacher_words`.
        student: (..., C) scores of the student; outputs no task has brought are masked.
        known: (C,) bool, true on the K outputs that the teacher has seen.
        temperature: T of the student, above 0; the teacher's is in its log-probabilities.
        restrict: ``"pad"`` normalizes the student over all of its tags: the teacher has no mass on
            new ones, so whatever the student puts there is lost, and costs
            :math:`-\log \sum_{c\ \mathrm{known}} q_c` more than ``"renormalize"``, which normalizes
            it over the known tags alone (Li and Hoiem 2017, Avalanche's LwF) and leaves the scores
            of new tags without a gradient.

    Returns:
        (...,) divergence, at least 0.

    >>> import torch
    >>> known, student = torch.tensor([True, True, False]), torch.zeros(3)
    >>> teacher = teacher_words(torch.zeros(3), known)
    >>> for how in ("renormalize", "pad"):  # the second is log(3 / 2)
    ...     print(round(float(token_divergence(teacher, student, known, restrict=how)), 4))
    0.0
    0.4055
    """
    scores = student / temperature
    if restrict == "pad":
        now = scores.log_softmax(dim=-1)[..., known]
    else:
        now = scores[..., known].log_softmax(dim=-1)
    return (teacher.exp() * (teacher - now)).sum(dim=-1)
