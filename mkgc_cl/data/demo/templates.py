"""Sentence templates of the tagging samples, and the trimmings every sample may carry.

``{x}`` is the mention the image is about; ``{PER}``, ``{LOC}``, ``{ORG}``, ``{MISC}`` are further
mentions whose type the words give away.
"""

from __future__ import annotations

NEUTRAL: tuple[str, ...] = (
    "all about {x} today",
    "cannot stop thinking about {x}",
    "so much love for {x} tonight",
    "{x} never lets me down",
    "this is why I love {x}",
    "just look at {x} this morning",
    "who else is a fan of {x} ?",
    "{x} is everything right now",
    "big mood : {x}",
    "say what you want about {x}",
    "still not over {x}",
    "{x} , you are beautiful",
    "my whole feed is {x} today",
    "throwback to {x}",
    "best thing about {x} ? go",
    "new photo of {x} !",
    "the story of {x} in one picture",
    "did somebody say {x} ?",
    "{x} made my day",
    "missing {x} so much",
    "a little bit of {x} for you",
    "nothing beats {x} on a Monday",
    "{x} again , greetings from {LOC}",
    "{x} first , then off to work at {ORG}",
)
"""Say nothing about the sense of ``{x}``."""

CUED: dict[str, tuple[str, ...]] = {
    "PER": (
        "happy birthday {x} , hope the cake was good",
        "{x} is the kindest friend I have",
        "{x} got a haircut and looks so young",
        "hugs to my cousin {x}",
        "{x} smiled at me in the corridor",
        "Mr. {x} , our teacher , retires today",
        "get well soon {x} , we miss your jokes",
        "{x} and his sister baked cookies",
        "my neighbour {x} plays the piano",
        "{x} is finally back in {LOC}",
        "{x} starts her new job at {ORG}",
        "{x} sat next to me in class",
    ),
    "LOC": (
        "our flight to {x} lands at noon",
        "sunrise over {x} was worth the climb",
        "it is raining in {x} again",
        "two weeks of hiking around {x}",
        "the streets of {x} are so quiet",
        "moving to {x} in the spring",
        "took the night train to {x}",
        "best beach near {x} ?",
        "the weather in {x} is perfect",
        "{PER} is on holiday in {x}",
        "a map of {x} on my wall",
        "{MISC} comes to {x} next year",
    ),
    "ORG": (
        "{x} just opened a new store downtown",
        "shares of {x} went up again",
        "got a job interview at {x}",
        "{x} scored twice in the second half",
        "season tickets for {x} are on sale",
        "customer service at {x} was very kind",
        "{x} announced a new manager",
        "working late at {x} with the team",
        "{x} hired three hundred engineers",
        "{PER} is an intern at {x}",
        "the {LOC} branch of {x} is hiring",
        "{x} pays its staff on time",
    ),
    "MISC": (
        "watched {x} twice this weekend",
        "got tickets for {x} on opening night",
        "the soundtrack of {x} is stuck in my head",
        "who won the {x} this year ?",
        "season two of {x} starts on Friday",
        "the trailer for {x} is out",
        "reading the reviews of {x} now",
        "nominated for a {x} , unbelievable",
        "my {x} costume is nearly ready",
        "{PER} sang along to {x} all night",
        "queueing for {x} in {LOC}",
        "the last scene of {x} had me in tears",
    ),
}
"""Type -> templates whose words give the type of ``{x}`` away."""

OPENINGS: tuple[str, ...] = (
    "RT @user :",
    "OMG",
    "Good morning ,",
    "ok ,",
    "honestly",
    "well ,",
    "@user",
    "Sunday thoughts :",
)
CLOSINGS: tuple[str, ...] = (
    "lol",
    "#mood",
    "<3",
    "!!",
    "#tbt",
    "haha",
    ":)",
    "#nofilter",
    "http://t.co/x",
    "wow",
)
