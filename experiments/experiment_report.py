"""What an experiment prints and writes: tables beside the paper's, figures, configuration."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mkgc_cl.config import dump
from mkgc_cl.experiments.experiment_settings import SYSTEMS, Settings, StreamSettings
from mkgc_cl.experiments.paper_rows import Paper
from mkgc_cl.results import RunRecord, build_table
from mkgc_cl.results.config_words import epochs_words
from mkgc_cl.results.figures import draw_curves, draw_gamma, draw_matrix
from mkgc_cl.results.files import to_json, write_atomic
from mkgc_cl.results.provenance import image_words
from mkgc_cl.results.report_folder import DEMONSTRATION, DIRTY, MIXED, VALIDATION
from mkgc_cl.results.table_text import Table
from mkgc_cl.results.tables import write_table
from mkgc_cl.results.writing import written_to

REPLAY = {
    "after": "a memory phase after each task",
    "mixed": "memory in every batch",
    "alternate": "memory after every batch",
    "round-robin": "the memory of one task or class before every batch",
}
WHOLE = "full"
"""The row that the others are compared with."""


def write_setup(
    out: Path, settings: Any, made_by: Mapping[str, object], *, command: Sequence[str]
) -> None:
    """Write the resolved configuration and the environment, before anything runs.

    Raises:
        OutputError: they cannot be written.
    """
    # a byte of the command line that is not UTF-8 is spelled out
    line = shlex.join(command).encode("utf-8", "backslashreplace").decode()
    with written_to(out):
        write_atomic(out / "config.yaml", f"# resolved from: {line}\n{dump(settings)}")
        write_atomic(out / "env.json", to_json({**made_by, "command": line}))


def write_report(out: Path, settings: Settings, records: Sequence[RunRecord], paper: Paper) -> str:
    """Write tables and figures of all finished runs and return the main table as text."""
    records = in_order(records, tuple(SYSTEMS))
    rows, notes = paper.ablation_rows({record.system for record in records})
    remarks = list(conditions(settings, records))
    table = write_tables(
        out, records, reference=WHOLE, paper=rows, paper_notes=notes, remarks=remarks
    )
    _draw_gamma(records, out / "figures")
    return table.text()


def in_order(records: Sequence[RunRecord], systems: Sequence[str]) -> list[RunRecord]:
    """Records by the order of their systems.

    A system this version does not know comes last: another version may have added its runs.
    """
    place = {system: number for number, system in enumerate(systems)}
    return sorted(records, key=lambda record: place.get(record.system, len(place)))


def write_tables(
    out: Path,
    records: Sequence[RunRecord],
    *,
    reference: str,
    paper: Mapping[str, Sequence[float | None]],
    paper_notes: Sequence[str],
    remarks: Sequence[str],
    notes: Sequence[str] = (),
) -> Table:
    """Write both tables, the curves and the matrices; return the table of A_k.

    Args:
        out: folder of the experiment.
        records: its runs.
        reference: the system that the rows of both are compared with.
        paper: the paper's rows, which are of A_k alone.
        paper_notes: notes on these.
        remarks: words for both captions.
        notes: notes on both.
    """
    table = build_table(
        records, paper=paper, remarks=remarks, notes=[*paper_notes, *notes], reference=reference
    )
    other = build_table(records, measure="U", remarks=remarks, notes=notes, reference=reference)
    for made, stem in ((table, "table-A"), (other, "table-U")):
        write_table(made, lambda name, text: write_atomic(out / name, text), stem=stem)
    figures = out / "figures"
    draw_curves(records, figures / "A", measure="A")
    draw_curves(records, figures / "U", measure="U")
    for system in dict.fromkeys(record.system for record in records):
        own = [record for record in records if record.system == system]
        draw_matrix(own, figures / f"matrix-{_slug(system)}")
    return table


def conditions(settings: Settings, records: Sequence[RunRecord]) -> Sequence[str]:
    """Words for the caption: what a reader must know before comparing."""
    words = [f"encoders {settings.model.text} + {settings.model.vision}"]
    words.append(f"interaction in the top {settings.model.interaction_layers}")
    words.append(epochs_words(settings.training.epochs, settings.training.precision))
    words.append(REPLAY[settings.method.replay_schedule])
    if not settings.method.ad_center:
        words.append("attention distilled as in eq. (13)")
    return [*words, *origin_words(settings.stream, records)]


def origin_words(stream: StreamSettings, records: Sequence[RunRecord]) -> list[str]:
    """Words for the caption on samples, images and the state of the source."""
    words = [VALIDATION] if stream.split == "valid" else []
    if stream.control != "none":
        words.append(f"CONTROL: {stream.control.replace('-', ' ')}")
    words.append("; ".join(dict.fromkeys(image_words(record.provenance) for record in records)))
    states: list[Any] = [record.provenance.get("git") for record in records]
    if any(state != states[0] for state in states):
        words.append(f"{MIXED}, see results.json")
    elif states[0] and states[0]["dirty"]:
        words.append(DIRTY)
    if stream.scenario == "demo":
        words.append(f"{DEMONSTRATION}, not a result on the paper's benchmark")
    return words


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


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")
