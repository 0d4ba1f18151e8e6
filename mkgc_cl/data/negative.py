"""The negative relation: what a file calls a pair of entities without a relation."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from pathlib import Path

from mkgc_cl.errors import DataError

#: Its name in the public files of MNRE.
NEGATIVE = "None"

# Names that public corpora give it, in lower case and without punctuation.
_USUAL = ("none", "na", "norelation", "other", "others", "no", "null", "nil", "negative", "nota")

_NAMED = 30


def require_negative(seen: Collection[str], negative: str, path: Path) -> None:
    """Check that a file has the negative relation; by another name it would be a class to learn.

    Args:
        seen: the relations of the file.
        negative: what it is expected to be called.
        path: the file.

    Raises:
        DataError: it does not occur.
    """
    if negative in seen:
        return
    names = sorted(seen)
    shown = ", ".join(names[:_NAMED]) or "an empty list"
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    likely = _likely(names, negative)
    advice = f"did you mean {likely!r}? give" if likely else "give the name of it:"
    raise DataError(
        f"expected the negative relation {negative!r} (a pair without a relation), found only "
        f"{shown}{more}; {advice} negative={likely or '...'!r}",
        path=path,
    )


def _likely(names: Collection[str], negative: str) -> str:
    """Return the one of ``names`` that means no relation, or is spelled nearly alike."""
    plain = {name: re.sub(r"[^a-z]", "", name.casefold()) for name in names}
    usual = [name for word in _USUAL for name in names if plain[name] == word]
    return next(iter(usual or difflib.get_close_matches(str(negative), names, n=1)), "")
