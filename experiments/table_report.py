"""What a table of systems prints and writes, beside the paper's rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mkgc_cl.experiments.experiment_report import control_words
from mkgc_cl.experiments.paper_rows import Paper
from mkgc_cl.experiments.setting_words import OWN, Configured, option_notes, setting_words
from mkgc_cl.experiments.table_settings import TableSettings
from mkgc_cl.results import About, RunRecord, write_results
from mkgc_cl.systems import SYSTEMS


def write_system_report(
    out: Path, settings: TableSettings, records: Sequence[RunRecord], paper: Paper
) -> str:
    """Write tables and figures of these runs and return the main table as text."""
    if not records:
        return "no run has finished\n"
    return write_results(out, records, about(settings, records, paper)).text()


def about(settings: TableSettings, runs: Sequence[Configured], paper: Paper) -> About:
    """Return what the tables of these runs say that their records do not."""
    rows, notes = paper.rows({run.system for run in runs})
    return About(
        systems=tuple(SYSTEMS),
        reference=settings.reference,
        words=(*setting_words(runs), *control_words(settings.stream)),
        notes=tuple(option_notes(runs)),
        own=OWN,
        paper=rows,
        paper_notes=notes,
    )
