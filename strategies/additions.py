"""Options that every system has: what is put on top of its recipe."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from types import SimpleNamespace
from typing import Any, get_type_hints

from mkgc_cl.errors import ConfigError
from mkgc_cl.models import FeatureCache, GaussianOptions, GaussianReadout
from mkgc_cl.models.branch import GaussianBranch
from mkgc_cl.models.images import keep_images
from mkgc_cl.strategies.completion import CompletedLabelsPlugin
from mkgc_cl.strategies.gaussian import GaussianReadoutPlugin
from mkgc_cl.strategies.interpolation import WeightInterpolationPlugin
from mkgc_cl.strategies.prior import PriorCorrectionPlugin
from mkgc_cl.strategies.recipe import Encoders, Training
from mkgc_cl.strategies.recipes_text import text_model
from mkgc_cl.strategies.template import MultimodalStrategy


@dataclass(frozen=True, slots=True)
class Additions:
    """What is put on top of a recipe; the defaults put nothing.

    Args:
        branch: weight of a Gaussian branch on a frozen encoder, see
            :class:`~mkgc_cl.models.branch.GaussianBranch`; 0 for none.
        branch_shrinkage: of its covariance.
        branch_cache: keep what its encoder says of every sample on disk.
        image_cache: keep what a frozen encoder of images says of every image on disk, for later
            epochs, tasks and runs; of captions likewise.
        prior_correction: tau of :class:`PriorCorrectionPlugin`, for systems with exemplars.
        complete_labels: see :class:`CompletedLabelsPlugin`, for tags and systems with exemplars.
        interpolation: share of a task's own weights, see :class:`WeightInterpolationPlugin`; 1 for
            all of them.
    """

    branch: float = 0.0
    branch_shrinkage: float = 0.1
    branch_cache: bool = False
    image_cache: bool = False
    prior_correction: float = 0.0
    complete_labels: bool = False
    interpolation: float = 1.0

    def put_on(self, strategy: MultimodalStrategy, encoders: Encoders, training: Training) -> None:
        """Put them on a fresh strategy, behind its own plugins.

        Raises:
            ConfigError: one does not fit the system.
        """
        wrong = []
        rehearses = any(hasattr(plugin, "exemplars") for plugin in strategy.plugins)
        for name, asked in (
            ("prior_correction", self.prior_correction > 0),
            ("complete_labels", self.complete_labels),
        ):
            if asked and not rehearses:
                wrong.append(f"{name} is for systems that keep exemplars; leave it out")
        if self.complete_labels and strategy.network.labels.kind == "re":
            wrong.append("complete_labels is for tags, a relation is one label; leave it out")
        if self.branch and isinstance(strategy.network.readout, GaussianReadout):
            wrong.append("branch is for systems without a Gaussian readout; leave it out")
        if self.interpolation != 1 and strategy.network.readout is not None:
            # it would move the encoder that the readout has just been learnt from
            wrong.append("interpolation is for systems that predict by their head; leave it out")
        if self.image_cache and not keep_images(strategy.network, FeatureCache()):
            wrong.append(
                "image_cache is for systems whose encoder of images is frozen; leave it out, for "
                "UMGF give train_vision=false, or for MSPT and MKGformer on whole images freeze "
                "their lowest blocks (encoders.freeze_vision)"
            )
        if wrong:
            raise ConfigError(wrong)
        if self.complete_labels:
            _put(strategy, CompletedLabelsPlugin())
        if self.interpolation != 1:
            _put(strategy, WeightInterpolationPlugin(share=self.interpolation))
        if self.prior_correction:
            PriorCorrectionPlugin.prepare(strategy.network)
            _put(strategy, PriorCorrectionPlugin(tau=self.prior_correction))
        if self.branch:
            self._branch_out(strategy, encoders, training)

    def _branch_out(
        self, strategy: MultimodalStrategy, encoders: Encoders, training: Training
    ) -> None:
        network = strategy.network
        frozen = text_model(
            network.labels,
            encoders,
            training.seed,
            tagger="softmax",
            layers=None,
            markers="punctuation",
        )
        frozen.cache = FeatureCache() if self.branch_cache else None
        gaussian = GaussianReadout(
            network.labels.outputs,
            width=frozen.readout_width,
            options=GaussianOptions(shrinkage=self.branch_shrinkage),
        )
        theirs, mine = (m.processor.tokenizer.marker_ids for m in (network, frozen))
        branch = GaussianBranch(
            frozen, gaussian, weight=self.branch, markers=dict(zip(theirs, mine, strict=True))
        )
        branch.attach(network)
        _put(strategy, GaussianReadoutPlugin(trained_tasks=None))


def _put(strategy: MultimodalStrategy, plugin: Any) -> None:
    """Put a plugin behind the system's own, and before what evaluates."""
    plugins = strategy.plugins
    place = plugins.index(strategy.evaluator) if strategy.evaluator in plugins else len(plugins)
    plugins.insert(place, plugin)


ADDITIONS = tuple(field.name for field in fields(Additions))
"""Names of the options."""


def extended(
    recipe: Callable[..., MultimodalStrategy],
) -> Callable[..., MultimodalStrategy]:
    """Return a recipe that takes these options beside its own, each by its name."""

    @functools.wraps(recipe)
    def build(
        labels: Any, encoders: Encoders, training: Training, **options: Any
    ) -> MultimodalStrategy:
        own = kinds_of(recipe)
        put = {n: options.pop(n) for n in ADDITIONS if n in options and n not in own}
        for argument, kind in _groups(recipe).items():
            there = [field.name for field in fields(kind) if field.name in options]
            if there:
                options[argument] = kind(**{name: options.pop(name) for name in there})
        strategy = recipe(labels, encoders, training, **options)
        Additions(**put).put_on(strategy, encoders, training)
        return strategy

    return build


def kinds_of(recipe: Callable[..., MultimodalStrategy]) -> dict[str, Any]:
    """A recipe's own options, by name, with their types.

    They are its keyword-only arguments; one whose type is a dataclass stands for its fields.
    """
    hints, groups = _hints(recipe), _groups(recipe)
    found: dict[str, Any] = {}
    for name in _keywords(recipe):
        own = get_type_hints(groups[name]) if name in groups else {name: hints.get(name, Any)}
        found.update(own)
    return found


def _groups(recipe: Callable[..., MultimodalStrategy]) -> dict[str, type[Any]]:
    hints = _hints(recipe)
    return {name: hints[name] for name in _keywords(recipe) if is_dataclass(hints.get(name))}


def _hints(recipe: Callable[..., MultimodalStrategy]) -> dict[str, Any]:
    """Types of its arguments but for those whose names only a type checker knows."""
    try:
        return get_type_hints(recipe)
    except TypeError:  # a partial
        return {}
    except NameError:
        known: dict[str, Any] = {}
        names = getattr(inspect.unwrap(recipe), "__globals__", {})
        for one in inspect.signature(recipe).parameters.values():
            if one.annotation is not one.empty:
                alone = SimpleNamespace(__annotations__={one.name: one.annotation})
                with suppress(NameError):
                    known |= get_type_hints(alone, globalns=names)
        return known


def _keywords(recipe: Callable[..., MultimodalStrategy]) -> list[str]:
    parameters = inspect.signature(recipe).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
