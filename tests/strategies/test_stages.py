"""New moments for every stage and bounded gradients, by hand and against PyTorch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from mkgc_cl.errors import ConfigError
from mkgc_cl.strategies import PrototypeReplayPlugin
from mkgc_cl.strategies.stages import StepPolicy, clip_norm


def parameter(*gradient: float) -> nn.Parameter:
    found = nn.Parameter(torch.zeros(len(gradient)))
    found.grad = torch.tensor(gradient)
    return found


def test_a_norm_is_scaled_to_the_bound_and_no_further() -> None:
    gradients = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])]  # norm 5
    clip_norm(gradients, 5.0)
    assert gradients[0].tolist() == [3.0, 0.0]
    clip_norm(gradients, 1.0)
    torch.testing.assert_close(gradients[0], torch.tensor([0.6, 0.0]))
    torch.testing.assert_close(gradients[1], torch.tensor([[0.8]]))
    clip_norm([], 1.0)


@pytest.mark.parametrize("bound", [0.5, 100.0])
def test_it_is_pytorchs_clipping(bound: float) -> None:
    source = torch.Generator().manual_seed(0)
    layers = [nn.Linear(7, 5), nn.Linear(7, 5)]
    for one, other in zip(*(layer.parameters() for layer in layers), strict=True):
        one.grad = torch.randn(one.shape, generator=source)
        other.grad = one.grad.clone()
    StepPolicy(max_grad_norm=bound).clip(SGD(layers[0].parameters(), lr=1.0))
    nn.utils.clip_grad_norm_(layers[1].parameters(), bound)
    for one, other in zip(*(layer.parameters() for layer in layers), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=0)


@pytest.mark.parametrize("by_part", [True, False])
def test_together_or_part_by_part(by_part: bool) -> None:
    """Encoder and projection have norm 10 together, the head 20, the readout 5; all sqrt(525)."""
    whole = {"encoder": [6.0, 0.0], "projection": [8.0, 0.0], "head": [20.0], "readout": [3.0, 4.0]}
    groups = {role: parameter(*values) for role, values in whole.items()}
    optimizer = SGD([{"params": [p], "role": role} for role, p in groups.items()], lr=1.0)
    StepPolicy(max_grad_norm=5.0, norm_by_part=by_part).clip(optimizer)
    factors = {"encoder": 0.5, "projection": 0.5, "head": 0.25, "readout": 1.0}
    for role, p in groups.items():
        factor = factors[role] if by_part else 5.0 / 525**0.5
        assert isinstance(p.grad, Tensor)
        torch.testing.assert_close(p.grad, factor * torch.tensor(whole[role]))


def test_zeros_for_classes_to_come_change_no_bit() -> None:
    source = torch.Generator().manual_seed(1)
    for more in range(1, 40):
        head, encoder = torch.randn(3, 33, generator=source), torch.randn(50, generator=source)
        wide = torch.cat([head, torch.zeros(more, 33)])
        for gradients in ([head, encoder], [wide, encoder.clone()]):
            clip_norm(gradients, 1.0)
        assert torch.equal(wide[:3], head)


def test_a_bound_that_is_none_is_refused() -> None:
    for bound in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="max_grad_norm"):
            StepPolicy(max_grad_norm=bound)


# ---- in a run ------------------------------------------------------------------------------------


def steps_of(kit: Any, policy: StepPolicy, **options: Any) -> list[Any]:
    """Every step of two tasks and a memory phase after the second."""
    benchmark = kit.benchmark("re", 2)
    recorder = kit.Recorder(tensors=True)
    strategy = kit.strategy(
        benchmark.labels,
        recorder,
        PrototypeReplayPlugin(size=2, epochs=2),
        model=kit.text_model(benchmark.labels, dropout=0.0),
        weight_decay=0.0,
        lr=0.01,
        steps=policy,
        **options,
    )
    kit.train(strategy, benchmark)
    return list(recorder.steps)


def firsts(steps: list[Any]) -> list[int]:
    kinds = [(step.task, step.phase) for step in steps]
    return [i for i, kind in enumerate(kinds) if i == 0 or kind != kinds[i - 1]]


@pytest.mark.slow
@pytest.mark.parametrize("fresh", [True, False])
def test_adams_first_step_of_a_stage_is_that_of_a_new_adam(kit: Any, fresh: bool) -> None:
    """Without moments its step is the rate times the gradient's sign (Kingma and Ba, 2015)."""
    steps = steps_of(kit, StepPolicy(fresh_optimizer=fresh))
    begins = firsts(steps)
    assert len(begins) == 3
    for index, step in enumerate(steps):
        gradient = step.gradients["head.weight"]
        moved = step.after["head.weight"] - step.before["head.weight"]
        big = gradient.abs() > 1e-4
        new = torch.allclose(moved[big], -0.01 * gradient[big].sign(), rtol=1e-3, atol=1e-6)
        assert new == (index in begins if fresh else index == 0)


@pytest.mark.slow
def test_a_step_takes_the_clipped_gradient(kit: Any) -> None:
    steps = steps_of(kit, StepPolicy(max_grad_norm=0.5), kind="sgd")
    clipped = 0
    for step in steps:
        norm = sum(float(g.double().square().sum()) for g in step.gradients.values()) ** 0.5
        clipped += norm > 0.5
        for name, gradient in step.gradients.items():
            wanted = step.before[name] - 0.01 * min(1.0, 0.5 / norm) * gradient
            torch.testing.assert_close(step.after[name], wanted, rtol=1e-5, atol=1e-7)
    assert clipped > 3
