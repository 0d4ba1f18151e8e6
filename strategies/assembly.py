"""MSPT assembled on a model: the whole method of the paper, every part a toggle."""

from __future__ import annotations

from collections.abc import Sequence

from avalanche.core import SupervisedPlugin

from mkgc_cl.errors import ConfigError
from mkgc_cl.models import DualStreamModel
from mkgc_cl.strategies.distillation import AttentionDistillationPlugin
from mkgc_cl.strategies.modulation import GradientModulationPlugin
from mkgc_cl.strategies.mspt_options import MSPTOptions
from mkgc_cl.strategies.recipe import Training, assemble
from mkgc_cl.strategies.replay import PrototypeReplayPlugin
from mkgc_cl.strategies.template import MultimodalStrategy


def mspt(
    model: DualStreamModel,
    options: MSPTOptions = MSPTOptions(),  # noqa: B008  # frozen
    training: Training = Training(),  # noqa: B008  # frozen
    *,
    plugins: Sequence[SupervisedPlugin] = (),
) -> MultimodalStrategy:
    """Assemble MSPT (Chen et al., IJCAI 2024) on a dual-stream model.

    >>> from mkgc_cl import DualStreamModel, MSPTOptions, Training, demo
    >>> model = DualStreamModel.build(demo("re").labels)
    >>> mspt(model, MSPTOptions(alpha=0.1), Training(epochs=6, lr=1e-3)).train_epochs
    6

    Args:
        model: the model.
        options: of the method.
        training: how to train; its seed is of every draw of the run but the model's own.
        plugins: what acts beside the method, after its own plugins.

    Raises:
        ConfigError: an option does not fit.
    """
    if options.constant_coefficients is not None and not options.modulation:
        raise ConfigError(
            ["constant_coefficients are applied by modulation, which is off; leave one of them out"]
        )
    own: list[SupervisedPlugin] = [
        GradientModulationPlugin(
            alpha=options.alpha if options.modulation else 0.0,
            target=options.target,
            schedule=options.schedule,
            noise=options.noise,
            constant_coefficients=options.constant_coefficients,
            seed=training.seed,
        )
    ]
    if options.distillation:
        own.append(
            AttentionDistillationPlugin(
                weight=options.ad_weight, axis=options.ad_axis, center=options.ad_center
            )
        )
    if options.memory:
        own.append(
            PrototypeReplayPlugin(
                size=options.exemplars,
                scope=options.memory_scope,
                selection=options.selection,
                na_policy=options.na_policy,
                schedule=options.replay_schedule,
                epochs=options.memory_epochs,
                batch_size=options.memory_batch_size,
                lr_scale=options.memory_lr_scale,
                seed=training.seed,
            )
        )
    return assemble(model, training, *own, *plugins, key_lr=options.key_lr, bias_lr=options.bias_lr)
