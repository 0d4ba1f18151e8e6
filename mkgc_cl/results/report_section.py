"""What the report says of one experiment, part by part."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from mkgc_cl import plain_yaml
from mkgc_cl.results.config_words import dig, option_notes, setting_words
from mkgc_cl.results.counted import counted, plural
from mkgc_cl.results.figures import draw_curves, draw_matrix
from mkgc_cl.results.markup import Markup, element, folded, joined, row, table
from mkgc_cl.results.record import RunRecord
from mkgc_cl.results.report_folder import Experiment, images_of, marks
from mkgc_cl.results.report_parts import attempt, figure, numbers
from mkgc_cl.results.table_text import Row, Stat, Table
from mkgc_cl.results.tables import build_table
from mkgc_cl.results.undefined import DASH, decimal, mean_defined, undefined_words

_MEASURES: tuple[tuple[Literal["A", "U"], str, str], ...] = (
    ("A", "All tasks seen (A)", "on all tasks seen so far"),
    ("U", "The task just learnt (U)", "on the task just learnt"),
)


def section(experiment: Experiment, *, anchor: str) -> Markup:
    """Build everything about one experiment; a part that cannot be built says why."""
    name = experiment.name
    parts: list[Markup | None] = [element("h2", name, id=anchor), badges(experiment)]
    parts.append(element("p", summary(experiment)))
    builders: list[tuple[str, Callable[[Experiment], Markup]]] = []
    if experiment.failures:
        builders.append(("Failed runs", failed))
    if experiment.damaged:
        builders.append(("Files left out", damaged))
    if experiment.runs:
        builders += [(heading, partial(scores, measure=m)) for m, heading, _ in _MEASURES]
        builders.append(("Forgetting and backward transfer", forgetting))
        builders += [("Figures", figures), ("Runs", provenance)]
    builders.append(("Configuration", configuration))
    folder = experiment.folder
    parts += [attempt(folder, heading, partial(build, experiment)) for heading, build in builders]
    return element("section", joined(parts, "\n"), aria_labelledby=anchor)


def badges(experiment: Experiment) -> Markup | None:
    """Build the marks and the numbers of failures, in words first and in colour second."""
    found = [element("li", text, class_="warn") for text in marks(experiment)]
    images = dict.fromkeys(images_of(record) for record in experiment.records)
    found += [element("li", text.upper(), class_="warn") for text in images if "blank" in text]
    for number, word in (
        (len(experiment.failures), "FAILED"),
        (len(experiment.damaged), "DAMAGED"),
    ):
        if number:
            found.append(element("li", f"{number} {word}", class_="bad"))
    return element("ul", joined(found, " "), class_="badges") if found else None


def summary(experiment: Experiment) -> str:
    """Say in a sentence what was run."""
    records = experiment.records
    if not records:
        return "No run has finished."
    systems = list(dict.fromkeys(record.system for record in records))
    seeds = sorted({record.seed for record in records})
    return (
        f"{records[0].scenario}, order {records[0].order}: "
        f"{counted(len(records), 'finished run')}, {', '.join(systems)}, "
        f"{plural(len(seeds), 'seed')} {', '.join(map(str, seeds))}."
    )


def scores(experiment: Experiment, measure: Literal["A", "U"]) -> Markup:
    """Build the table of A or U as the experiment writes it, the paper's rows where it has them."""
    records = experiment.records
    width = len(records[0].tasks) + 1
    paper = {s: row for s, row in experiment.paper.items() if len(row) == width}
    remarks = setting_words(records) + list(dict.fromkeys(map(images_of, records)))
    of_paper = measure == "A"  # it has no numbers of U
    made = build_table(
        records,
        measure=measure,
        paper=paper if of_paper else None,
        remarks=remarks + marks(experiment),
        notes=[*(experiment.notes if of_paper else ()), *option_notes(records)],
        reference=experiment.reference,
    )
    return numbers(made)


def forgetting(experiment: Experiment) -> Markup:
    """Build the table of what was lost, over all tasks and task by task."""
    groups = _by_system(experiment.records)
    earlier = experiment.records[0].tasks[:-1]
    rows = []
    for system, group in groups.items():
        columns = [[r.forgetting for r in group], [r.backward_transfer for r in group]]
        columns += [list(c) for c in zip(*(r.forgetting_per_task for r in group), strict=True)]
        rows.append(Row(system, tuple(map(Stat.of, columns))))
    caption = [
        "Points of F1, after the last task: mean loss of the earlier tasks against their best "
        "(less is better), their mean change since they were learnt (more is better), then the "
        "loss of each of them. Mean and, over several seeds, sample standard deviation."
    ]
    if undefined := undefined_words(experiment.records):
        caption.append(undefined)
    if not earlier:
        caption.append(f"There is no earlier task, so nothing to be forgotten: {DASH}.")
    names = ("Forgetting", "Backward transfer", *earlier)
    return numbers(Table(" ".join(caption), names, tuple(rows)), best=False)


