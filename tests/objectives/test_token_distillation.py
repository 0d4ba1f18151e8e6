"""Token distillation: sums by hand, and what the two ways to normalize the student say."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mkgc_cl.models.heads import UNSEEN_LOGIT
from mkgc_cl.objectives.token_distillation import Restrict, teacher_words, token_divergence

RESTRICT: tuple[Restrict, ...] = ("pad", "renormalize")


def probabilities(scores: list[float], temperature: float) -> list[float]:
    exponents = [math.exp(score / temperature) for score in scores]
    return [exponent / sum(exponents) for exponent in exponents]


def divergence_by_hand(
    teacher: list[float],
    student: list[float],
    known: list[bool],
    seen: list[bool],
    temperature: float,
    restrict: Restrict,
) -> float:
    old = [place for place, is_known in enumerate(known) if is_known]
    new = [place for place, is_seen in enumerate(seen) if is_seen and not known[place]]
    p = probabilities([teacher[place] for place in old], temperature)
    over = old if restrict == "renormalize" else [*old, *new]
    q = probabilities([student[place] for place in over], temperature)
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=False))


def drawn(seed: int, *, outputs: int = 7) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scores (3, 4, C) of teacher and student, which outputs the teacher knew, which are seen."""
    source = torch.Generator().manual_seed(seed)
    teacher, student = 2 * torch.randn(2, 3, 4, outputs, generator=source, dtype=torch.float64)
    known = torch.arange(outputs) < 3
    seen = torch.arange(outputs) < 5
    return teacher, student.masked_fill(~seen, UNSEEN_LOGIT), known, seen


@settings(max_examples=25)
@given(seed=st.integers(0, 999), temperature=st.sampled_from([0.5, 1.0, 2.0]))
def test_equals_the_sum_word_by_word(seed: int, temperature: float) -> None:
    teacher, student, known, seen = drawn(seed)
    words = teacher_words(teacher, known, temperature=temperature)
    assert words.shape == (3, 4, 3)
    for restrict in RESTRICT:
        found = token_divergence(words, student, known, temperature=temperature, restrict=restrict)
        for sample in range(3):
            for word in range(4):
                expected = divergence_by_hand(
                    teacher[sample, word].tolist(),
                    student[sample, word].tolist(),
                    known.tolist(),
                    seen.tolist(),
                    temperature,
                    restrict,
                )
                assert math.isclose(float(found[sample, word]), expected, abs_tol=1e-9)
                assert expected >= 0


def test_padding_costs_the_mass_on_new_tags_more() -> None:
    teacher, student, known, _ = drawn(1)
    words = teacher_words(teacher, known)
    pad, renormalize = (
        token_divergence(words, student, known, restrict=restrict) for restrict in RESTRICT
    )
    kept = student.softmax(dim=-1)[..., known].sum(dim=-1)
    torch.testing.assert_close(pad - renormalize, -kept.log())
    assert bool((pad > renormalize).all())


def test_a_student_that_says_the_same_has_nothing_to_lose() -> None:
    teacher, _, known, _ = drawn(2)
    words = teacher_words(teacher, known)
    same = teacher.masked_fill(~known, UNSEEN_LOGIT)
    for restrict in RESTRICT:
        found = token_divergence(words, same, known, restrict=restrict)
        torch.testing.assert_close(found, torch.zeros_like(found), rtol=0, atol=1e-12)


def test_gradient_is_the_difference_of_the_distributions() -> None:
    """q - p by hand: down on what the student overrates; new tags pushed down by ``pad`` alone."""
    teacher, student, known, seen = drawn(3)
    words = teacher_words(teacher, known)
    p = torch.zeros_like(student)
    p[..., known] = words.exp()
    for restrict in RESTRICT:
        scores = student.clone().requires_grad_()
        token_divergence(words, scores, known, restrict=restrict).sum().backward()
        over = seen if restrict == "pad" else known
        q = student.masked_fill(~over, -math.inf).softmax(dim=-1)
        assert scores.grad is not None
        torch.testing.assert_close(scores.grad, q - p)
        new = scores.grad[..., seen & ~known]
        assert bool((new > 0).all()) if restrict == "pad" else not bool(new.any())
        assert not bool(scores.grad[..., ~seen].any())


def test_confident_scores_stay_finite() -> None:
    known = torch.tensor([True, True, False])
    teacher = teacher_words(torch.tensor([500.0, -500.0, 0.0]), known)
    scores = torch.tensor([-500.0, 500.0, 0.0], requires_grad=True)
    for restrict in RESTRICT:
        found = token_divergence(teacher, scores, known, restrict=restrict)
        assert float(found.detach()) == 1000.0
        (gradient,) = torch.autograd.grad(found, scores)
        assert gradient.tolist() == [-1.0, 1.0, 0.0]
