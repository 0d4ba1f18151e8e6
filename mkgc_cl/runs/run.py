"""One run to be made, and what tells it from every other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mkgc_cl.results.run_files import run_key
from mkgc_cl.results.settings import setting_name


@dataclass(frozen=True)
class Run:
    """One run to be made.

    Args:
        system: name of the system.
        scenario: name of the stream.
        order: order of classes or name of the split.
        seed: seed of the run.
        config: every setting that can change the numbers, as plain JSON types. Settings that
            cannot (output folder, quietness, the list of the other seeds) must stay out, or a
            finished run would be run again for nothing.
    """

    system: str
    scenario: str
    order: str
    seed: int
    config: Mapping[str, object] = field(default_factory=dict)

    @property
    def identity(self) -> dict[str, object]:
        """What tells this run from every other."""
        return {
            "system": self.system,
            "scenario": self.scenario,
            "order": self.order,
            "seed": self.seed,
            "config": dict(self.config),
        }

    @property
    def key(self) -> str:
        """Name of the run's files: a digest of :attr:`identity`, the same on every machine."""
        return run_key(self.identity)

    @property
    def setting(self) -> str:
        """Name of a folder for this run and all that differ from it in system or seed only."""
        return setting_name(self.identity)

    @property
    def name(self) -> str:
        """The run in words."""
        return f"{self.system}, {self.order}, seed {self.seed}"
