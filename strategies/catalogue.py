"""Any system by its name, built in one call; :mod:`mkgc_cl.systems` has the list."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from mkgc_cl.config import fitted
from mkgc_cl.data.samples import LabelSpace
from mkgc_cl.errors import ConfigError
from mkgc_cl.recipe_options import unknown_option
from mkgc_cl.strategies.additions import ADDITIONS, Additions, extended, kinds_of
from mkgc_cl.strategies.recipe import Encoders, Training
from mkgc_cl.strategies.template import MultimodalStrategy
from mkgc_cl.systems import SYSTEMS, named

Recipe = Callable[..., MultimodalStrategy]
"""``recipe(labels, encoders, training, *, own options)`` builds a fresh strategy."""


def build_system(
    name: str,
    labels: LabelSpace,
    *,
    encoders: Encoders,
    training: Training,
    exemplars: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> MultimodalStrategy:
    """Build a system of the tables, ready to train on a stream with these labels.

    Args:
        name: its name in the tables, ``"MSPT"`` or ``"RP-CRE"``, in whatever case.
        labels: the stream's classes.
        encoders: the encoders.
        training: how to train.
        exemplars: of every class, the same for every system that keeps any; by default each keeps
            what its authors kept. N/A is then one class like any other (``na_policy="merge"``),
            whatever the options say: a memory that grows with N/A would not be the same.
            ``exemplars`` among the options is then refused.
        options: its recipe's own options by name, and those that every system has
            (:class:`~mkgc_cl.strategies.additions.Additions`).

    Raises:
        ConfigError: there is no such system, it has no version for this task, or an option is
            unknown or does not fit.
    """
    recipe = recipe_of(name)
    name = named(name, SYSTEMS, "no system")
    if labels.kind not in SYSTEMS[name].tasks:
        raise ConfigError(
            [f"{name} has no version for {labels.kind!r}, only for {list(SYSTEMS[name].tasks)}"]
        )
    given = checked_options(name, options or {})
    known = options_of(recipe)
    given = {**SYSTEMS[name].options, **given}
    if exemplars is not None and "exemplars" in known:
        if "exemplars" in given:
            raise ConfigError(
                [
                    f"{name}: exemplars={given['exemplars']} in its options, beside exemplars="
                    f"{exemplars} for all; leave one out"
                ]
            )
        given = {**given, "exemplars": exemplars, "na_policy": "merge"}
    return extended(recipe)(labels, encoders, training, **given)


def checked_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of a system, of the types that its recipe declares.

    Args:
        name: the system.
        options: as a YAML file gives them.

    Raises:
        ConfigError: there is no such system, or naming every option that it does not have or that
            is of another type.
    """
    recipe = recipe_of(name)
    kinds = {**get_type_hints(Additions), **kinds_of(recipe)}
    known = tuple(dict.fromkeys((*kinds_of(recipe), *ADDITIONS)))
    fit: dict[str, Any] = {}
    wrong = []
    for option, value in options.items():
        if option not in known:
            wrong.append(unknown_option(name, option, known))
            continue
        try:
            fit[option] = fitted(value, kinds.get(option, Any))
        except ConfigError as error:
            wrong += [f"{name}: {option!r} {problem}" for problem in error.problems]
    if wrong:
        raise ConfigError(wrong)
    return fit


def recipe_of(name: str) -> Recipe:
    """Return the recipe of a system.

    Raises:
        ConfigError: there is no such system, or no such function.
    """
    recipe = SYSTEMS[named(name, SYSTEMS, "no system")].recipe
    if callable(recipe):
        return recipe
    module, _, function = recipe.partition(":")
    try:
        found: Recipe = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError([f"the recipe {recipe!r} of {name} cannot be had: {error}"]) from error
    return found


def options_of(recipe: Recipe) -> tuple[str, ...]:
    """Names of a recipe's own options."""
    return tuple(kinds_of(recipe))
