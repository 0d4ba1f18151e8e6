"""Rows of the ablation: MSPT with options, weight for weight what is assembled by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest
import torch

from mkgc_cl.data import LabelSpace
from mkgc_cl.experiments import ablation
from mkgc_cl.experiments.pipeline import cli, plan
from mkgc_cl.experiments.pipeline.run import Runner, build_row
from mkgc_cl.experiments.pipeline.settings import CONTROLS, DEFAULT_ORDERS
from mkgc_cl.models import DualStreamModel
from mkgc_cl.runs import Run
from mkgc_cl.scenarios import demo
from mkgc_cl.strategies import MSPTOptions, Training, control_coefficients, mspt, rate_control

OWN = {"alpha": 0.7, "exemplars": 3, "key_lr": 1e-5, "ad_axis": "height", "ad_center": False}
OWN |= {"interaction_layers": 2, "noise": True, "memory_scope": "task", "key_shape": "single"}
PARTS = {
    "w/o MI": {},
    "w/o AD": {"distillation": False},
    "w/o GM": {"modulation": False},
    "w/o MM": {"memory": False},
    "full": {},
    "fine-tuning": {"distillation": False, "modulation": False, "memory": False},
}


def by_hand(name: str, labels: LabelSpace, **more: Any) -> Any:
    """The strategy of a row from its parts."""
    model = DualStreamModel.build(
        labels,
        interaction="self" if name in ("w/o MI", "fine-tuning") else "shared-key",
        interaction_layers=2,
        key_shape="single",
        max_text_length=64,
        seed=3,
    )
    method = MSPTOptions(
        **PARTS[name], key_lr=1e-5, alpha=0.7, noise=True, ad_axis="height", ad_center=False,
        exemplars=3, memory_scope="task", **more,
    )  # fmt: skip
    return mspt(model, method, Training(epochs=1, batch_size=8, lr=1e-3, head_lr=1e-2, seed=3))


@pytest.fixture(scope="module")
def settings() -> Any:
    argv = ["--epochs", "1", "training.batch_size=8", "training.head_lr=0.01", "--seeds", "3"]
    made = cli.settings_of(ablation.SCRIPT, cli.parse(ablation.SCRIPT, argv))
    return replace(made, options={"MSPT": OWN})


def plain(strategy: Any) -> Any:
    """All numbers and words of its optimizer and plugins."""
    kinds = (int, float, str, bool, type(None))
    groups = [
        {k: v for k, v in g.items() if k != "params"} for g in strategy.optimizer.param_groups
    ]
    plugins = [
        (type(p).__name__, {k: v for k, v in vars(p).items() if isinstance(v, kinds)})
        for p in strategy.plugins
    ]
    return groups, plugins, strategy.train_epochs, strategy.train_mb_size


def same_weights(one: Any, other: Any) -> bool:
    mine, theirs = one.network.state_dict(), other.network.state_dict()
    assert mine.keys() == theirs.keys()
    return all(torch.equal(value, theirs[name]) for name, value in mine.items())


@pytest.mark.parametrize("name", PARTS)
def test_a_row_is_the_method_with_options(settings: Any, name: str) -> None:
    labels = LabelSpace("re", ("a", "b"), na="None")
    row = ablation.ABLATION[name]
    options = plan.options_of(settings, name, row)
    made = build_row(row, options, labels, settings, "cpu", seed=3)
    hand = by_hand(name, labels)
    assert plain(made) == plain(hand)
    assert same_weights(made, hand)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["full", "w/o GM (one rate)"])
def test_a_row_ends_with_the_weights_of_the_method(settings: Any, name: str) -> None:
    benchmark = demo("re", train_per_task=8, valid_per_task=4, test_size=20)
    rows = ablation.SCRIPT.known()
    options = plan.options_of(settings, name, rows[name])
    run = Run(name, "demo-re", "default", 3, {"options": options})
    made = Runner(settings, rows, {})._strategy(run, benchmark, "cpu")
    more = {}
    if rows[name].rates is not None:
        measured = by_hand("full", benchmark.labels)
        held = control_coefficients(measured, benchmark, rows[name].rates)
        more["constant_coefficients"] = held
    hand = by_hand("full", benchmark.labels, **more)
    for experience in list(benchmark.train_stream)[:2]:
        made.train(experience)
        hand.train(experience)
    assert same_weights(made, hand)


def test_rows_of_table_3_in_order() -> None:
    names = list(ablation.ABLATION)
    table = [name for name in names if ablation.ABLATION[name].rates is None]
    assert table == list(PARTS)
    assert tuple(r.rates for r in ablation.ABLATION.values() if r.rates) == get_args(
        rate_control.RateControl
    )


def test_words_that_are_there_twice_are_the_same() -> None:
    from mkgc_cl.data.controls import Control
    from mkgc_cl.data.demo import NER_ORDER

    assert get_args(Control) == CONTROLS
    assert get_args(plan.RateControl) == get_args(rate_control.RateControl)
    assert DEFAULT_ORDERS["demo-ner"] == "-".join(NER_ORDER)
