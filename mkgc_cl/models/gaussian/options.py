"""Options of a Gaussian readout, each declared here alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from mkgc_cl.errors import ConfigError
from mkgc_cl.models.gaussian.solve import Prior

Covariance = Literal["shared", "class"]
Features = Literal["raw", "relu", "rbf"]
Solve = Literal["gaussian", "ridge"]


@dataclass(frozen=True, slots=True)
class GaussianOptions:
    """How a :class:`~mkgc_cl.models.gaussian.GaussianReadout` turns statistics into scores.

    Args:
        shrinkage: s, of the covariance towards a multiple of the identity, 0 to 1. The wider the
            features, the more of it; choose it on validation.
        prior: of the classes: their counts, or the same for all.
        tau: weight of the log prior.
        covariance: one of all classes (linear), or one of each (quadratic; C D^2 numbers).
        features: as they come, or random features of them (:class:`RandomLift`).
        solve: Gaussian classes, or ridge regression on one-hot targets, which has no prior.
        random_features: how many, for ``"relu"`` and ``"rbf"``.
        bandwidth: of ``"rbf"``, in standard deviations of a feature.

    Raises:
        ConfigError: naming every option that is out of its range, or does not go with another.
    """

    shrinkage: float = 0.1
    prior: Prior = "counts"
    tau: float = 1.0
    covariance: Covariance = "shared"
    features: Features = "raw"
    solve: Solve = "gaussian"
    random_features: int = 2048
    bandwidth: float = 1.0

    def __post_init__(self) -> None:
        choices = {"prior": Prior, "covariance": Covariance, "features": Features, "solve": Solve}
        wrong = [
            f"{name}={getattr(self, name)!r}; choose one of {list(get_args(kind))}"
            for name, kind in choices.items()
            if getattr(self, name) not in get_args(kind)
        ]
        if not 0 <= self.shrinkage <= 1:
            wrong.append(f"shrinkage={self.shrinkage}; give 0 to 1")
        if self.tau < 0:
            wrong.append(f"tau={self.tau}; give 0 or more")
        if self.random_features < 1:
            wrong.append(f"random_features={self.random_features}; give 1 or more")
        if not self.bandwidth > 0:
            wrong.append(f"bandwidth={self.bandwidth}; give more than 0")
        if self.solve == "ridge" and self.covariance == "class":
            wrong.append("solve='ridge' has no covariance of a class; use covariance='shared'")
        if wrong:
            raise ConfigError(wrong)
