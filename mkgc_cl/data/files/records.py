"""What a reader of own files hands over, and its account of what it could not keep as it was."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from mkgc_cl.data.mre import is_file_name
from mkgc_cl.data.samples import Sample
from mkgc_cl.data.textfile import shown
from mkgc_cl.errors import ConfigError, DataError, gathered

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")

#: What may be mended on request, and what that means.
REPAIRS = {
    "conlleval": "tags that break their scheme are read as conlleval reads them",
    "widen": "a span that begins or ends within a word takes in the whole word",
    "outermost": "of entities that overlap the longest is kept",
}


@dataclass(frozen=True, slots=True)
class Record:
    """A sample as it stands in a file.

    Args:
        sample: the sample, without images.
        image: name of its image, with or without extension; ``None`` where it has none.
        grounding: names of its crops of noun phrases.
        detected: names of its crops of objects.
    """

    sample: Sample
    image: str | None = None
    grounding: tuple[str, ...] = ()
    detected: tuple[str, ...] = ()


def image_problem(name: str) -> str | None:
    """Say why a name names no image inside a folder, ``None`` where it does.

    >>> image_problem("2017/17_06.jpg"), image_problem("../secret.jpg")
    (None, "expected the name of an image inside its folder, found '../secret.jpg'")
    """
    parts = name.replace("\\", "/").split("/")
    if all(is_file_name(part) for part in parts):
        return None
    return f"expected the name of an image inside its folder, found {shown(name)}"


@dataclass(slots=True)
class Account:
    """What reading found.

    Args:
        repairs: names of :data:`REPAIRS` that were asked for.

    Attributes:
        problems: every mistake, with file and line.
        repaired: how often each repair changed something.
        left_out: what the files hold and the stream does not, by its description.

    Raises:
        ConfigError: a repair there is not.
    """

    repairs: frozenset[str] = frozenset()
    problems: list[DataError] = field(default_factory=list)
    repaired: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        unknown = sorted(self.repairs - set(REPAIRS))
        if unknown:
            raise ConfigError([f"repair must be among {', '.join(REPAIRS)}; found {unknown[0]!r}"])

    def repair(self, name: str, problem: DataError) -> None:
        """Count a repair that was asked for, or note the problem and name the option."""
        if name in self.repairs:
            self.repaired[name] += 1
            return
        self.problems.append(
            DataError(
                f"{problem.message}; correct it or give repair={name!r} ({REPAIRS[name]})",
                path=problem.path,
                line=problem.line,
            )
        )

    def raise_problems(self) -> None:
        """Raise what was found wrong, all at once.

        Raises:
            DataError: there is something.
        """
        if self.problems:
            raise gathered(self.problems)
