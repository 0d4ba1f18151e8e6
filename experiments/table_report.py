"""What a table of systems prints and writes, beside the paper's rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mkgc_cl.experiments.experiment_report import in_order, origin_words, write_tables
from mkgc_cl.experiments.paper_rows import Paper
from mkgc_cl.experiments.table_settings import TableSettings
from mkgc_cl.results import RunRecord
from mkgc_cl.results.config_words import option_notes, setting_words
from mkgc_cl.systems import SYSTEMS


def write_system_report(
    out: Path, settings: TableSettings, records: Sequence[RunRecord], paper: Paper
) -> str:
    """Write tables and figures of these runs and return the main table as text."""
    if not records:
        return "no run has finished\n"
    records = in_order(records, tuple(SYSTEMS))
    rows, notes = paper.rows({record.system for record in records})
    table = write_tables(
        out,
        records,
        reference=settings.reference,
        paper=rows,
        paper_notes=notes,
        remarks=conditions(settings, records),
        notes=option_notes(records),
    )
    return table.text()


def conditions(settings: TableSettings, records: Sequence[RunRecord]) -> list[str]:
    """Words for the caption: what a reader must know before comparing."""
    return [*setting_words(records), *origin_words(settings.stream, records)]
