"""A readout in closed form: classes as Gaussians over an encoder's features."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mkgc_cl.errors import ConfigError
from mkgc_cl.models.base import ExtractionModel, Readout
from mkgc_cl.models.gaussian.lift import RandomLift
from mkgc_cl.models.gaussian.options import GaussianOptions
from mkgc_cl.models.gaussian.solve import (
    LinearScores,
    QuadraticScores,
    deviations,
    solve_gaussian,
    solve_per_class,
    solve_ridge,
)
from mkgc_cl.models.gaussian.statistics import ClassStatistics
from mkgc_cl.models.heads import UNSEEN_LOGIT
from mkgc_cl.models.output import ModelOutput

FLOOR = UNSEEN_LOGIT / 10
"""Least log posterior of a known class: a tag of no probability is still no breach of grammar."""


class GaussianReadout(Readout):
    """Predict by the posterior of Gaussian classes, learnt from additive statistics.

    Per output (N/A and ``O`` are outputs like any other) a count and a mean, and one scatter within
    all outputs: learning a task adds to them, so task by task gives what all tasks at once give, in
    any order; two readouts can be merged, and samples taken away again. Nothing is trained and no
    sample is kept. Scores need one Cholesky factorization, made when they are asked for.

    Features are standardized by the deviations of all that was learnt, which the statistics hold;
    random features (:class:`RandomLift`) by the first task's.

    It reads ``layer_features`` of a model's output where there are any, else what the head reads:
    ``word_features``, or ``features`` of relations. Before anything is learnt, the head predicts.

    Sources: Hayes and Kanan (CVPR-W 2020) for streams; FeCAM, RanPAC and KLDA as options.

    Attributes:
        temperature: scalar that scores are divided by, 1 until it is fitted on validation
            (:mod:`mkgc_cl.metrics.calibration`). No relation changes by it, only how sure it is.

    Args:
        outputs: names of the outputs, as :attr:`~mkgc_cl.data.samples.LabelSpace.outputs` has them.
        width: F of the features.
        options: see :class:`GaussianOptions`.
        seed: of random features.
    """

    counts: Tensor
    means: Tensor
    scatter: Tensor
    temperature: Tensor

    def __init__(
        self,
        outputs: Sequence[str],
        *,
        width: int,
        options: GaussianOptions | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.outputs = tuple(outputs)
        self.width = width
        self.options = options = GaussianOptions() if options is None else options
        self.lift: RandomLift | None = None
        if options.features != "raw":
            self.lift = RandomLift(
                options.features,
                width=width,
                lifted=options.random_features,
                bandwidth=options.bandwidth,
                seed=seed,
            )
        empty = self.no_samples()
        self.register_buffer("counts", empty.counts)
        self.register_buffer("means", empty.means)
        self.register_buffer("scatter", empty.scatter)
        self.register_buffer("temperature", torch.ones((), dtype=torch.float64))
        self._solved: tuple[object, LinearScores | QuadraticScores] | None = None

    @classmethod
    def of(cls, model: ExtractionModel) -> GaussianReadout:
        """Return the readout of a model, which must be of this kind, or that of its branch.

        Raises:
            ConfigError: it has none, or another one.
        """
        for decision in model.decisions:
            if isinstance(beside := getattr(decision, "gaussian", None), cls):
                return beside
        if not isinstance(model.readout, cls):
            raise ConfigError(
                [
                    f"the model's readout is {type(model.readout).__name__}, the method predicts "
                    "from a GaussianReadout; set model.readout = GaussianReadout("
                    "model.labels.outputs, width=model.readout_width) before training and before a "
                    "saved state is loaded"
                ]
            )
        return model.readout

    @property
    def statistics(self) -> ClassStatistics:
        """What was learnt so far, as it is kept: what changes in it changes here."""
        return ClassStatistics(self.counts, self.means, self.scatter)

    @property
    def taught(self) -> bool:
        """Whether anything was learnt."""
        return bool(self.statistics.known.any())

    @property
    def standardized(self) -> bool:
        """Whether features can be learnt one by one; random ones need :meth:`standardize` first."""
        return self.lift is None or bool(self.lift.ready)

    def standardize(self, features: Tensor) -> None:
        """Take the first task's features (N, F) as the standard of random features, for good.

        Raises:
            ConfigError: there is one already, or none is needed; or features of another width.
        """
        self._check_width(features)
        if self.lift is None:
            raise ConfigError(["only random features are standardized by the first task"])
        self.lift.standardize(features.reshape(-1, self.width))

    def no_samples(self) -> ClassStatistics:
        """Statistics of no sample, to be filled with :meth:`lifted` features and learnt at once."""
        options = self.options
        lifted = self.width if options.features == "raw" else options.random_features
        device = self.counts.device if hasattr(self, "counts") else "cpu"
        return ClassStatistics.empty(
            len(self.outputs), lifted, per_class=options.covariance == "class", device=device
        )

    def lifted(self, features: Tensor) -> Tensor:
        """What statistics are taken of: features (..., F), or random features of them (..., D).

        Raises:
            ConfigError: features of another width, or not :attr:`standardized`.
        """
        self._check_width(features)
        if self.lift is None:
            return features
        if not self.standardized:
            raise ConfigError(["random features need a standard first; call standardize()"])
        found: Tensor = self.lift(features)
        return found

    def add(self, features: Tensor, labels: Tensor, weights: Tensor | None = None) -> None:
        """Learn samples: features (N, F), outputs (N,), weights (N,); see :class:`ClassStatistics`.

        The first ones are the standard of random features, if none was given.

        Raises:
            ConfigError: features of another width.
            DataError: a feature is not finite, or a label is no output.
        """
        if not self.standardized:
            self.standardize(features)
        self.statistics.add(self.lifted(features), labels, weights)

    def remove(self, features: Tensor, labels: Tensor, weights: Tensor | None = None) -> None:
        """Unlearn samples, as if they had never been added with these weights.

        Raises:
            ConfigError: features of another width.
            DataError: more of an output is taken away than was learnt.
        """
        self.statistics.remove(self.lifted(features), labels, weights)

    def copied(self) -> GaussianReadout:
        """Return one that has learnt the same and learns on by itself; what is solved stays so."""
        made = copy.deepcopy(self)
        if self._solved is not None and self._solved[0] == self._present():
            made._solved = (made._present(), self._solved[1])
        return made

    def relabeled(
        self, outputs: Sequence[str], renamed: Mapping[str, str] | None = None
    ) -> GaussianReadout:
        """Return a readout of other outputs that has learnt the same samples.

        Outputs keep what they learnt by name. More of them make room for new classes; two that
        become one are as good as labelled so from the start.

        Args:
            outputs: names of its outputs.
            renamed: new names of present outputs, where they change.

        Raises:
            ConfigError: an output that has learnt something has no place among the new ones.
        """
        names = [(renamed or {}).get(name, name) for name in self.outputs]
        lost = [
            f"output {old!r} has learnt samples and has no place among {list(outputs)}"
            for old, name, known in zip(self.outputs, names, self.statistics.known, strict=True)
            if known and name not in outputs
        ]
        if lost:
            raise ConfigError(lost)
        made = GaussianReadout(outputs, width=self.width, options=self.options)
        if made.lift is not None and self.lift is not None:
            made.lift.load_state_dict(self.lift.state_dict())
        place = {name: index for index, name in enumerate(outputs)}
        made.statistics.merge_as(self.statistics, [place.get(name, 0) for name in names])
        made.temperature.copy_(self.temperature)
        return made.to(self.counts.device)

    def merge(self, other: GaussianReadout) -> None:
        """Learn what another readout learnt, as good as all of its samples; outputs join by name.

        Raises:
            ConfigError: it was learnt with other features, or has outputs that this one lacks.
        """
        self.statistics.merge(self._aligned(other))

    def subtract(self, other: GaussianReadout) -> None:
        """Unlearn what another readout learnt.

        Raises:
            ConfigError: it was learnt with other features, or has outputs that this one lacks.
            DataError: more of an output is taken away than was learnt.
        """
        self.statistics.subtract(self._aligned(other))

    @torch.no_grad()
    def log_posterior(self, features: Tensor) -> Tensor:
        """Log probability of every output given features (..., F): (..., C), in double precision.

        Outputs without a sample are masked. With ridge regression it orders the outputs alone.

        Raises:
            ConfigError: features of another width, or a covariance that is singular.
        """
        return self.posterior_of(self.solution().scores(self.lifted(features)))

    def posterior_of(self, scores: Tensor) -> Tensor:
        """Log posterior (..., C) of the scores (..., K) of known outputs; see :meth:`solution`."""
        # normalized over what is known: a score far below the mask would lose to it
        own = (scores / self.temperature).log_softmax(dim=-1).clamp(min=FLOOR)
        found = own.new_full((*own.shape[:-1], len(self.outputs)), UNSEEN_LOGIT)
        found[..., self.statistics.known] = own
        return found

    def forward(self, output: ModelOutput) -> Tensor:
        """Score a batch: log posteriors (B, C) of samples or (B, W, C) of words."""
        if not self.taught:
            return output.logits
        return self.log_posterior(self.read(output))

    @staticmethod
    def read(output: ModelOutput) -> Tensor:
        """The features of a batch that count: (B, F), or (B, W, F) of words."""
        if output.layer_features is not None:
            return output.layer_features
        return output.features if output.word_features is None else output.word_features

    def solution(self) -> LinearScores | QuadraticScores:
        """Scores of the present statistics, solved anew only when these have changed."""
        now = self._present()
        if self._solved is None or self._solved[0] != now:
            self._solved = (now, self._solve())
        return self._solved[1]

    def _present(self) -> object:
        """What tells the present statistics from others, whoever changed them."""
        kept = (self.counts, self.means, self.scatter)
        # a loaded state or another device too: each shows in one of the two
        return tuple((tensor.data_ptr(), tensor._version) for tensor in kept)

    def _solve(self) -> LinearScores | QuadraticScores:
        options, statistics = self.options, self.statistics
        scale = deviations(statistics)
        if options.solve == "ridge":
            return solve_ridge(statistics, shrinkage=options.shrinkage, scale=scale)
        solve = solve_per_class if options.covariance == "class" else solve_gaussian
        return solve(
            statistics,
            shrinkage=options.shrinkage,
            scale=scale,
            prior=options.prior,
            tau=options.tau,
        )

    def _aligned(self, other: GaussianReadout) -> ClassStatistics:
        """Statistics of another readout with the outputs of this one."""
        wrong = [f"it has an output {n!r}" for n in other.outputs if n not in self.outputs]
        if self.width != other.width:
            wrong.append(f"its features are {other.width} wide, these {self.width}")
        same = ("features", "covariance", "random_features", "bandwidth")
        wrong += [
            f"its option {name} is {getattr(other.options, name)!r}, here "
            f"{getattr(self.options, name)!r}"
            for name in same
            if getattr(other.options, name) != getattr(self.options, name)
        ]
        if not wrong and self.lift is not None and other.lift is not None:
            mine, theirs = self.lift.state_dict(), other.lift.state_dict()
            if not all(torch.equal(mine[name], theirs[name].to(mine[name])) for name in mine):
                wrong.append("its random features have another seed or another first task")
        if wrong:
            raise ConfigError([f"the other readout does not fit: {problem}" for problem in wrong])
        index = [self.outputs.index(name) for name in other.outputs]
        found = self.no_samples()
        found.counts[index] = other.counts.to(found.counts)
        found.means[index] = other.means.to(found.means)
        found.scatter[index if found.per_class else [0]] = other.scatter.to(found.scatter)
        return found

    def _check_width(self, features: Tensor) -> None:
        if features.shape[-1] != self.width:
            raise ConfigError(
                [
                    f"features {tuple(features.shape)} for a readout of width {self.width}; build "
                    "it with width=model.readout_width, and read a model in evaluation mode"
                ]
            )
