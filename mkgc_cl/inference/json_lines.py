"""Records and texts in files of the command line: JSON lines, tagged sentences, plain text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from mkgc_cl.data.textfile import read_text, shown
from mkgc_cl.errors import DataError, gathered

LONGEST = 10_000_000
"""Most characters of a line that is read from a stream."""


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read samples to learn: JSON, a record a line or a list of them, or BIO tags, a word a line.

    Sentences of a BIO file are set apart by blank lines; a word and its tag by a tab or a blank.
    What CoNLL files say of documents (``-DOCSTART-``) is no sentence.

    Raises:
        MissingDataError: there is no such file.
        DataError: naming every line that is malformed.
    """
    lines = read_text(path).lines
    if path.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        if lines and lines[0].lstrip().startswith("["):
            return _listed("\n".join(lines), path)
        return list(parse_lines(lines, path=path))
    return _tagged(lines, path)


def parse_lines(lines: Iterable[str], *, path: Path, first: int = 1) -> Iterator[dict[str, Any]]:
    """Parse JSON lines, blank ones aside; the first of them is line ``first`` of its file.

    Raises:
        DataError: naming every line that is no JSON object, at the end.
    """
    problems = []
    for number, line in enumerate(lines, first):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.append(DataError(f"expected JSON ({error})", path=path, line=number))
            continue
        if isinstance(record, dict):
            yield {"uid": f"{path.name}:{number}", **record}
        else:
            found = f"expected a JSON object, found {shown(record)}"
            problems.append(DataError(found, path=path, line=number))
    if problems:
        raise gathered(problems)


def read_stream(file: IO[str], *, name: str) -> Iterator[dict[str, Any]]:
    """Texts of an open file, a line each: JSON objects, or plain text; one at a time.

    Raises:
        DataError: a line is longer than :data:`LONGEST`, or begins as JSON and is none.
    """
    for number, text in text_lines(file, name=name):
        yield record_of(text, number, name=name)


def text_lines(file: IO[str], *, name: str, first: int = 1) -> Iterator[tuple[int, str]]:
    """Yield the lines that hold something, with their numbers, and read none ahead.

    Args:
        file: open where its line ``first`` begins.
        name: of the file, for messages.
        first: 1-based number of the next line.

    Raises:
        DataError: a line is longer than :data:`LONGEST`.
    """
    number = first - 1
    while line := file.readline(LONGEST + 1):
        number += 1
        if len(line) > LONGEST:
            raise DataError(f"a line of more than {LONGEST:,} characters", path=name, line=number)
        text = line.removeprefix("\ufeff").strip() if number == 1 else line.strip()
        if text:
            yield number, text


def record_of(text: str, number: int, *, name: str) -> dict[str, Any]:
    """Read a line that holds something: a JSON object, or plain text.

    Raises:
        DataError: it begins as JSON and is none.
    """
    if text.startswith("{"):
        return next(parse_lines([text], path=Path(name), first=number))
    return {"uid": f"{name}:{number}", "text": text}


def _listed(text: str, path: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"expected JSON ({error})", path=path) from error
    wrong = [record for record in found if not isinstance(record, dict)]
    if wrong:
        raise DataError(f"expected JSON objects, found {shown(wrong[0])}", path=path)
    return [{"uid": f"{path.name}:{number}", **one} for number, one in enumerate(found, 1)]


def _tagged(lines: Iterable[str], path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    problems = []
    tokens: list[str] = []
    tags: list[str] = []
    start = 0
    for number, line in enumerate([*lines, ""], 1):
        if line.strip() and not line.startswith(("IMGID:", "-DOCSTART-")):
            parts = line.split("\t") if "\t" in line else line.split()
            if len(parts) < 2:
                problems.append(
                    DataError(
                        f"expected a word and a tag, found {shown(line)}", path=path, line=number
                    )
                )
                continue
            start = start or number
            tokens.append(parts[0])
            tags.append(parts[-1].strip())
        elif tokens:
            found.append({"uid": f"{path.name}:{start}", "tokens": tokens, "tags": tags})
            tokens, tags, start = [], [], 0
    if problems:
        raise gathered(problems)
    return found
