"""What a reader must know before believing or comparing numbers, read off the records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mkgc_cl.results.record import RunRecord

DEMONSTRATION = "SYNTHETIC DATA, not a result on the paper's benchmark"
VALIDATION = "VALIDATION SAMPLES"
DIRTY = "SOURCE WITH UNCOMMITTED CHANGES"
MIXED = "RESULTS FROM DIFFERENT COMMITS"
UNKNOWN = "SOURCE NOT RECORDED"
DIFFERENT = "RUNS OF DIFFERENT CONFIGURATIONS"


def marks(
    records: Sequence[RunRecord], *, own: Sequence[str] = (), vary: bool = False
) -> tuple[str, ...]:
    """Return marks for captions and pages, each a few words in capitals.

    Args:
        records: the records behind the numbers.
        own: as in :func:`different_configs`.
        vary: whether the records are meant to differ in other settings.
    """
    states = [record.provenance.get("git") for record in records]
    found = {
        VALIDATION: any("valid" in record.splits for record in records),
        DEMONSTRATION: any(map(is_synthetic, records)),
        DIRTY: any(dig(state, "dirty") for state in states),
        MIXED: any(state != states[0] for state in states),
        UNKNOWN: not all(states),
        DIFFERENT: not vary and different_configs(records, own),
    }
    return tuple(words for words, is_so in found.items() if is_so)


def images_of(record: RunRecord) -> str:
    """Say whether a record's images are real, blank or drawn, or captions in place of them."""
    if is_synthetic(record):
        return "images drawn"
    keys = ("image_files", "image_files_blank", "samples_without_image")
    counts = [dig(record.provenance, "stream", key) for key in keys]
    files, blank, without = (count if isinstance(count, int) else None for count in counts)
    if files is None or blank is None:
        return "images unknown"
    told = dig(record.provenance, "stream", "captioner")
    what = "images" if told is None else "captions"
    words = ["images real" if told is None else f"captions of {told} in place of images"]
    if blank == files and (files or without):  # of own files there may be none at all
        return f"{what} blank"
    if blank:
        words = [*words[told is None :], f"{blank} of {files} {what} blank"]
    if without:
        words.append(f"none for {without} samples")
    return ", ".join(words)


def origin_words(records: Sequence[RunRecord], marked: Sequence[str]) -> list[str]:
    """Return words for a caption on images, where any is read, and the marks."""
    seen = [record for record in records if record.provenance.get("reads_images", True)]
    images = ["; ".join(dict.fromkeys(map(images_of, seen)))] if seen else []
    return [*images, *marked]


def is_synthetic(record: RunRecord) -> bool:
    """Whether the samples are invented."""
    return bool(dig(record.provenance, "stream", "synthetic stream"))


def different_configs(records: Sequence[RunRecord], own: Sequence[str]) -> bool:
    """Whether two runs differ in a setting that is not one system's own.

    ``own`` are keys of configurations that belong to single systems. They are compared within a
    system; across systems only where they are a number.
    """
    of_system: dict[str, Mapping[str, object]] = {}
    common: dict[str, object] = {}
    for record in records:
        config = record.config
        if of_system.setdefault(record.system, config) != config:
            return True
        for key in own:
            value = config.get(key)
            # a mapping or a word is this one system's; None says that it has no such thing
            if isinstance(value, int | float) and common.setdefault(key, value) != value:
                return True
    shared = [{k: v for k, v in config.items() if k not in own} for config in of_system.values()]
    return any(each != shared[0] for each in shared)


def dig(data: object, *path: str) -> Any:
    """Return ``data[path[0]][path[1]]...``, or ``None`` where the way ends."""
    for key in path:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data
