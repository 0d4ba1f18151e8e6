"""Controls for gradient modulation: its learning rates without its choices.

A run without modulation trains at the full learning rates, a modulated one at lower ones, so what
lies between the two is in part what a lower rate does by itself: averages slow both modalities (see
:func:`~mkgc_cl.objectives.modulation.average`), and without real images the vision stream's score
is little more than how often a label comes. Two controls hold the mean rates of the modulated run:

* ``"same rates"``: text and vision each at the mean of the coefficients that were applied to it in
  the task. Taken away is which *step* is slowed. (With ``schedule="average"`` the method itself
  holds its coefficients from the second task on: the first task's steps are then all that differs,
  and what follows from them.)
* ``"one rate"``: both modalities at the mean of these two. Taken away is also which *modality* is
  slowed, and with it all that could balance them.

The means are measured beforehand, by training the modulated run with the same seed: it is
deterministic, so they are the numbers that its own record holds, and the control needs no record of
another run. A mean over the steps so far would need no second run, but it would follow the batches:
modulation with a memory, and no control.
"""

from __future__ import annotations

from typing import Literal, get_args

from mkgc_cl._checks import one_of, require
from mkgc_cl.objectives.modulation import Coefficients
from mkgc_cl.scenarios.benchmark import KnowledgeBenchmark
from mkgc_cl.strategies.checkpoints import Checkpointing
from mkgc_cl.strategies.modulation import GradientModulationPlugin
from mkgc_cl.strategies.run import go_on
from mkgc_cl.strategies.template import MultimodalStrategy

RateControl = Literal["same rates", "one rate"]


def control_coefficients(
    modulated: MultimodalStrategy,
    benchmark: KnowledgeBenchmark,
    control: RateControl,
    *,
    checkpoint: Checkpointing | None = None,
) -> list[Coefficients]:
    """Train a modulated strategy on a stream and return what its control holds constant.

    Args:
        modulated: a fresh strategy with a :class:`GradientModulationPlugin`; trained afterwards.
        benchmark: the stream; nothing is evaluated.
        control: see the module.
        checkpoint: where checkpoints of that training go; none by default.

    Returns:
        A pair for every task, as ``constant_coefficients`` of the plugin takes them.

    Raises:
        ConfigError: the strategy has no such plugin, or there is no such control.
    """
    plugins = [p for p in modulated.plugins if isinstance(p, GradientModulationPlugin)]
    wrong = []
    if len(plugins) != 1:
        wrong.append(
            f"the strategy has {len(plugins)} GradientModulationPlugins; give it one to control for"
        )
    require(wrong, one_of("control", control, get_args(RateControl)))
    trained = 0 if checkpoint is None else go_on(modulated, benchmark, checkpoint).trained
    for experience in benchmark.train_stream[trained:]:
        modulated.train(experience)
    means = plugins[0].mean_coefficients()
    if control == "same rates":
        return means
    return [Coefficients(*[(mean.text + mean.vision) / 2] * 2) for mean in means]
