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

    Attributes:
        message: the words alone, without the place.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | Path | None = None,
        line: int | None = None,
        sample: str | None = None,
    ) -> None:
        self.message = message
        self.path = None if path is None else Path(path)
        self.line = line
        self.sample = sample
        self._gathered: tuple[DataError, ...] = ()
        place = ""
        if path is not None:
            place = f"{path}:{line}: " if line is not None else f"{path}: "
        if sample is not None:
            place += f"sample {sample}: "
        super().__init__(place + message)

    @property
    def problems(self) -> tuple[DataError, ...]:
        """The mistakes this error tells of: itself, or those that it gathers."""
        return self._gathered or (self,)


class MissingDataError(DataError):
    """A file or folder that the request needs is not there."""


class ImageError(DataError):
    """An image is missing or cannot be decoded."""


#: Mistakes that the message of a gathered error names; it counts the rest.
NAMED_PROBLEMS = 20


def gathered(problems: Sequence[DataError]) -> DataError:
    """Return one error that tells of all ``problems``: the only one, or one of their kind.

    The same mistake counts once. Advice that all of them give, behind the last ``"; "``, is given
    once. Path, line and sample of the error are those of the first.

    Args:
        problems: at least one.
    """
    problems = list({str(problem): problem for problem in problems}.values())
    if len(problems) == 1:
        return problems[0]
    texts = [str(problem) for problem in problems]
    shared = {text.rpartition("; ")[2] for text in texts}
    advice = f"; {shared.pop()}" if len(shared) == 1 else ""
    lines = "".join(f"\n  {text.removesuffix(advice)}" for text in texts[:NAMED_PROBLEMS])
    more = len(problems) - NAMED_PROBLEMS
    rest = (f"\n  ... and {more:,} more" if more > 0 else "") + advice
    kinds = {type(problem) for problem in problems}
    kind = kinds.pop() if len(kinds) == 1 else DataError
    error = kind(f"{len(problems):,} mistakes in the data:{lines}{rest}")
    error._gathered = tuple(problems)
    error.path, error.line, error.sample = problems[0].path, problems[0].line, problems[0].sample
    return error


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


class OutputError(MkgcError, RuntimeError):
    """Results cannot be kept: a folder that is read-only or gone, a full disk."""


class GroupError(MkgcError, RuntimeError):
    """Processes that train together cannot go on: a run has failed in one of them.

    Args:
        reason: what failed.
        traceback: where.
    """

    def __init__(self, reason: str, *, traceback: str = "") -> None:
        self.reason = reason
        self.traceback = traceback
        super().__init__(reason)


class WorkerError(MkgcError, RuntimeError):
    """The process of a run died: killed by the system or by hand, or ended by the run itself."""
