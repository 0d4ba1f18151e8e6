"""What a table of systems prints and writes, beside the paper's rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml
from experiment_report import PAPER_TABLES, in_order, origin_words, write_tables
from table_settings import TableSettings

from mkgc_cl.results import CellRecord
from mkgc_cl.results.config_words import option_notes, setting_words
from mkgc_cl.systems import SYSTEMS


def write_system_report(out: Path, settings: TableSettings, records: Sequence[CellRecord]) -> str:
    """Write tables and figures of these cells and return the main table as text."""
    if not records:
        return "no cell has finished\n"
    records = in_order(records, tuple(SYSTEMS))
    rows, notes = paper_rows(settings)
    table = write_tables(
        out,
        records,
        reference=settings.reference,
        paper={name: row for name, row in rows.items() if name in {r.system for r in records}},
        paper_notes=notes,
        remarks=conditions(settings, records),
        notes=option_notes(records),
    )
    return table.text()


def conditions(settings: TableSettings, records: Sequence[CellRecord]) -> list[str]:
    """Words for the caption: what a reader must know before comparing."""
    return [*setting_words(records), *origin_words(settings.stream, records)]


def paper_rows(
    settings: TableSettings,
) -> tuple[dict[str, list[float | None]], tuple[str, ...]]:
    """Return the paper's rows for this stream and order, and the notes that go with them."""
    if settings.stream.split != "test":
        return {}, ()
    for table in yaml.safe_load(PAPER_TABLES.read_text(encoding="utf-8")).values():
        same = (table["scenario"], table["order"]) == (settings.scenario, settings.order)
        if same and SYSTEMS.keys() & table["rows"].keys():
            return table["rows"], tuple(table["notes"])
    return {}, ()
