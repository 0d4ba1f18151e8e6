"""What the systems make of images and of words: the same stream with one of them taken away.

    python experiments/controls.py --quick                     the synthetic stream, relations
    python experiments/controls.py --quick --task ner
    python experiments/controls.py --data DATA --missing-images error    real samples and images

Shows the mean of U_k, the score on the task just learnt: what a model reads, whatever it forgets
later. By default the four multimodal models that are fine-tuned. Finished runs are kept.
Where most images are blank it asks for --blank-anyway: there is then little to take away.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mkgc_cl.data.images import BLANK
from mkgc_cl.data.samples import TaskStream
from mkgc_cl.errors import ConfigError
from mkgc_cl.experiments.imre import CONFIGS
from mkgc_cl.experiments.pipeline.cli import Script, main
from mkgc_cl.experiments.pipeline.run import Made
from mkgc_cl.experiments.pipeline.settings import CONTROLS, Settings
from mkgc_cl.experiments.pipeline.streams import read_stream
from mkgc_cl.experiments.pipeline.sweep import PLASTICITY, write_sweep

MODELS = ("UMT", "UMGF", "MEGA", "MKGformer")


def variants(settings: Settings, arguments: argparse.Namespace) -> list[Settings]:
    """The settings of every control.

    Raises:
        ConfigError: there are hardly any images that could be taken away.
    """
    if not arguments.blank_anyway:
        check_images(settings)
    return [
        replace(settings, stream=replace(settings.stream, control=control)) for control in CONTROLS
    ]


def finish(made: Sequence[Made], arguments: argparse.Namespace) -> None:
    """Write a sweep of every order."""
    orders = len(made) // len(CONTROLS)
    for order in range(orders):  # every control has all of them
        write_sweep(
            made[order::orders],
            Path(arguments.out) / made[order].settings.name,
            stem=f"controls-{made[order].settings.order}",
            values=[control.replace("-", " ") for control in CONTROLS],
            setting="what is taken away",
            measure=PLASTICITY,
        )


def check_images(settings: Settings) -> None:
    """Refuse a stream where less than half of the samples have an image.

    Samples, and not files as its provenance counts them: one image stands in many samples.

    Raises:
        ConfigError: it is such a stream.
    """
    first = settings.of_each_order()[0]  # the same samples come in every order
    seen, samples = illustrated(read_stream(first.stream, first.encoders.images))
    if 2 * seen < samples:
        raise ConfigError(
            [
                f"only {seen} of {samples} samples have an image, the others are blank: without "
                "images, and with others', they would hardly change; give the folder of images "
                "to --data, --quick for the synthetic stream, or --blank-anyway to run all the same"
            ]
        )


def illustrated(stream: TaskStream) -> tuple[int, int]:
    """Count the samples of a stream that have an image which is not blank, and all."""
    samples = {
        sample.uid: sample.visual
        for task in stream.tasks
        for sample in (*task.train, *task.valid, *task.test)
    }
    blank = {BLANK.key, "|", ""}  # what a key is made of that names no image and has no caption
    return sum(not blank.issuperset(visual.key) for visual in samples.values()), len(samples)


SCRIPT = Script(
    "controls.py",
    str(__doc__),
    configs=CONFIGS,
    scenario="imre",
    default=MODELS,
    more=lambda parser: parser.add_argument(
        "--blank-anyway", action="store_true", help="run even where most images are blank"
    ),
    own={
        "stream.control": f"it runs them all: {', '.join(CONTROLS)}; for one alone give it to "
        "imre.py or imner.py"
    },
    variants=variants,
    finish=finish,
)

if __name__ == "__main__":
    sys.exit(main(SCRIPT))
