"""Relations of the relation samples: their types, their images and their sentence templates."""

from __future__ import annotations

from dataclasses import dataclass

NA = "None"
"""Name of the recurring negative relation, as in IMRE."""

_PER, _LOC, _ORG = ("portrait",), ("landscape", "flag"), ("logo",)
_MISC = ("poster", "trophy")


@dataclass(frozen=True, slots=True)
class RelationSpec:
    """What the samples of one relation look like.

    Args:
        types: entity type of the head and of the tail.
        scenes: image kinds that may stand for the head and for the tail in a two-part image.
        cued: templates with ``{h}`` and ``{t}`` whose words give the relation away.
    """

    types: tuple[str, str]
    scenes: tuple[tuple[str, ...], tuple[str, ...]]
    cued: tuple[str, ...]


RELATIONS: dict[str, RelationSpec] = {
    "/per/per/peer": RelationSpec(
        ("PER", "PER"),
        (_PER, _PER),
        (
            "{h} and {t} play on the same side",
            "{h} shares a desk with {t}",
            "{h} and colleague {t} after rehearsal",
            "old school friends {h} and {t}",
            "{h} sings a duet with {t}",
        ),
    ),
    "/per/org/member_of": RelationSpec(
        ("PER", "ORG"),
        (_PER, _ORG),
        (
            "{h} has joined {t} for two seasons",
            "welcome to {t} , {h} !",
            "{h} of {t} spoke to the press",
            "{t} midfielder {h} is fit again",
            "{h} , new board member at {t}",
        ),
    ),
    "/loc/loc/contain": RelationSpec(
        ("LOC", "LOC"),
        (("flag",), ("landscape",)),
        (
            "{t} is a small town in {h}",
            "the road to {t} , south of {h}",
            "{t} , my favourite corner of {h}",
            "touring {h} : today we reach {t}",
            "{h} is more than just {t}",
        ),
    ),
    "/per/misc/present_in": RelationSpec(
        ("PER", "MISC"),
        (_PER, ("poster",)),
        (
            "{h} stars in {t}",
            "{h} plays the villain in {t}",
            "first scene with {h} in {t}",
            "{t} , starring {h}",
            "{h} has a cameo in {t}",
        ),
    ),
    "/org/loc/locate_at": RelationSpec(
        ("ORG", "LOC"),
        (_ORG, _LOC),
        (
            "the {h} headquarters in {t}",
            "{h} opened a new campus in {t}",
            "visited the {h} building in {t}",
            "{t} is home to {h}",
            "{h} , based in {t} since 1990",
        ),
    ),
    "/per/loc/place_of_residence": RelationSpec(
        ("PER", "LOC"),
        (_PER, _LOC),
        (
            "{h} lives in {t} now",
            "{h} bought a house in {t}",
            "{h} , who lives near {t} , waves hello",
            "after ten years in {t} , {h} feels at home",
            "{t} resident {h} feeds the birds",
        ),
    ),
    "/misc/loc/held_on": RelationSpec(
        ("MISC", "LOC"),
        (_MISC, _LOC),
        (
            "the {h} takes place in {t}",
            "{t} hosts the {h} this year",
            "{h} kicks off in {t} tonight",
            "off to {t} for the {h}",
            "{h} live from {t}",
        ),
    ),
    "/org/org/subsidiary": RelationSpec(
        ("ORG", "ORG"),
        (_ORG, _ORG),
        (
            "{t} belongs to {h} now",
            "{h} takes over {t}",
            "{t} , a division of {h}",
            "{h} merges its branch {t}",
            "parent company {h} renames {t}",
        ),
    ),
    "/per/misc/awarded": RelationSpec(
        ("PER", "MISC"),
        (_PER, ("trophy",)),
        (
            "{h} wins the {t}",
            "the {t} goes to {h}",
            "{h} takes home a {t}",
            "congratulations {h} on your {t} award",
            "{h} lifts the {t} at last",
        ),
    ),
    "/misc/misc/part_of": RelationSpec(
        ("MISC", "MISC"),
        (_MISC, _MISC),
        (
            "{h} is the second chapter of {t}",
            "{h} , an episode of {t}",
            "the {h} final closes the {t}",
            "{h} belongs to the {t} series",
            "{t} opens with {h}",
        ),
    ),
}
"""Relation -> its samples, in the default order of arrival."""

NEUTRAL_PAIR: tuple[str, ...] = (
    "{a} and {b} in one picture",
    "{a} x {b} today",
    "{a} + {b} , that is the post",
    "when {a} meets {b}",
    "love {a} , love {b}",
    "this photo : {a} and {b}",
    "{a} with {b} , priceless",
    "{a} / {b} / me",
    "my favourite things : {a} and {b}",
    "another day , another {a} and {b}",
    "{a} ... and {b} !",
    "talking about {a} and {b} again",
    "thank you {a} , thank you {b}",
    "more {a} and {b} please",
)
"""Say nothing about the relation; ``{a}`` and ``{b}`` are head and tail in either order."""

NA_CUED: tuple[str, ...] = (
    "{a} or {b} , which one wins the poll ?",
    "first {a} , then later news about {b}",
    "reading about {a} , forgot about {b}",
    "{a} is trending , so is {b} , no idea why",
    "quiz : spell {a} and {b}",
    "no link between {a} and {b} at all",
    "never mix up {a} and {b}",
)
"""Words that say there is no relation."""
