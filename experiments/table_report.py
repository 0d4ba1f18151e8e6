"""What a table of systems prints and writes, beside the paper's rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml
from experiment_report import PAPER_TABLES, in_order, origin_words, write_tables
from table_settings import TableSettings

from mkgc_cl.results import CellRecord
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
        remarks=conditions(settings, records),
        notes=(*notes, *option_notes(records)),
    )
    return table.text()


def option_notes(records: Sequence[CellRecord]) -> list[str]:
    """Say which options were set, of systems that have their own."""
    chosen = {record.system: record.config["options"] for record in records}
    said = "; ".join(
        f"{name}: {', '.join(f'{key} {value}' for key, value in options.items())}"
        for name, options in chosen.items()
        if options
    )
    return [f"Options set for single systems. {said}."] if said else []


def conditions(settings: TableSettings, records: Sequence[CellRecord]) -> list[str]:
    """Words for the caption: what a reader must know before comparing."""
    words = [f"encoders {settings.encoders.text} + {settings.encoders.vision}"]
    words.append(f"{settings.training.epochs} epochs a task")
    if settings.exemplars is not None:
        words.append(f"{settings.exemplars} exemplars of every class and of N/A")
    return [*words, *origin_words(settings.stream, records)]


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
