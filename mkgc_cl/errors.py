"""One exception tree: every error says what is wrong, where, what was expected and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class MkgcError(Exception):
    """Root of every error this package raises on purpose."""


class DataError(MkgcError, ValueError):
    """A data file or a sample is not what its format says.

    Args:
        message: what was expected, what was found and what to do.
        path: file at fault, if there is one.
        line: 1-based line of that file, if there is one.
        sample: uid of the sample at fault, if there is one.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | Path | None = None,
        line: int | None = None,
        sample: str | None = None,
    ) -> None:
        self.path = None if path is None else Path(path)
        self.line = line
        self.sample = sample
        place = ""
        if path is not None:
            place = f"{path}:{line}: " if line is not None else f"{path}: "
        elif sample is not None:
            place = f"sample {sample}: "
        super().__init__(place + message)


class MissingDataError(DataError):
    """A file or folder that the request needs is not there."""


class ImageError(DataError):
    """An image is missing or cannot be decoded."""


class ConfigError(MkgcError, ValueError):
    """One or more settings are wrong; all of them are reported at once.

    Args:
        problems: one line for each mistake.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"{len(self.problems)} mistake(s) in the configuration:\n{lines}")


class TrainingError(MkgcError, RuntimeError):
    """Training cannot go on (a loss that is not finite, an experience without samples, ...)."""
