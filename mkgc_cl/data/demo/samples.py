"""Drafts of synthetic stream samples: words, typed mentions, an image; nothing hidden yet."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from mkgc_cl.data.demo.images import DrawnImage
from mkgc_cl.data.demo.names import Name, NamePool, split_names
from mkgc_cl.data.demo.templates import CLOSINGS, OPENINGS
from mkgc_cl.errors import DataError

Showing = Literal["shows", "clutter", "misleads"]
Random = np.random.Generator
Item = TypeVar("Item")

MIN_WORDS, MAX_WORDS = 5, 14
_ATTEMPTS = 200


@dataclass(frozen=True, slots=True)
class DemoShares:
    """How often what happens in the synthetic stream; each is a probability.

    Args:
        cued: samples whose words give the sense or the relation away.
        ambiguous: mentions by a name that has other senses too.
        shows: images that show the sense or the relation.
        misleads: images that show another one; the rest (``1 - shows - misleads``) is clutter.
        unseen: mentions in test samples by a name that no training or validation sample has.
        hidden_only: tagging only: training and validation samples in which every entity is of
            another type than the task's, hence hidden. They make the image matter within a task.
        na: relations only: samples of each task without a relation.

    Raises:
        DataError: a share outside [0, 1], or images that show and mislead above 1 together.
    """

    cued: float = 0.55
    ambiguous: float = 0.75
    shows: float = 0.8
    misleads: float = 0.05
    unseen: float = 0.3
    hidden_only: float = 0.25
    na: float = 0.4

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value <= 1:
                raise DataError(f"share {name!r} is {value!r}; give a number from 0 to 1")
        if self.shows + self.misleads > 1:
            raise DataError(
                f"images that show ({self.shows}) and mislead ({self.misleads}) exceed 1 together"
            )
        for name in ("hidden_only", "na"):
            if getattr(self, name) == 1:
                raise DataError(
                    f"share {name!r} is 1, which leaves no sample with a label; lower it"
                )


@dataclass(frozen=True, slots=True)
class Draft:
    """A sample with everything known about it.

    Args:
        tokens: the words.
        spans: slot of the template -> ``(start, end)`` in words, end excluded.
        types: slot of the template -> entity type.
        image: the image.
        showing: what the image does.
        relation: relation of slots ``h`` and ``t``; empty for a tagging sample.
    """

    tokens: tuple[str, ...]
    spans: Mapping[str, tuple[int, int]]
    types: Mapping[str, str]
    image: DrawnImage
    showing: Showing
    relation: str = ""


def pick(rng: Random, items: tuple[Item, ...]) -> Item:
    """Draw one of ``items``."""
    return items[int(rng.integers(len(items)))]


def fill(
    template: str, names: Mapping[str, Name]
) -> tuple[tuple[str, ...], dict[str, tuple[int, int]]]:
    """Put names into the ``{slot}`` words of a template.

    >>> fill("{x} in {LOC} !", {"x": ("Tom", "Weaver"), "LOC": ("Oslo",)})
    (('Tom', 'Weaver', 'in', 'Oslo', '!'), {'x': (0, 2), 'LOC': (3, 4)})
    """
    words: list[str] = []
    spans: dict[str, tuple[int, int]] = {}
    for word in template.split():
        if word.startswith("{"):
            slot = word[1:-1]
            spans[slot] = (len(words), len(words) + len(names[slot]))
            words.extend(names[slot])
        else:
            words.append(word)
    return tuple(words), spans


class Author:
    """What the samples of one stream share: names, shares, and the sentences written so far.

    Args:
        seed: seed of the stream.
        shares: how often what happens.
        image_size: side of the images in pixels.
    """

    def __init__(self, seed: int, *, shares: DemoShares, image_size: int) -> None:
        self.shares = shares
        self.image_size = image_size
        self._known, self._unseen = split_names(seed)
        self._written: set[tuple[str, ...]] = set()

    def names(self, rng: Random, *, types: Mapping[str, str], test: bool) -> dict[str, Name]:
        """Draw a name for each slot; no two slots get the same one."""
        drawn: dict[str, Name] = {}
        for slot, kind in types.items():
            unseen = test and rng.random() < self.shares.unseen
            pool: NamePool = self._unseen if unseen else self._known
            name = pool.draw(rng, kind=kind, ambiguous=self.shares.ambiguous)
            while name in drawn.values():
                name = pool.draw(rng, kind=kind, ambiguous=self.shares.ambiguous)
            drawn[slot] = name
        return drawn

    def trim(self, rng: Random, template: str) -> str:
        """Add an opening to a quarter of the samples and a closing to half of them."""
        opening = pick(rng, OPENINGS) + " " if rng.random() < 0.25 else ""
        closing = " " + pick(rng, CLOSINGS) if rng.random() < 0.5 else ""
        return f"{opening}{template}{closing}"

    def showing(self, rng: Random) -> Showing:
        """Draw what an image does."""
        draw = rng.random()
        if draw < self.shares.shows:
            return "shows"
        return "misleads" if draw < self.shares.shows + self.shares.misleads else "clutter"

    def image(self, rng: Random, kinds: tuple[str, ...]) -> DrawnImage:
        """Return a new image of ``kinds``."""
        return DrawnImage(kinds, int(rng.integers(2**53)), self.image_size)

    def write(self, count: int, draw: Callable[[], Draft | None], *, what: str) -> list[Draft]:
        """Collect ``count`` samples whose sentences no earlier sample of the stream has.

        Args:
            count: number of samples.
            draw: draws one sample, or ``None`` where the draw does not fit.
            what: name of the samples, for the error.

        Raises:
            DataError: the templates do not yield that many different sentences.
        """
        drafts: list[Draft] = []
        misses = 0
        while len(drafts) < count:
            draft = draw()
            if draft is None or not self._is_new(draft.tokens):
                misses += 1
                if misses > _ATTEMPTS:
                    raise DataError(
                        f"after {len(drafts)} of {count} samples for {what} the templates yield "
                        "hardly any new sentence; ask for smaller sizes"
                    )
                continue
            misses = 0
            self._written.add(draft.tokens)
            drafts.append(draft)
        return drafts

    def _is_new(self, tokens: tuple[str, ...]) -> bool:
        return MIN_WORDS <= len(tokens) <= MAX_WORDS and tokens not in self._written


def count_showing(drafts: Collection[Draft]) -> dict[str, int]:
    """Count what the images of ``drafts`` do."""
    kinds: tuple[Showing, ...] = ("shows", "clutter", "misleads")
    return {kind: sum(draft.showing == kind for draft in drafts) for kind in kinds}
