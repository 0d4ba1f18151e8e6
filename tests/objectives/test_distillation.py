"""Attention distillation against loops, and where its gradient points."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mkgc_cl.data.images import BLANK
from mkgc_cl.data.samples import LabelSpace, RelationSample, VisualInput
from mkgc_cl.errors import ConfigError
from mkgc_cl.models import DualStreamModel
from mkgc_cl.objectives.distillation import Axis, attention_distillation_loss, reduce_map


def maps(batch: int, heads: int, length: int, seed: int) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(batch, heads, length, length, generator=source, dtype=torch.float64)


@settings(max_examples=30)
@given(
    heads=st.integers(1, 3),
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    holes=st.booleans(),
    seed=st.integers(0, 999),
)
def test_reduction_equals_a_loop(heads: int, lengths: list[int], holes: bool, seed: int) -> None:
    length = max(lengths)
    scores = maps(len(lengths), heads, length, seed)
    mask = torch.arange(length)[None] < torch.tensor(lengths)[:, None]
    if holes:  # crops that are missing leave holes in the middle, not only padding at the end
        mask[:, length // 2] = length == 1
    ways: list[tuple[Axis, bool]] = [("width", False), ("width", True), ("height", False)]
    for axis, center in ways:
        expected = torch.zeros(len(lengths), heads, length, dtype=torch.float64)
        for b in range(len(lengths)):
            real = mask[b].nonzero().flatten().tolist()
            for h in range(heads):
                for row in real:
                    mean = sum(float(scores[b, h, row, key]) for key in real) / len(real)
                    for column in real:
                        kept = column if axis == "width" else row
                        expected[b, h, kept] += scores[b, h, row, column] - center * mean
        assert torch.allclose(reduce_map(scores, mask, axis=axis, center=center), expected)


@settings(max_examples=30)
@given(
    batch=st.integers(1, 3),
    heads=st.integers(1, 3),
    length=st.integers(1, 4),
    normalize=st.booleans(),
    seed=st.integers(0, 999),
)
def test_distance_equals_a_loop(
    batch: int, heads: int, length: int, normalize: bool, seed: int
) -> None:
    source = torch.Generator().manual_seed(seed)
    shape = (2, batch, heads, length)
    before, now = torch.randn(shape, generator=source, dtype=torch.float64)
    for sample in range(batch):
        total = 0.0
        for h in range(heads):
            lost = [
                max(0.0, float(before[sample, h, i] - now[sample, h, i])) for i in range(length)
            ]
            size = math.sqrt(sum(x * x for x in lost))
            if normalize and size > 0:
                lost = [x / size for x in lost]
            total += sum(x * x for x in lost)
        found = attention_distillation_loss(before, now, normalize_rows=normalize)[sample]
        assert math.isclose(float(found), math.sqrt(total), rel_tol=1e-9, abs_tol=1e-9)


@pytest.mark.parametrize("axis", ["width", "height"])
def test_padding_neither_counts_nor_learns(axis: Axis) -> None:
    """The released code summed pad columns of -10000 along."""
    mask = torch.tensor([[True, True, True, False, False], [True, False, True, True, False]])
    scores = maps(2, 3, 5, 0).requires_grad_()
    reduced = reduce_map(scores, mask, axis=axis)
    real = mask[:, None, :, None] & mask[:, None, None, :]
    for filler in (7.0, -1e4, math.inf, math.nan):
        changed = scores.detach().masked_fill(~real, filler)
        assert torch.equal(reduce_map(changed, mask, axis=axis), reduced)
    assert not reduced[~mask[:, None].expand_as(reduced)].any()
    (gradient,) = torch.autograd.grad(reduced.square().sum(), scores)
    assert torch.equal(gradient != 0, real.expand_as(gradient))


def test_raising_every_score_is_the_way_out_that_centring_closes() -> None:
    """A constant on a row leaves its softmax alone: what was lost must stay lost."""
    mask = torch.tensor([[True, True, True, False]])
    before = maps(1, 2, 4, 0)
    now = maps(1, 2, 4, 1)
    raised = now + 100.0
    assert torch.allclose(raised.softmax(dim=-1), now.softmax(dim=-1))

    def distance(scores: Tensor, *, center: bool) -> float:
        pair = [reduce_map(each, mask, center=center) for each in (before, scores)]
        return float(attention_distillation_loss(*pair))

    assert distance(now, center=False) > 0.1
    assert distance(raised, center=False) == 0.0
    assert distance(now, center=True) > 0.1
    assert distance(raised, center=True) == pytest.approx(distance(now, center=True))


def test_the_centered_gradient_moves_no_row_as_a_whole() -> None:
    mask = torch.tensor([[True, True, True, False], [True, True, True, True]])
    before, now = maps(2, 3, 4, 0), maps(2, 3, 4, 1).requires_grad_()
    loss = attention_distillation_loss(
        *(reduce_map(each, mask, center=True) for each in (before, now))
    ).sum()
    (gradient,) = torch.autograd.grad(loss, now)
    assert float(gradient.abs().max()) > 0.1
    assert torch.allclose(gradient.sum(dim=-1), torch.zeros(2, 3, 4, dtype=torch.float64))


def test_centring_along_the_height_would_leave_nothing() -> None:
    with pytest.raises(ConfigError, match="use axis='width' or center=False"):
        reduce_map(maps(1, 1, 2, 0), torch.ones(1, 2, dtype=torch.bool), axis="height", center=True)


def test_attention_gained_costs_nothing_and_its_gradient_is_exactly_zero() -> None:
    before = torch.rand(2, 3, 4, dtype=torch.float64)
    now = (before + torch.rand_like(before)).requires_grad_()
    distance = attention_distillation_loss(before, now)
    assert distance.tolist() == [0.0, 0.0]
    (gradient,) = torch.autograd.grad(distance.sum(), now)
    assert not gradient.any()
    assert not gradient.isnan().any()


def test_equal_maps_have_gradient_zero_and_no_nan() -> None:
    before = torch.randn(2, 3, 4)
    now = before.clone().requires_grad_()
    for normalize in (False, True):
        (gradient,) = torch.autograd.grad(
            attention_distillation_loss(before, now, normalize_rows=normalize).sum(), now
        )
        assert not gradient.any()
        assert not gradient.isnan().any()


@pytest.mark.parametrize("lost", [0.0, 1e-30, 1e-8])
def test_a_loss_too_small_to_square_has_gradient_zero(lost: float) -> None:
    """The square underflows, and the slope of the root at 0 is infinite."""
    now = torch.zeros(1, 2, 3, requires_grad=True)
    before = torch.tensor([[[lost, -1.0, 0.0], [0.0, lost, -1.0]]])
    (gradient,) = torch.autograd.grad(attention_distillation_loss(before, now).sum(), now)
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_gradient_is_the_unit_vector_of_what_was_lost() -> None:
    """d/dx ||relu(b - x)|| = -relu(b - x) / ||relu(b - x)||: lost 3 and 4, gained 5."""
    now = torch.tensor([[[0.0, 5.0], [0.0, 0.0]]], requires_grad=True)
    distance = attention_distillation_loss(torch.tensor([[[3.0, 0.0], [4.0, 0.0]]]), now)
    assert distance.tolist() == [5.0]
    distance.sum().backward()
    assert now.grad is not None
    expected = torch.tensor([[[-0.6, 0.0], [-0.8, 0.0]]])
    assert torch.allclose(now.grad, expected)


def test_released_normalization_is_a_constant_without_a_gradient() -> None:
    """Its value is the root of the number of rows that lost anything, whatever the maps are."""
    source = torch.Generator().manual_seed(0)
    before = torch.randn(4, 6, 8, generator=source, dtype=torch.float64)
    for scale in (1e-2, 1.0, 1e2):
        now = (before + scale * torch.randn(before.shape, generator=source)).requires_grad_()
        distance = attention_distillation_loss(before, now, normalize_rows=True)
        assert torch.allclose(distance, torch.full_like(distance, 6**0.5))
        (gradient,) = torch.autograd.grad(distance.sum(), now)
        assert float(gradient.abs().max()) < 1e-12 / scale
        (real,) = torch.autograd.grad(attention_distillation_loss(before, now).sum(), now)
        assert float(real.abs().max()) > 1e-2


def distance_of(model: DualStreamModel, teacher: DualStreamModel, *, normalize: bool) -> Tensor:
    samples = [
        RelationSample(f"s{n}", tuple("abcdefg"[:n]), (0, 1), (n - 1, n), "r", VisualInput(BLANK))
        for n in (3, 5, 7)
    ]
    batch, _ = model.processor.collate(samples)
    new = model(batch)
    with torch.no_grad():
        old = teacher(batch)
    total = torch.zeros((), dtype=torch.float64)
    for befores, nows, mask in (
        (old.text_maps, new.text_maps, new.text_mask),
        (old.vision_maps, new.vision_maps, new.vision_mask),
    ):
        for before, now in zip(befores, nows, strict=True):
            reduced = reduce_map(before, mask), reduce_map(now, mask)
            total = total + attention_distillation_loss(*reduced, normalize_rows=normalize).mean()
    return total


@pytest.fixture
def student_and_teacher() -> tuple[DualStreamModel, DualStreamModel]:
    teacher = DualStreamModel.build(LabelSpace("re", ("r",), na="None"), seed=1).eval().double()
    student = copy.deepcopy(teacher)
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in student.parameters():
            noise = torch.randn(parameter.shape, generator=source, dtype=torch.float64)
            parameter.add_(0.05 * noise)
    return student, teacher


@pytest.mark.parametrize(
    "part",
    [
        "shared_keys.0",
        "shared_keys.2",
        "text.layers.1.attention.self.query.weight",
        "text.layers.3.attention.self.query.weight",
        "vision.vit.blocks.3.attn.shared.query.weight",
        "text.layers.2.attention.self.bias",
        "vision.vit.blocks.2.attn.shared.bias",
    ],
)
def test_the_loss_teaches_keys_and_queries_and_points_downhill(
    part: str, student_and_teacher: tuple[DualStreamModel, DualStreamModel]
) -> None:
    """To first order a step of size h along -g lowers the loss by h ||g||^2."""
    student, teacher = student_and_teacher
    parameter = student.get_parameter(part)
    before = distance_of(student, teacher, normalize=False)
    (gradient,) = torch.autograd.grad(before, parameter)
    steepness = float(gradient.square().sum())
    assert steepness > 1e-4
    step = 1e-4 / steepness
    with torch.no_grad():
        parameter.sub_(step * gradient)
        after = distance_of(student, teacher, normalize=False)
    assert math.isclose(float(before.detach() - after), 1e-4, rel_tol=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["shared_keys.0", "text.layers.3.attention.self.query.weight"])
def test_the_released_loss_teaches_nothing(
    part: str, student_and_teacher: tuple[DualStreamModel, DualStreamModel]
) -> None:
    """Rounding remains, as in the released code (1.6e-8 in single precision)."""
    student, teacher = student_and_teacher
    largest = {}
    for normalize in (True, False):
        loss = distance_of(student, teacher, normalize=normalize)
        (gradient,) = torch.autograd.grad(loss, student.get_parameter(part))
        largest[normalize] = float(gradient.abs().max())
    assert largest[True] < 1e-5 * largest[False]


def test_a_model_at_its_teacher_is_left_alone(
    student_and_teacher: tuple[DualStreamModel, DualStreamModel],
) -> None:
    _, teacher = student_and_teacher
    loss = distance_of(teacher, teacher, normalize=False)
    assert float(loss.detach()) == 0.0
    (gradient,) = torch.autograd.grad(loss, teacher.get_parameter("shared_keys.1"))
    assert not gradient.any()
