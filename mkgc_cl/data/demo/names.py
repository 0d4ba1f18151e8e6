"""Names of the synthetic stream samples, with the senses each of them has.

The names are real words that do name several things (a person, a place, an organisation, a film, a
prize, ...). The samples made from them are invented and state no fact about any of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mkgc_cl.seeds import derive

TYPES = ("PER", "LOC", "ORG", "MISC")
"""Entity types, named as in Twitter-2017."""

HELD_OUT = 0.2
"""Share of the names that only test samples may use."""

_P, _L, _O, _M = TYPES

_BY_SENSES: dict[tuple[str, ...], str] = {
    (_P, _L): "Madison|Sydney|Adelaide|Savannah|Cheyenne|Van Buren",
    (_P, _O): "Dell|Disney|Chanel|Prada|Wendy|Barclay|Nike",
    (_P, _M): "Oscar|Emmy|Tony|Macbeth|Carmen|Matilda|Bon Jovi",
    (_L, _O): "Amazon|Santander|Barcelona|Liverpool|Toronto|Los Angeles|San Jose",
    (_L, _M): "Casablanca|Glastonbury|Kentucky|Oklahoma|El Dorado|New Amsterdam",
    (_O, _M): "Jaguar|Galaxy|Rangers|Wolves|Beetle|Polaroid|Royal Oak",
    (_P, _L, _O): "Washington|Chelsea|Houston|Carolina|Charlotte|Orlando|Georgia|Virginia|Everton"
    "|Milan|Valencia|Saint Laurent",
    (_P, _L, _M): "Jordan|Paris|Brooklyn|Hamilton|Troy|Florence|Victoria|Sundance",
    (_P, _O, _M): "Tesla|Ferrari|Mercedes|Apollo|Atlas|Ryder",
    (_L, _O, _M): "Boston|Chicago|Kansas|Roma|Derby|Reading|Wimbledon|Saturn|Santa Fe",
    TYPES: "Dallas|Lincoln|Phoenix|Austin|Mercury|Stanley|Fargo|Davis",
}

_UNAMBIGUOUS: dict[str, str] = {
    _P: "Anna|Kevin|Priya|Thomas|Omar|Lucy|Daniel|Sofia|Emily|Pedro|Hannah Ito|Mateo Okafor"
    "|Ines Novak|Tom Weaver|Clara Berg",
    _L: "Tokyo|Norway|Kenya|Berlin|Lisbon|Iceland|Peru|Oslo|Nairobi|Vietnam|Lake Como|Hong Kong"
    "|New Zealand|Cape Town|Costa Rica",
    _O: "NASA|Google|Nintendo|UNICEF|Toyota|BBC|Spotify|IKEA|Lufthansa|Nokia|Red Cross|FC Porto"
    "|Manchester United|New York Times|Air Canada",
    _M: "Oscars|Grammys|Pokemon|Minecraft|Eurovision|Olympics|Tetris|Star Wars|World Cup"
    "|Super Bowl|Star Trek|Comic Con|Tour de France|Game of Thrones|Nobel Prize",
}

Name = tuple[str, ...]
"""The words of a name."""


def _split(text: str) -> tuple[Name, ...]:
    return tuple(tuple(name.split()) for name in text.split("|"))


AMBIGUOUS: dict[Name, tuple[str, ...]] = {
    name: senses for senses, text in _BY_SENSES.items() for name in _split(text)
}
"""Name -> its two to four senses."""

UNAMBIGUOUS: dict[str, tuple[Name, ...]] = {kind: _split(t) for kind, t in _UNAMBIGUOUS.items()}
"""Type -> names that are only of this type."""


@dataclass(frozen=True, slots=True)
class NamePool:
    """The names some samples may use.

    Args:
        ambiguous: type -> names that have this sense among others.
        unambiguous: type -> names of this type only.
    """

    ambiguous: dict[str, tuple[Name, ...]]
    unambiguous: dict[str, tuple[Name, ...]]

    def draw(self, rng: np.random.Generator, *, kind: str, ambiguous: float) -> Name:
        """Draw a name of type ``kind``; with probability ``ambiguous`` it has other senses too."""
        pool = self.ambiguous if rng.random() < ambiguous else self.unambiguous
        names = pool[kind]
        return names[int(rng.integers(len(names)))]


def _pool(ambiguous: Iterable[Name], unambiguous: dict[str, tuple[Name, ...]]) -> NamePool:
    names = tuple(ambiguous)
    by_type = {kind: tuple(n for n in names if kind in AMBIGUOUS[n]) for kind in TYPES}
    return NamePool(ambiguous=by_type, unambiguous=unambiguous)


def split_names(seed: int) -> tuple[NamePool, NamePool]:
    """Part the names into those of every split and those that only test samples use.

    Args:
        seed: seed of the stream.

    Returns:
        The known names and the held-out names: disjoint, about ``HELD_OUT`` of all in the second.
    """
    rng = np.random.default_rng(derive(seed, "demo/names"))

    def part(names: tuple[Name, ...]) -> tuple[tuple[Name, ...], tuple[Name, ...]]:
        count = round(HELD_OUT * len(names))
        held = {int(index) for index in rng.permutation(len(names))[:count]}
        return (
            tuple(name for index, name in enumerate(names) if index not in held),
            tuple(name for index, name in enumerate(names) if index in held),
        )

    # Parted within each set of senses, so that every type keeps several names on both sides.
    groups = [part(_split(text)) for text in _BY_SENSES.values()]
    parted = {kind: part(UNAMBIGUOUS[kind]) for kind in TYPES}
    known, unseen = (
        _pool(
            (name for group in groups for name in group[side]),
            {kind: both[side] for kind, both in parted.items()},
        )
        for side in (0, 1)
    )
    return known, unseen
