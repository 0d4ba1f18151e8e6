"""A corpus from files: which reader a file needs, and all splits with all of their mistakes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mkgc_cl.data.files.conll import Columns, Sentence, scan_conll, scheme_of, tagged_records
from mkgc_cl.data.files.json_lines import JsonFields, scan_json_lines
from mkgc_cl.data.files.records import SPLITS, Account, Record, Split
from mkgc_cl.data.files.schemes import Scheme
from mkgc_cl.data.mre import KEYS as ROW_KEYS
from mkgc_cl.data.mre import parse_row
from mkgc_cl.data.samples import Place, RelationSample, TaskKind
from mkgc_cl.data.textfile import TextFile, read_text
from mkgc_cl.errors import DataError

Format = Literal["conll", "jsonl", "mre"]


@dataclass(frozen=True, slots=True)
class Layout:
    """How the files are written.

    Args:
        format: CoNLL, JSON lines, or rows as those of MNRE; recognized where it is ``None``.
        columns: of CoNLL.
        scheme: of the tags of CoNLL; recognized where it is ``None``.
        fields: of JSON lines.
    """

    format: Format | None
    columns: Columns
    scheme: Scheme | None
    fields: JsonFields


@dataclass(frozen=True, slots=True)
class Corpus:
    """What the files hold.

    Args:
        records: of each split, in order of the files.
        format: how they are written.
        scheme: of their tags, ``None`` where there are none to be recognized.
    """

    records: Mapping[Split, Sequence[Record]]
    format: Format
    scheme: Scheme | None


def read_corpus(
    files: Mapping[Split, Sequence[Path]],
    kind: TaskKind,
    layout: Layout,
    account: Account,
    *,
    name: str,
) -> Corpus:
    """Read every file of every split.

    Args:
        files: of each split.
        kind: what is wanted.
        layout: how they are written.
        account: gets every problem; where there is one, the records are not complete.
        name: of the corpus: a sample's uid is ``{name}/{split}/{id or number}``.

    Raises:
        DataError: files of two formats, or of one that cannot hold what is wanted.
    """
    texts: dict[Split, list[TextFile]] = {split: [] for split in SPLITS}
    for split, paths in files.items():
        for path in paths:
            try:
                texts[split].append(read_text(path))
            except DataError as error:
                account.problems.append(error)
    every = [text for split in SPLITS for text in texts[split]]
    if not every:
        account.raise_problems()
    form = layout.format or _one_format(every)
    if form != "jsonl" and (form == "conll") != (kind == "ner"):
        held = {"ner": "entities", "re": "relations"}
        raise DataError(
            f'expected {held[kind]} (kind="{kind}"), found a file of the format {form}, which '
            f'holds none; give kind="{"ner" if kind == "re" else "re"}" or another file',
            path=every[0].path,
        )
    scheme = None
    records: dict[Split, list[Record]] = {}
    if form == "conll":
        sentences = {
            split: [s for text in texts[split] for s in scan_conll(text, layout.columns, account)]
            for split in SPLITS
        }
        whole: list[Sentence] = [s for split in SPLITS for s in sentences[split]]
        scheme = layout.scheme or scheme_of(whole)
        for split in SPLITS:
            records[split] = tagged_records(sentences[split], scheme, f"{name}/{split}", account)
    else:
        for split in SPLITS:
            found = records[split] = []
            first = 0
            for text in texts[split]:
                prefix = f"{name}/{split}"
                if form == "jsonl":
                    found += scan_json_lines(
                        text, layout.fields, kind, prefix, account, first=first
                    )
                else:
                    found += _scan_rows(text, prefix, account, first=first)
                first += len(text.lines)
            _one_of_each(found, account)
    return Corpus(records, form, scheme)


def _one_format(texts: Sequence[TextFile]) -> Format:
    formats = {text.path: _format(text) for text in texts}
    if len(set(formats.values())) > 1:
        listed = ", ".join(f"{path.name}: {form}" for path, form in formats.items())
        raise DataError(f"expected files of one format, found {listed}; give format=")
    return next(iter(formats.values()))


def _format(text: TextFile) -> Format:
    """Recognize a format by the first line that is not blank."""
    line = next((line.strip() for line in text.lines if line.strip()), "")
    if not (line.startswith("{") and line.endswith("}")):
        return "conll"
    try:
        return "mre" if json.loads(line).keys() == ROW_KEYS else "jsonl"
    except (ValueError, RecursionError):
        return "mre" if line.startswith("{'") else "jsonl"


def _scan_rows(text: TextFile, prefix: str, account: Account, *, first: int) -> list[Record]:
    records = []
    for number, line in enumerate(text.lines, 1):
        if not line.strip():
            continue
        place = Place(text.path, number)
        try:
            row = parse_row(line, uid=f"{prefix}/{first + number - 1}", place=place)
        except ValueError as error:
            account.problems.append(DataError(str(error), path=text.path, line=number))
            continue
        records.append(Record(row.sample, row.image))
    return records


def _one_of_each(records: Sequence[Record], account: Account) -> None:
    """Note ids that are there twice: scores and exemplars are kept by them."""
    first: dict[str, Place | None] = {}
    for record in records:
        sample = record.sample
        if sample.uid in first and sample.place is not None:
            before = first[sample.uid]
            where = "" if before is None else f" (as in {before.path.name}:{before.line})"
            account.problems.append(
                DataError(
                    f"expected each id once in a split, found {sample.uid!r} again{where}; give "
                    "every sample an id of its own, or none",
                    path=sample.place.path,
                    line=sample.place.line,
                )
            )
        first.setdefault(sample.uid, sample.place)


def classes_by_frequency(records: Sequence[Record], negative: str | None) -> Counter[str]:
    """Count the mentions of every entity type, or the samples of every relation but the negative.

    Args:
        records: the samples.
        negative: name of the negative relation.
    """
    counts: Counter[str] = Counter()
    for record in records:
        sample = record.sample
        if isinstance(sample, RelationSample):
            counts[sample.relation] += sample.relation != negative
        else:
            counts.update(tag[2:] for tag in sample.tags if tag[0] == "B")
    return +counts
