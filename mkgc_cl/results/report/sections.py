"""What the report says of each folder, part by part, as plain values for the template."""

from __future__ import annotations

import itertools
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from mkgc_cl import plain_yaml
from mkgc_cl.regular_file import read_regular
from mkgc_cl.results.counted import counted, plural
from mkgc_cl.results.figures import DPI, draw_curves, draw_matrix
from mkgc_cl.results.marks import DEMONSTRATION, dig, images_of
from mkgc_cl.results.record import RunRecord, by_system
from mkgc_cl.results.report.collect import Experiment, read_experiment
from mkgc_cl.results.settings import differences_of
from mkgc_cl.results.table import Table, read_table
from mkgc_cl.results.tables import Measure
from mkgc_cl.results.undefined import decimal, mean_defined

logger = logging.getLogger(__name__)

_ITEM = "- "
_LARGEST_IMAGE = 2**24
"""Bytes of a figure."""
_PNG = b"\x89PNG\r\n\x1a\n"
_HEADINGS: Mapping[Measure, str] = {
    "A": "All tasks seen (A)",
    "U": "The task just learnt (U)",
    "forgetting": "Forgetting and backward transfer",
}
_CURVES: Mapping[Literal["A", "U"], str] = {
    "A": "on all tasks seen so far",
    "U": "on the task just learnt",
}

Part = dict[str, Any]
"""A heading, a kind (a macro of the template, or ``"problem"``) and what that shows."""


@dataclass(frozen=True)
class Entry:
    """A section, and its line in the contents.

    Args:
        name: its heading.
        summary: what is in it, in a sentence, or with ``problem`` why there is nothing.
        state: how far it is, in a few words for the terminal.
        badges: marks of what a reader must know first, each with its class, warn or bad.
    """

    name: str
    summary: str
    state: str = ""
    badges: tuple[tuple[str, str], ...] = ()
    parts: tuple[Part, ...] = ()
    problem: bool = False


def of_folder(folder: Path, name: str) -> Entry:
    """Build the section of one experiment."""
    found = read_experiment(folder)

    def scores(measure: Measure) -> Part:
        return numbers(found.about.table(found.records, measure))

    builders: dict[str, Callable[[], Part]] = {}
    if found.failures:
        builders["Failed runs"] = lambda: {"kind": "failures", "failures": found.failures}
    if found.damaged:
        builders["Files left out"] = lambda: {"kind": "damaged", "files": found.damaged}
    if found.runs:
        builders |= {words: partial(scores, measure) for measure, words in _HEADINGS.items()}
        builders |= {"Figures": partial(figures, found), "Runs": partial(provenance, found)}
    builders["Configuration"] = partial(configuration, found)
    parts = tuple(attempt(folder, words, build) for words, build in builders.items())
    left = _lost(found, "failed", "damaged")
    state = ", ".join([f"{len(found.runs)} finished", *left])
    return Entry(name, _summary(found), state, _badges(found), parts)


def of_sweeps(folder: Path, paths: Sequence[Path], name: str) -> Entry:
    """Build table and figure of every sweep of a name; one that cannot be read says why."""
    marks: dict[str, None] = {}

    def sweep(path: Path) -> Part:
        made = read_table(path)
        marks.update(dict.fromkeys(made.marks))
        png, alt = path.with_suffix(".png"), f"Line chart: {made.caption} Numbers as in the table."
        shown = [_image(png, alt, path.stem)] if png.exists() else []
        return numbers(made) | {"figures": shown}

    parts = tuple(attempt(folder, path.stem, partial(sweep, path)) for path in paths)
    stems = ", ".join(path.stem for path in paths)
    summary = f"{counted(len(paths), 'table')} on several settings or orders: {stems}."
    badges = tuple((mark, "warn") for mark in marks)
    return Entry(name, summary, counted(len(paths), "sweep"), badges, parts)


