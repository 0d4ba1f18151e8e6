"""What every system owes, as a check that anybody can run on a recipe of their own.

>>> check_system("Vanilla", "re")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mkgc_cl.data.samples import TaskKind
from mkgc_cl.errors import ConfigError, MkgcError
from mkgc_cl.strategies.additions import extended
from mkgc_cl.strategies.catalogue import recipe_of
from mkgc_cl.strategies.contract_laws import LAWS
from mkgc_cl.strategies.contract_trial import Trial
from mkgc_cl.strategies.template import MultimodalStrategy
from mkgc_cl.systems import SYSTEMS, named


class ContractError(MkgcError, AssertionError):
    """A system does not keep what every system promises."""


def check_system(
    recipe: Callable[..., MultimodalStrategy] | str,
    kind: TaskKind,
    *,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Run a recipe over two tasks of the synthetic stream, again and again, and look what it does.

    The same seed gives the same weights and another seed others; no later task, not even how many
    classes it has, no evaluation and no draw of anybody else's changes a weight; the memory keeps
    to its budget; a saved model predicts as it did; a run that is killed goes on to the same end; a
    memory of nothing, a class of one sample and a task of N/A alone are handled, or refused
    (:class:`~mkgc_cl.errors.ConfigError` of the budget, :class:`~mkgc_cl.errors.DataError` of the
    task).

    Args:
        recipe: ``recipe(labels, encoders, training, *, own options)``, or the name of a system of
            the tables.
        kind: the task it is run on.
        options: its options by name, as in ``SYSTEM.option=value``; smaller ones make the check
            faster.

    Raises:
        ContractError: naming the promise that is broken, or under which the system fails.
        ConfigError: there is no system of this name, or an option does not fit.
    """
    for check in yield_checks(recipe, kind, options=options):
        check()


def yield_checks(
    recipe: Callable[..., MultimodalStrategy] | str,
    kind: TaskKind,
    *,
    options: Mapping[str, Any] | None = None,
) -> Iterator[Check]:
    """Yield one check per promise, for a test suite that shows which of them is broken.

    >>> checks = list(yield_checks("Vanilla", "re"))
    >>> str(checks[1])
    'vanilla-re-learns_and_stays_finite'

    With pytest: ``@pytest.mark.parametrize("check", yield_checks(mine, "re"), ids=str)``. Nothing
    is trained before a check is called, and what several of them need is trained once.

    Args:
        recipe: as in :func:`check_system`.
        kind: likewise.
        options: likewise.

    Raises:
        ConfigError: there is no system of this name.
    """
    if isinstance(recipe, str):
        info = SYSTEMS[named(recipe, SYSTEMS, "no system")]
        recipe, options = recipe_of(info.name), {**info.options, **(options or {})}
    trial = Trial(extended(recipe), kind, dict(options or {}))
    yield from (Check(trial, law) for law in (can_be_built, *LAWS))


@dataclass(frozen=True)
class Check:
    """One promise of one system: call it.

    Args:
        trial: the system.
        law: the promise.
    """

    trial: Trial
    law: Callable[[Trial], Iterator[str]]

    def __str__(self) -> str:
        return f"{self.trial.name}-{self.trial.kind}-{self.law.__name__}"

    def __call__(self) -> None:
        """Look whether the promise is kept.

        Raises:
            ContractError: it is not; says what was found.
            ConfigError: an option of the system does not fit.
        """
        name = f"{self.trial.name} on {self.trial.kind!r}"
        try:
            complaint = next(self.law(self.trial), None)
        except ContractError:
            raise
        except Exception as error:
            if self.law is can_be_built:
                raise  # an option does not fit: no promise is broken
            promise = str(self.law.__doc__).partition("\n")[0]
            complaint = f"{promise} It fails with {type(error).__name__}: {error}"
            raise ContractError(f"{name}: {complaint}") from error
        if complaint is not None:
            raise ContractError(f"{name}: {complaint}")


def can_be_built(trial: Trial) -> Iterator[str]:
    """A recipe builds a strategy, or says in a ConfigError which option does not fit."""
    try:
        trial.build(trial.stream.labels)
    except ConfigError:
        raise
    except Exception as error:
        raise ContractError(
            f"{trial.name} on {trial.kind!r}: it cannot be built: {type(error).__name__}: {error}"
        ) from error
    yield from ()
