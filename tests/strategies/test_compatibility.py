"""The table of Avalanche's parts: complete, in the README, and what it refuses is refused by name.

``python tests/strategies/test_compatibility.py`` writes the table into the README.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from avalanche.core import SupervisedPlugin
from avalanche.evaluation import PluginMetric
from avalanche.logging import BaseLogger
from avalanche.training.templates.base import BaseTemplate

from mkgc_cl.errors import ConfigError
from mkgc_cl.strategies import adapt_strategy, continual_evaluator
from mkgc_cl.strategies.avalanche_parts import (
    LOGGERS,
    METRICS,
    NEITHER,
    PLUGINS,
    STRATEGIES,
    Part,
)
from mkgc_cl.strategies.compatibility import part_of, refusals, table
from mkgc_cl.strategies.measured import Measured

README = Path(__file__).parents[2] / "README.md"
MARKS = ("<!-- avalanche's parts -->\n", "<!-- end of avalanche's parts -->\n")
PARTS = (*PLUGINS, *METRICS, *LOGGERS, *STRATEGIES)
REFUSED = [part for part in PARTS if part.works == NEITHER]


def classes(part: Part) -> list[type]:
    found = []
    for path in part.classes:
        module, name = path.rsplit(".", 1)
        found.append(getattr(importlib.import_module(module), name))
    return found


def unmade(kind: type) -> Any:
    """An instance of a class of one's own that derives from ``kind``, without any constructor."""
    own = type("Own", (kind,), {})
    own.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]
    return object.__new__(own)


def written(text: str) -> str:
    """The README with the table of today between the marks."""
    before, rest = text.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    return f"{before}{MARKS[0]}\n{table()}\n{MARKS[1]}{after}"


def test_the_readme_has_the_table() -> None:
    text = README.read_text(encoding="utf-8")
    assert text == written(text), "run python tests/strategies/test_compatibility.py"


def test_every_part_of_avalanche_has_a_row() -> None:
    """Classes that Avalanche exports; a new version with new ones fails here."""
    for module, base in (
        ("training.plugins", SupervisedPlugin),
        ("training.losses", SupervisedPlugin),
        ("evaluation.metrics", PluginMetric),
        ("logging", BaseLogger),
        ("training.supervised", BaseTemplate),
    ):
        exported = vars(importlib.import_module(f"avalanche.{module}")).values()
        concrete = {
            kind
            for kind in exported
            if inspect.isclass(kind)
            and issubclass(kind, base)
            and kind is not base
            and not kind.__name__.startswith("Generic")
        }
        assert [kind.__name__ for kind in concrete if part_of(kind) is None] == []


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_rows_name_what_there_is(part: Part) -> None:
    kinds = classes(part)
    assert all(part_of(kind) is part for kind in kinds)
    if part.helper:
        assert callable(getattr(importlib.import_module(kinds[0].__module__), part.helper))
    limited = part.works != ("re", "ner") or part.gpu_only
    assert bool(part.reason) == bool(part.instead) == limited


@pytest.mark.parametrize("part", REFUSED, ids=lambda part: part.name)
def test_what_cannot_work_is_refused_by_name_as_it_is_given(kit: Any, part: Part) -> None:
    kind = classes(part)[-1]
    given: list[Callable[[], object]] = [
        lambda: kit.strategy(kit.benchmark("re", 1).labels, unmade(kind)),
        lambda: continual_evaluator(metrics=[[unmade(kind)]]),
        lambda: continual_evaluator(unmade(kind)),
        lambda: adapt_strategy(kind),
    ]
    tables = (PLUGINS, METRICS, LOGGERS, STRATEGIES)
    (give,) = [act for act, rows in zip(given, tables, strict=True) if part in rows]
    with pytest.raises(ConfigError) as error:
        give()
    (problem,) = error.value.problems
    assert problem.startswith(f"Avalanche's {part.name} ")
    assert problem.endswith(f"use {part.instead}".replace("`", ""))


def test_all_that_cannot_work_is_named_at_once(kit: Any) -> None:
    refused = [classes(part)[0] for part in REFUSED[:2]]
    with pytest.raises(ConfigError) as error:
        kit.strategy(kit.benchmark("re", 1).labels, *map(unmade, refused), batch=0)
    assert len(error.value.problems) == 3


@pytest.mark.parametrize("name", ["LwFPlugin", "LwF"])
def test_what_works_for_relations_only(name: str) -> None:
    (part,) = [part for part in PARTS if part.name == name]
    given = classes(part)
    assert refusals(given) == refusals(given, task="re") == []
    (problem,) = refusals(given, task="ner")
    assert "for 'ner'" in problem


@pytest.mark.parametrize("name", ["SynapticIntelligencePlugin", "SynapticIntelligence"])
def test_what_works_on_a_gpu_only(name: str) -> None:
    (part,) = [part for part in PARTS if part.name == name]
    given = classes(part)
    assert refusals(given, task="re") == refusals(given, task="re", device="cuda") == []
    assert len(refusals(given, task="re", device="cpu")) == 1


def test_a_metric_that_measures_for_us_is_still_known() -> None:
    part = next(part for part in METRICS if part.works == NEITHER)
    (problem,) = refusals([Measured(object(), part)])
    assert part.name in problem


def test_parts_of_others_pass(kit: Any) -> None:
    class Mine(SupervisedPlugin):  # type: ignore[type-arg]
        pass

    class Shown(BaseLogger):
        def log_single_metric(self, name: str, value: Any, x_plot: int) -> None:
            pass

    evaluator = continual_evaluator(Shown())
    metrics = list(evaluator.metrics)
    kit.strategy(kit.benchmark("re", 1).labels, Mine(), evaluator=evaluator)
    assert evaluator.metrics == metrics  # not wrapped either


if __name__ == "__main__":
    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