def of_group(folders: Sequence[Path], name: str) -> Entry:
    """Build the table of the settings in which experiments of one name differ."""
    found = [each for each in map(read_experiment, folders) if each.runs]
    titles = tuple(each.folder.name for each in found)

    def build() -> Part:
        rows = differences_of(*(each.records for each in found)) if len(found) > 1 else {}
        return {"kind": "settings", "titles": titles, "rows": rows}

    summary = f"What tells {counted(len(found), 'folder')} with finished runs from one another."
    part = attempt(folders[0].parent, "Settings", build)
    return Entry(name, summary, counted(len(folders), "setting"), parts=(part,))


def of_nothing(name: str, error: Exception) -> Entry:
    """Say that a folder cannot be shown, and why."""
    why = f"cannot be shown: {type(error).__name__}: {error}"
    return Entry(name, why, why, problem=True)


def attempt(folder: Path, heading: str, build: Callable[[], Part]) -> Part:
    """Build a part below its heading; if that fails, say why in its place."""
    try:
        return {"heading": heading, **build()}
    except Exception as error:  # a part that is odd must not cost the others their place
        logger.warning("%s: %s cannot be shown: %s", folder, heading, error)
        text = f"Cannot be shown: {type(error).__name__}: {error}"
        return {"heading": heading, "kind": "problem", "text": text}


def numbers(made: Table) -> Part:
    """Show a table, and its notes and footnotes below, of which some are items of a list."""
    notes = itertools.groupby((*made.notes, *made.footnotes), key=lambda n: n.startswith(_ITEM))
    grouped = [(items, [note.removeprefix(_ITEM) for note in group]) for items, group in notes]
    # lines here, not in the template: what is odd about them costs this part alone
    lines = list(made.lines())
    return {"kind": "numbers", "table": made, "lines": lines, "figures": [], "notes": grouped}


def figures(experiment: Experiment) -> Part:
    """Draw curves and heat maps anew, and add what else the experiment drew."""
    records, reference = experiment.records, experiment.about.reference
    curves, maps = [], []
    with tempfile.TemporaryDirectory() as folder:
        for measure, what in _CURVES.items():
            place = Path(folder) / measure
            png, _ = draw_curves(records, place, measure=measure, reference=reference, pdf=False)
            alt = f"Line chart: micro-F1 {what} after each task, by system; numbers as in the table"
            curves.append(_image(png, alt, f"{measure}: micro-F1 {what}"))
        for system, group in by_system(records).items():
            png, _ = draw_matrix(group, Path(folder) / "matrix", pdf=False)
            lines = (
                f"after {task}: {', '.join(_entries(group, number))}"
                for number, task in enumerate(records[0].tasks)
            )
            alt = f"Heat map of {system}, micro-F1 in per cent on each task; {'; '.join(lines)}"
            maps.append(_image(png, alt, f"{system}: each task after each task"))
    for png in sorted(experiment.folder.glob("figures/*.png")):
        if png.stem not in _CURVES and not png.stem.startswith("matrix-"):
            words = f"{png.stem}, as the experiment drew it"
            curves.append(_image(png, f"Figure {words}", words))
    return {"kind": "figures", "curves": curves, "maps": maps}


def provenance(experiment: Experiment) -> Part:
    """Show every run: what made it, and what it cost."""
    made: dict[str, int] = {}  # environments are long and few: each is written once
    rows = []
    for key, record in experiment.runs.items():
        facts, memory = record.provenance, record.peak_memory_mb
        since = facts.get("memory_since", "start of the run")
        data = dig(record.config, "stream_fingerprint") or dig(facts, "stream", "fingerprint")
        commit = dig(facts, "git", "commit")
        rows.append(
            {
                "record": record,
                "final": decimal(record.A[-1]),
                "mean": decimal(mean_defined(record.A)),
                "seconds": f"{record.seconds:,.1f}",
                "memory": "not known" if memory is None else f"{memory:,.1f}",
                "since": "" if memory is None or since == "start of the run" else since,
                "images": images_of(record),
                "commit": commit and str(commit)[:10],
                "dirty": bool(dig(facts, "git", "dirty")),
                "environment": made.setdefault(_environment(facts), len(made) + 1),
                "data": data or "not recorded",
                "file": f"{key}.json",
            }
        )
    streams = dict.fromkeys(plain_yaml.dump(r.provenance.get("stream")) for r in experiment.records)
    return {"kind": "runs", "rows": rows, "environments": list(made), "streams": list(streams)}