def figures(experiment: Experiment) -> Markup:
    """Draw curves and heat maps anew, and add what else the experiment drew."""
    records = experiment.records
    curves, maps = [], []
    with tempfile.TemporaryDirectory() as folder:
        for measure, _, what in _MEASURES:
            png, _ = draw_curves(records, Path(folder) / measure, measure=measure)
            alt = f"Line chart: micro-F1 {what} after each task, by system; numbers as in the table"
            curves.append(figure(png, alt, f"{measure}: micro-F1 {what}"))
        for system, group in _by_system(records).items():
            png, _ = draw_matrix(group, Path(folder) / "matrix")
            lines = (
                f"after {task}: {', '.join(_runs(group, number))}"
                for number, task in enumerate(records[0].tasks)
            )
            alt = f"Heat map of {system}, micro-F1 in per cent on each task; {'; '.join(lines)}"
            maps.append(figure(png, alt, f"{system}: each task after each task"))
    for png in sorted(experiment.folder.glob("figures/*.png")):
        if png.stem not in ("A", "U") and not png.stem.startswith("matrix-"):
            words = f"{png.stem}, as the experiment drew it"
            curves.append(figure(png, f"Figure {words}", words))
    groups = ((curves, "figures"), (maps, "figures maps"))
    return joined((element("div", *made, class_=name) for made, name in groups), "\n")


def provenance(experiment: Experiment) -> Markup:
    """Build the table of runs: what made each, and what it cost."""
    made: dict[str, int] = {}  # environments are long and few: each is written once
    header = (
        "System", "Seed", "Final A", "Mean A", "Time (s)", "Peak memory (MB)",
        "Device", "Images", "Commit", "Environment", "Data fingerprint", "File",
    )  # fmt: skip
    rows = []
    for key, record in experiment.runs.items():
        facts = record.provenance
        number = made.setdefault(_environment(facts), len(made) + 1)
        since = facts.get("memory_since", "start of the run")
        runs: list[object] = [
            record.seed,
            decimal(record.A[-1]),
            decimal(mean_defined(record.A)),
            f"{record.seconds:,.1f}",
            "not known"
            if record.peak_memory_mb is None
            else f"{record.peak_memory_mb:,.1f}"
            + ("" if since == "start of the run" else f" since {since}"),
            facts.get("device", "not recorded"),
            images_of(record),
            _commit(facts.get("git")),
            number,
            _code(
                record.config.get("stream_fingerprint")
                or dig(facts, "stream", "fingerprint")
                or "not recorded"
            ),
            _code(f"{key}.json"),
        ]
        rows.append(row(record.system, runs))
    caption = (
        "Every finished run: A after the last task and its mean over tasks (%), what it cost and "
        "what made it; dirty: the source had uncommitted changes."
    )
    environments = [element("li", text) for text in made]
    streams = dict.fromkeys(_yaml(r.provenance.get("stream")) for r in experiment.records)
    return joined(
        [
            table(caption, header, rows, class_="runs"),
            element("p", "Environments:"),
            element("ol", *environments),
            folded("What the data were made from", *(element("pre", text) for text in streams)),
        ]
    )


def failed(experiment: Experiment) -> Markup:
    """Build the list of runs that did not come to their end."""
    parts = []
    for failure in experiment.failures:
        name = f"{failure.get('system', 'unknown system')}, seed {failure.get('seed', 'unknown')}"
        error = failure.get("error", "no error was recorded")
        trace = element("pre", failure.get("traceback", "no traceback was recorded"))
        where = element("p", "From ", _code(failure["file"]), "; the same command tries it again.")
        parts.append(folded(joined([element("b", name), ": ", error]), where, trace))
    return joined(parts, "\n")


def damaged(experiment: Experiment) -> Markup:
    """Build the list of files that hold no record that can be read."""
    lines = [element("li", _code(name), f": {why}") for name, why in experiment.damaged]
    return element("ul", *lines)


def configuration(experiment: Experiment) -> Markup:
    """Show the resolved settings, of the file or else of a run."""
    text = experiment.config
    if text is not None:
        return folded("Settings of the last call, config.yaml", element("pre", text))
    if not experiment.records:
        return element("p", "There is no config.yaml.", class_="problem")
    first = _yaml(experiment.records[0].config)
    return folded("Settings of the first run (there is no config.yaml)", element("pre", first))


def _runs(group: Sequence[RunRecord], number: int) -> Iterator[str]:
    columns = zip(*(record.matrix[number] for record in group), strict=True)
    for column, values in enumerate(columns):
        mean = mean_defined(values)
        if mean is not None or column <= number:  # tasks that are to come are mostly not evaluated
            yield decimal(mean)


def _by_system(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(record.system, []).append(record)
    return groups


def _environment(facts: Mapping[str, Any]) -> str:
    packages = facts.get("packages")
    known = packages.items() if isinstance(packages, dict) else ()
    parts = [f"Python {facts['python']}"] if facts.get("python") else []
    parts += [f"{name} {version}" for name, version in known if version]
    parts += [str(facts["platform"])] if facts.get("platform") else []
    parts += [f"{facts['cpus']} CPUs"] if facts.get("cpus") else []
    # sums of floats depend on how they are split
    parts += [counted(facts["threads"], "thread")] if facts.get("threads") else []
    return ", ".join(parts) or "not recorded"


def _commit(state: object) -> Markup:
    commit = dig(state, "commit")
    if not commit:
        return element("span", "not recorded", class_="warn")
    dirty = element("span", ", dirty", class_="warn") if dig(state, "dirty") else None
    return joined([_code(str(commit)[:10]), dirty])


def _code(text: object) -> Markup:
    return element("code", text)


def _yaml(data: object) -> str:
    return plain_yaml.dump(data)
