"""What an experiment writes: tables beside the paper's, figures, configuration, captions."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from mkgc_cl._files import write_atomic
from mkgc_cl.config import dump
from mkgc_cl.experiments.pipeline.plan import Plan, Row, options_of
from mkgc_cl.experiments.pipeline.settings import Settings, StreamSettings
from mkgc_cl.results import About, RunRecord, write_about, write_results
from mkgc_cl.results.counted import counted
from mkgc_cl.results.figures import draw_gamma
from mkgc_cl.results.json_files import to_json
from mkgc_cl.results.writing import written_to
from mkgc_cl.systems import SYSTEMS

OWN = ("options", "exemplars", "system", "rates", "origin")
"""Keys of configurations that belong to single rows."""

RULES = {
    "keep-all-mentions": "SENTENCES IN EVERY TASK THAT THEY HAVE AN ENTITY FOR",
    "complete": "COMPLETE LABELS: no entity of an earlier task is hidden",
}
"""What a caption says of ``stream.rule``."""


def write_setup(plan: Plan, made_by: Mapping[str, object], *, command: Sequence[str]) -> None:
    """Write configuration, environment and what the tables say, before anything runs.

    Raises:
        OutputError: they cannot be written.
    """
    # a byte of the command line that is not UTF-8 is spelled out
    line = shlex.join(command).encode("utf-8", "backslashreplace").decode()
    out = plan.target
    with written_to(out):
        write_atomic(out / "config.yaml", f"# resolved from: {line}\n{dump(plan.settings)}")
        write_atomic(out / "env.json", to_json({**made_by, "command": line}))
        write_about(out, about(plan, plan.settings.systems, ()))


def write_report(plan: Plan, records: Sequence[RunRecord]) -> dict[str, str]:
    """Write tables and figures of runs of one order.

    Returns:
        The tables as text: ``"A"`` and ``"U"``.
    """
    said = about(plan, {record.system for record in records}, records)
    table = write_results(plan.target, records, said)
    _draw_gamma(records, plan.target / "figures")
    return {"A": table.text(), "U": said.table(records, "U").text()}


def about(plan: Plan, names: Collection[str], records: Sequence[RunRecord]) -> About:
    """Return what the tables of these rows say that their records do not."""
    settings = plan.settings
    present = {name: row for name, row in plan.rows.items() if name in names}
    paper, paper_notes = plan.paper.rows(present)
    return About(
        systems=tuple(plan.rows),
        reference=settings.reference,
        words=(*setting_words(settings, present, records), *control_words(settings.stream)),
        notes=tuple(option_notes(settings, present)),
        own=OWN,
        paper=paper,
        paper_notes=tuple(paper_notes),
    )


def setting_words(
    settings: Settings, rows: Mapping[str, Row], records: Sequence[RunRecord]
) -> list[str]:
    """Words for the caption on encoders, training and memory, row by row where they differ."""
    encoders, training = settings.encoders, settings.training
    read = {record.system: record.provenance.get("reads_images") for record in records}
    reading = {name for name, row in rows.items() if read.get(name, SYSTEMS[row.system].image)}
    blind = [name for name in rows if name not in reading]
    words = []
    if len(blind) == len(rows):
        words.append(f"text encoder {encoders.text}, no image read")
    else:
        alone = f" ({encoders.text} alone: {', '.join(blind)})" if blind else ""
        words.append(f"encoders {encoders.text} + {encoders.vision}{alone}")
    trained = {name: SYSTEMS[row.system].trains for name, row in rows.items()}
    epochs = f"{counted(training.epochs, 'epoch')} per task"
    epochs += "" if training.precision == "fp32" else f" in {training.precision}"
    others = [name for name in rows if trained[name] != "every task"]
    if len(others) < len(rows):
        said = "; ".join(f"{name}: {_trained(trained[name])}" for name in others)
        words.append(epochs + (f" ({said})" if said else ""))
    elif set(trained.values()) == {"nothing"}:
        words.append("nothing trained")
    else:
        said = "; ".join(f"{name}: {_trained(trained[name])}" for name in others)
        words.append(f"{counted(training.epochs, 'epoch')}: {said}")
    if settings.exemplars is not None and any(SYSTEMS[r.system].memory for r in rows.values()):
        words.append(f"{counted(settings.exemplars, 'exemplar')} of every class and of N/A")
    return words


def _trained(tasks: str) -> str:
    return {"first task": "the first task alone", "nothing": "none"}[tasks]


def control_words(stream: StreamSettings) -> list[str]:
    """Words for the caption on what was taken away from the samples, or added to their labels."""
    words = [] if stream.control == "none" else [f"CONTROL: {stream.control.replace('-', ' ')}"]
    return words if stream.rule == "priority" else [*words, RULES[stream.rule]]


def option_notes(settings: Settings, rows: Mapping[str, Row]) -> list[str]:
    """Say which options of systems were set, what rows are made of, and where systems come from."""
    given = settings.options or {}
    used = dict.fromkeys(row.system for row in rows.values())
    shared = {name: _options(given[name]) for name in used if given.get(name)}
    said = "; ".join(f"{name}: {words}" for name, words in shared.items())
    notes = [f"Options set for single systems. {said}."] if said else []
    made = []
    for name, row in rows.items():
        own = {
            key: value
            for key, value in options_of(settings, name, row).items()
            if given.get(row.system, {}).get(key) != value
        }
        if name != row.system:
            rates = f"constant rates, {row.rates}" if row.rates else ""
            words = " and ".join(filter(None, (_options(own), rates)))
            made.append(f"{name} is {row.system}" + (f" with {words}" if words else ""))
    notes += [f"{'; '.join(made)}."] if made else []
    for name in used:
        info = SYSTEMS[name]
        if info.origin:
            notes.append(f"{name} comes from {info.origin}.")
    return notes


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key} {str(v).lower() if v is True or v is False else v}" for key, v in options.items()
    )


def _draw_gamma(records: Sequence[RunRecord], figures: Path) -> None:
    """Draw Figure 4 for the first seed that has both curves, or any of them."""
    labels = {"full": "with modulation (full)", "w/o GM": "without modulation (w/o GM)"}
    traced = [r for r in records if r.system in labels and any(r.traces.get("gamma", ()))]
    if not traced:
        return
    curves = Counter(record.seed for record in traced)
    seed = max(curves, key=lambda candidate: (curves[candidate], -candidate))
    chosen = [record for record in traced if record.seed == seed]
    first = chosen[0]
    draw_gamma(
        {labels[record.system]: record.traces["gamma"] for record in chosen},
        figures / "gamma",
        boundaries=[int(step) for step in first.traces.get("boundaries", ())],
        title=f"{first.scenario}, {first.order}, seed {seed}",
    )