def configuration(experiment: Experiment) -> Part:
    """Show the resolved settings, of the file or else of a run."""
    text, words = experiment.config, "Settings of the last call, config.yaml"
    if text is None:
        if not experiment.records:
            return {"kind": "problem", "text": "There is no config.yaml."}
        text = plain_yaml.dump(experiment.records[0].config)
        words = "Settings of the first run (there is no config.yaml)"
    return {"kind": "settings_file", "words": words, "text": text}


def _badges(experiment: Experiment) -> tuple[tuple[str, str], ...]:
    """Return the marks and the numbers of failures, in words first and in colour second."""
    records = experiment.records
    found = dict.fromkeys(experiment.about.marks(records))
    if any(str(f.get("scenario", "")).startswith("demo") for f in experiment.failures):
        found[DEMONSTRATION] = None
    images = dict.fromkeys(images_of(record) for record in records)
    warn = [*found, *(text.upper() for text in images if "blank" in text)]
    bad = _lost(experiment, "FAILED", "DAMAGED")
    return (*((text, "warn") for text in warn), *((text, "bad") for text in bad))


def _lost(experiment: Experiment, failed: str, damaged: str) -> list[str]:
    """Count failures and damaged files, where there are any."""
    counts = ((experiment.failures, failed), (experiment.damaged, damaged))
    return [f"{len(lost)} {word}" for lost, word in counts if lost]


def _summary(experiment: Experiment) -> str:
    records = experiment.records
    if not records:
        return "No run has finished."
    seeds = sorted({record.seed for record in records})
    return (
        f"{records[0].scenario}, order {records[0].order}: "
        f"{counted(len(records), 'finished run')}, {', '.join(by_system(records))}, "
        f"{plural(len(seeds), 'seed')} {', '.join(map(str, seeds))}."
    )


def _entries(group: Sequence[RunRecord], number: int) -> Iterator[str]:
    columns = zip(*(record.matrix[number] for record in group), strict=True)
    for column, values in enumerate(columns):
        mean = mean_defined(values)
        if mean is not None or column <= number:  # tasks that are to come are mostly not evaluated
            yield decimal(mean)


def _image(path: Path, alt: str, caption: str) -> dict[str, Any]:
    """Return a PNG image at the size it was drawn for, so that its letters have theirs.

    Raises:
        DataError: the file cannot be read.
        ValueError: it is no PNG image.
    """
    png = read_regular(path, limit=_LARGEST_IMAGE)
    if not png.startswith(_PNG) or len(png) < 24:
        raise ValueError(f"{path.name} is not a PNG image")
    # CSS has 96 pixels an inch; the width stands behind the signature, the length and "IHDR".
    width = int.from_bytes(png[16:20], "big") * 96 // DPI
    return {"png": png, "alt": alt, "caption": caption, "width": width}


def _environment(facts: Mapping[str, Any]) -> str:
    packages = facts.get("packages")
    known = packages.items() if isinstance(packages, dict) else ()
    parts = [
        facts.get("python") and f"Python {facts['python']}",
        *(f"{name} {version}" for name, version in known if version),
        facts.get("platform") and str(facts["platform"]),
        facts.get("cpus") and f"{facts['cpus']} CPUs",
        # sums of floats depend on how they are split
        facts.get("threads") and counted(facts["threads"], "thread"),
    ]
    return ", ".join(filter(None, parts)) or "not recorded"
