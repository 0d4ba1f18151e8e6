"""Recipes that learn in closed form."""

from __future__ import annotations

from mkgc_cl.data.samples import LabelSpace
from mkgc_cl.data.tokenizer import MarkerKind
from mkgc_cl.errors import ConfigError
from mkgc_cl.models import FeatureCache, GaussianOptions, GaussianReadout, TextModel
from mkgc_cl.models.gaussian import Background
from mkgc_cl.models.gaussian.options import Covariance, Features, Solve
from mkgc_cl.models.gaussian.solve import Prior
from mkgc_cl.models.images import keep_images
from mkgc_cl.strategies.drift import MovedStatisticsPlugin
from mkgc_cl.strategies.gaussian import GaussianReadoutPlugin
from mkgc_cl.strategies.own_classes import OwnClassesPlugin
from mkgc_cl.strategies.recipe import Encoders, Training, assemble
from mkgc_cl.strategies.recipes_text import text_model
from mkgc_cl.strategies.slow_encoder import SlowEncoderPlugin
from mkgc_cl.strategies.template import MultimodalStrategy


def frozen_gaussian(
    labels: LabelSpace,
    encoders: Encoders,
    training: Training,
    *,
    layers: tuple[int, ...] | None = None,
    markers: MarkerKind = "punctuation",
    shrinkage: float = 0.1,
    prior: Prior = "counts",
    tau: float = 1.0,
    covariance: Covariance = "shared",
    features: Features = "raw",
    random_features: int = 2048,
    bandwidth: float = 1.0,
    solve: Solve = "gaussian",
    background: Background = "read-as-O",
    with_images: bool = False,
    cache: bool = False,
) -> MultimodalStrategy:
    """A frozen encoder under Gaussian classes, as of streaming LDA (Hayes and Kanan, CVPR-W 2020).

    Of ``training`` only what an evaluation takes is used: no task has an epoch.

    Args:
        labels: the stream's classes.
        encoders: the encoders.
        training: how to train.
        layers: whose states are read; by default the last and one or two below it (ours, chosen
            on validation; see ``default_layers``).
        markers: round both entities of a relation: a frozen encoder knows punctuation (Zhou and
            Chen 2022, see ``PretrainedTokenizer``).
        shrinkage: of the covariance (ours; see ``GaussianOptions``).
        prior: of the classes, by their counts (Menon et al. 2021).
        tau: weight of the log prior (Menon et al. 2021).
        covariance: one for all (Hayes and Kanan, see ``GaussianOptions``), or one per class.
        features: as they come (Hayes and Kanan, see ``GaussianOptions``), or random ones.
        random_features: how many (ours; see ``GaussianOptions``).
        bandwidth: of Fourier features (ours; see ``GaussianOptions``).
        solve: Gaussian classes (Hayes and Kanan, see ``GaussianOptions``), or ridge regression.
        background: what words labelled ``O`` teach after the first task (ours, chosen on
            validation; see ``GaussianReadoutPlugin``).
        with_images: read the image, or its caption, by the frozen vision encoder too, and put its
            vector beside the features of the text (ours).
        cache: keep what the encoders say of every sample, and of every image, on disk, for later
            tasks and runs (ours; see ``FeatureCache``).

    Raises:
        ConfigError: the stream shows crops alone, and the vector is that of the whole image.
    """
    if with_images and encoders.images == "crops":
        raise ConfigError(
            ["with_images looks at the whole image; give encoders.images=image or image+crops"]
        )
    options = GaussianOptions(
        shrinkage=shrinkage,
        prior=prior,
        tau=tau,
        covariance=covariance,
        features=features,
        solve=solve,
        random_features=random_features,
        bandwidth=bandwidth,
    )
    beside = encoders.vision if with_images else None
    model = _model(labels, encoders, training.seed, layers, markers, options, beside)
    if cache:
        model.cache = FeatureCache()
        keep_images(model, model.cache)
    plugin = GaussianReadoutPlugin(trained_tasks=0, background=background)
    return assemble(model, training, plugin)


def task_one_gaussian(
    labels: LabelSpace,
    encoders: Encoders,
    training: Training,
    *,
    layers: tuple[int, ...] | None = None,
    markers: MarkerKind = "punctuation",
    shrinkage: float = 0.1,
    background: Background = "read-as-O",
) -> MultimodalStrategy:
    """Fine-tune the encoder on the first task alone, then as of :func:`frozen_gaussian`.

    The first task trains as Vanilla does (tags word by word), and is then read like the others
    (first-session adaptation: Panos et al., ICCV 2023); options as of ``frozen_gaussian``.
    """
    options = GaussianOptions(shrinkage=shrinkage)
    model = _model(labels, encoders, training.seed, layers, markers, options)
    plugin = GaussianReadoutPlugin(trained_tasks=1, background=background)
    return assemble(model, training, plugin)


def slow_gaussian(
    labels: LabelSpace,
    encoders: Encoders,
    training: Training,
    *,
    slow_lr: float = 1e-5,
    bandwidth: float = 0.1,
    layers: tuple[int, ...] | None = None,
    markers: MarkerKind = "punctuation",
    shrinkage: float = 0.1,
    background: Background = "read-as-O",
) -> MultimodalStrategy:
    """An encoder that goes on training slowly, its statistics moved along (Yu et al., CVPR 2020).

    The first task trains as Vanilla does; later ones with the encoder at ``slow_lr``, on the
    cross-entropy of their own classes and N/A alone. Other options as of :func:`frozen_gaussian`.

    Args:
        labels: the stream's classes.
        encoders: the encoders.
        training: how to train.
        slow_lr: the encoder's learning rate after the first task (ours, after Zhang et al. 2023,
            who slow it down).
        bandwidth: of the kernel that moves the means (ours; see ``MovedStatisticsPlugin``).
        layers: options as of ``frozen_gaussian`` (ours).
        markers: likewise (ours).
        shrinkage: likewise (ours).
        background: likewise (ours).
    """
    options = GaussianOptions(shrinkage=shrinkage)
    model = _model(labels, encoders, training.seed, layers, markers, options)
    return assemble(
        model,
        training,
        SlowEncoderPlugin(factor=slow_lr / training.lr),
        OwnClassesPlugin(),
        MovedStatisticsPlugin(bandwidth=bandwidth),
        GaussianReadoutPlugin(trained_tasks=None, background=background),
    )


def _model(
    labels: LabelSpace,
    encoders: Encoders,
    seed: int,
    layers: tuple[int, ...] | None,
    markers: MarkerKind,
    options: GaussianOptions,
    beside: str | None = None,
) -> TextModel:
    model = text_model(
        labels,
        encoders,
        seed,
        tagger="softmax",
        layers=layers,
        markers=markers,
        beside=beside,
        images="captions" if encoders.images == "captions" else "image",
    )
    model.readout = GaussianReadout(
        labels.outputs, width=model.readout_width, options=options, seed=seed
    )
    return model
