"""Controls for modulation hold its mean rates, task by task, and follow nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from mkgc_cl.errors import ConfigError
from mkgc_cl.strategies import MSPTOptions, Training, control_coefficients, mspt, run_stream


def means(traces: dict[str, list[float]]) -> list[tuple[float, float]]:
    """Mean of what was applied in each task, from the traces that a record keeps."""
    applied = list(zip(traces["coefficient_text"], traces["coefficient_vision"], strict=True))
    starts = [int(step) for step in traces["boundaries"]]
    tasks = [applied[a:b] for a, b in zip(starts, [*starts[1:], len(applied)], strict=True)]
    return [tuple(sum(column) / len(task) for column in zip(*task, strict=True)) for task in tasks]  # type: ignore[misc]


def strategy(kit: Any, labels: Any, schedule: Any, **options: Any) -> Any:
    method = MSPTOptions(schedule=schedule, **options)
    return mspt(kit.model(labels), method, Training(epochs=2, batch_size=4, lr=1e-2, seed=3))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schedule", "control"), [("average", "same rates"), ("per-step", "one rate")]
)
def test_a_control_has_the_mean_rates_of_the_whole_method(
    kit: Any, schedule: Any, control: Any
) -> None:
    """Another run of the same seed: its rates are the same, and nothing that it sees moves them."""
    benchmark = kit.benchmark("re", 2)
    full = means(run_stream(strategy(kit, benchmark.labels, schedule), benchmark).traces)
    assert min(min(pair) for pair in full) < 0.95  # there is a rate to hold
    held = control_coefficients(
        strategy(kit, benchmark.labels, schedule), benchmark, control=control
    )
    run = strategy(kit, benchmark.labels, schedule, constant_coefficients=held)
    traces = run_stream(run, benchmark).traces
    found, steps = means(traces), list(map(int, traces["boundaries"]))
    for task, (text, vision) in enumerate(full):
        expected = (text, vision) if control == "same rates" else ((text + vision) / 2,) * 2
        assert found[task] == pytest.approx(expected)
        assert traces["coefficient_text"][steps[task]] == pytest.approx(expected[0])
    assert len(set(traces["coefficient_text"])) <= 2  # one per task
    assert len(set(traces["gamma"])) > 3


def test_a_control_needs_something_to_control_for(kit: Any) -> None:
    benchmark = kit.benchmark("re", 1)
    with pytest.raises(ConfigError) as caught:
        control_coefficients(kit.strategy(benchmark.labels), benchmark, "no rate")  # type: ignore[arg-type]
    assert len(caught.value.problems) == 2
    options = MSPTOptions(modulation=False, constant_coefficients=((1.0, 1.0),))
    with pytest.raises(ConfigError, match="applied by modulation, which is off"):
        mspt(kit.model(benchmark.labels), options)
