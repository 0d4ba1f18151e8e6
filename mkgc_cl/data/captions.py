"""Captions in place of images: a JSON lines file with what was written about each image.

{"image": "17_06_1.jpg", "captions": {"blip2": "a man on a stage", "cogvlm": "..."}}
{"image": "17_06_1.jpg", "caption": "a man on a stage"}
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mkgc_cl.data.textfile import TextFile, is_text, read_text, shown, user_path
from mkgc_cl.data.visuals import image_stem
from mkgc_cl.errors import ConfigError, DataError, MissingDataError, gathered

_MAX_LINE = 1_000_000


@dataclass(frozen=True, slots=True)
class Captions:
    """Captions by image.

    Args:
        path: the file.
        digest: short sha256 of its bytes.
        captioner: who wrote them: a key of ``captions``; ``""`` for ``caption``.
        by_stem: captions by the image's name without extension, in lower case.
    """

    path: Path
    digest: str
    captioner: str
    by_stem: Mapping[str, str]

    def of(self, image: str) -> str | None:
        """Return the caption of an image, however its name is spelled; ``None`` without one."""
        return self.by_stem.get(_stem(image))


def read_captions(path: str | Path, captioner: str | None = None) -> Captions:
    """Read the captions that one captioner wrote.

    Args:
        path: the file.
        captioner: which, where the file has several; ``None`` for the only one.

    Raises:
        ConfigError: the file has no such captioner, or several and none was named.
        MissingDataError: there is no such file.
        DataError: every line that is not what the format says.
    """
    text = read_text(user_path(path))
    problems: list[DataError] = []
    rows: list[tuple[int, str, Mapping[str, str]]] = []
    for number, line in enumerate(text.lines, 1):
        if not line.strip():
            continue
        try:
            rows.append((number, *_parsed(line)))
        except _WrongError as error:
            words = f"{error}; correct or remove the line"
            problems.append(DataError(words, path=text.path, line=number))
    name = _captioner(text, Counter(name for *_, own in rows for name in own), captioner)
    by_stem: dict[str, str] = {}
    lines: dict[str, int] = {}
    for number, image, own in rows:
        stem = _stem(image)
        first = lines.setdefault(stem, number)
        if first != number:
            words = f"expected each image once, found {image!r} as in line {first}; remove one"
            problems.append(DataError(words, path=text.path, line=number))
        elif name in own:
            by_stem[stem] = own[name]
    if problems:
        raise gathered(problems)
    return Captions(text.path, text.digest, name, by_stem)


class _WrongError(ValueError):
    """What is wrong with a line."""


def _parsed(line: str) -> tuple[str, dict[str, str]]:
    """Return the image of a line and its captions by captioner."""
    try:
        value: Any = json.loads(line) if len(line) <= _MAX_LINE else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or not ({"caption", "captions"} & value.keys()):
        raise _WrongError(
            f"expected an object with 'image' and 'caption' or 'captions', found {shown(line)}"
        )
    image = value.get("image")
    if isinstance(image, bool) or not isinstance(image, (str, int)) or not str(image):
        raise _WrongError(f"expected the name of an image in 'image', found {shown(image)}")
    found = value["captions"] if "captions" in value else {"": value["caption"]}
    if not isinstance(found, dict) or not all(
        isinstance(words, str) and is_text(words) and is_text(name) for name, words in found.items()
    ):
        raise _WrongError(f"expected captions as text, found {shown(found)}")
    return str(image), found


def _captioner(text: TextFile, counts: Mapping[str, int], wanted: str | None) -> str:
    there = ", ".join(f"{name or '(none)'} ({count:,})" for name, count in counts.items())
    if not counts:
        raise DataError("expected captions, found none; fetch the file again", path=text.path)
    if wanted is None and len(counts) > 1:
        raise ConfigError([f"{text.path}: captions of {there}; give captioner= one of them"])
    if wanted is not None and wanted not in counts:
        raise ConfigError([f"{text.path}: no captions of {wanted!r}; there are those of {there}"])
    return next(iter(counts)) if wanted is None else wanted


def _stem(image: str) -> str:
    return image_stem(image).casefold()


def check_captions(images: str, captions: str | Path | None, captioner: str | None) -> None:
    """Check that captions are named where they are shown, and nowhere else.

    Raises:
        ConfigError: they are not.
        MissingDataError: ``images="captions"`` without a file of them.
    """
    if images == "captions" and captions is None:
        raise MissingDataError('images="captions" needs a file of them; give captions=')
    if images != "captions" and (captions is not None or captioner is not None):
        raise ConfigError(['captions are shown with images="captions" alone; give that, too'])
