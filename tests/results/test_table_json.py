"""Tables read back from their files."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from mkgc_cl.errors import DataError
from mkgc_cl.results import Table, build_table, read_table, write_table
from mkgc_cl.results.render import to_latex_table, to_markdown_table
from mkgc_cl.results.table import HEAD


def write(table: Table, folder: Path) -> Path:
    write_table(table, lambda name, text: (folder / name).write_text(text), stem="t")
    return folder / "t.json"


@pytest.fixture
def records(make_record) -> list:
    full = [make_record("full", s, ((80 + s,), (60, 70 + 2 * s))) for s in range(7)]
    less = [make_record("w/o MM", s, ((80 + s,), (14 + 2 * s, 70 + 2 * s))) for s in range(7)]
    return [*less, make_record("twin", 0), *full]


@pytest.mark.parametrize("reference", ["full", "all", None])
def test_a_table_reads_back_as_it_was_written(records, tmp_path: Path, reference) -> None:
    paper = {"full": [77.8, None]}
    table = build_table(
        records, reference=reference, paper=paper, notes=["A | *note*."], marks=["SYNTHETIC"]
    )
    path = write(table, tmp_path)
    found = read_table(path)
    for form in (Table.text, to_markdown_table, partial(to_latex_table, label="t")):
        assert form(found) == form(table)
    for field in ("notes", "footnotes", "marks", "setting", "label", "ranked"):
        assert getattr(found, field) == getattr(table, field)
    assert path.read_text().startswith(HEAD)


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


def test_columns_may_have_one_name_and_a_row_one_seed(make_record, tmp_path: Path) -> None:
    table = build_table([make_record("a"), make_record("b")])
    path = write(table, tmp_path)
    path.write_text(path.read_text().replace("T2", "T1"))
    assert read_table(path).columns == ("T1", "T1", "AVG")
    assert read_table(path).rows == table.rows


ODD = {
    '"column": "T2"': '"column": "T9"',
    '"table": 1': '"table": 2',
    '"n": 1': '"n": -1',
    '"mean": 80.0': '"mean": NaN',
    '"sd": null': '"sd": [1]',
    '"columns": [': '"columns": [[],',
    '"marks": []': '"marks": "x"',
    '"cells": [': '"cells": [1,',
    '"caption": "': '"caption": 3, "x": "',
}


@pytest.mark.parametrize("old", ODD)
def test_what_is_no_table_is_refused_by_name(make_record, tmp_path: Path, old: str) -> None:
    path = write(build_table([make_record("a"), make_record("b")]), tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, ODD[old], 1))
    with pytest.raises(DataError, match="no table of mkgc_cl") as caught:
        read_table(path)
    assert caught.value.path == path


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 100_000, '{"table": 1}', '"a"'])
def test_odd_files_are_no_tables(tmp_path: Path, content: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(content)
    with pytest.raises(DataError, match="the same command of the experiment writes it again"):
        read_table(path)
