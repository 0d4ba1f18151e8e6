"""Tables read back from their files."""

from __future__ import annotations

from pathlib import Path

import pytest

from mkgc_cl.errors import DataError
from mkgc_cl.results import Table, build_table
from mkgc_cl.results.table_file import notes_of, read_table
from mkgc_cl.results.tables import write_table


def write(table: Table, folder: Path) -> Path:
    write_table(table, lambda name, text: (folder / name).write_text(text), stem="t")
    return folder / "t.csv"


@pytest.fixture
def records(make_record) -> list:
    full = [make_record("full", s, ((80 + s,), (60, 70 + 2 * s))) for s in range(7)]
    less = [make_record("w/o MM", s, ((80 + s,), (14 + 2 * s, 70 + 2 * s))) for s in range(7)]
    return [*less, make_record("twin", 0), *full]


@pytest.mark.parametrize("reference", ["full", "all", None])
def test_a_table_reads_back_as_it_was_written(records, tmp_path: Path, reference) -> None:
    paper = {"full": [77.8, None]}
    table = build_table(records, reference=reference, paper=paper, notes=["A | *note*.", "Two."])
    found = read_table(write(table, tmp_path))
    assert found.text() == table.text()
    assert found.markdown() == table.markdown()
    assert found.latex() == table.latex()
    assert (found.notes, found.footnotes) == (table.notes, table.footnotes)


def test_names_read_back_as_they_were(make_record, tmp_path: Path) -> None:
    names = ("=1+1", "'=1", "-x", "-1.5", "a|b", "*c* \\ `d`", "M-[R-Replay & EWC]", "&lt;_e_")
    records = [make_record(name, seed) for name in names for seed in range(3)]
    for record in records:
        object.__setattr__(record, "tasks", ("+T", "T|2"))
    notes = ["A note that ends in a bar |", "Another *one* <b>."]
    table = build_table(records, reference="=1+1", notes=notes)
    found = read_table(write(table, tmp_path))
    assert [row.system for row in found.rows] == list(names)
    assert found.columns == ("+T", "T|2", "AVG")
    assert (found.caption, found.notes, found.footnotes) == (
        table.caption, table.notes, table.footnotes
    )  # fmt: skip
    assert found.rows[1].comparisons[1].reference == "=1+1"


def test_columns_may_have_one_name_and_a_run_one_seed(make_record, tmp_path: Path) -> None:
    table = build_table([make_record("a"), make_record("b")])
    path = write(table, tmp_path)
    path.write_text(path.read_text().replace("T2", "T1"))
    assert read_table(path).columns == ("T1", "T1", "AVG")
    assert read_table(path).rows == table.rows


def test_what_is_no_table_is_refused_by_name(records, tmp_path: Path) -> None:
    path = write(build_table(records), tmp_path)
    text = path.read_text()
    path.write_text(text.replace("full,T2", "full,T9"))
    with pytest.raises(DataError, match=r"t\.csv: its rows must have the same columns, got "):
        read_table(path)
    path.write_text(text.replace("n,paper", "number,paper"))
    with pytest.raises(DataError, match=r"t\.csv: no table of mkgc_cl \(KeyError\('n'\)\)"):
        read_table(path)
    path.write_text(text)
    path.with_suffix(".md").unlink()
    with pytest.raises(DataError, match=r"t\.md: expected a file, found none.*the same command"):
        read_table(path)


def test_notes_of_a_text_without_a_table() -> None:
    assert notes_of("") == ((), ())
