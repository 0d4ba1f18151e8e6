"""What an experiment says of itself: kept, read strictly, and shown in its tables."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from mkgc_cl.errors import DataError, MissingDataError
from mkgc_cl.results import About, read_about, read_table, write_about, write_results
from mkgc_cl.results.about import FILE

ABOUT = About(
    systems=("full", "w/o MM"),
    reference="full",
    words=("encoders minilm + vit-384", "5 epochs per task"),
    notes=("Options set for single systems. w/o MM: weight 7.",),
    own=("options",),
    paper={"full": [77.8, 60.0]},
    paper_notes=("What the paper means is inferred.",),
)


@pytest.fixture
def records(make_record) -> list:
    """Seven seeds; of "w/o MM" the last task and AVG are always below those of "full"."""
    full = [make_record("full", s, ((80 + s,), (60, 70 + 2 * s))) for s in range(7)]
    less = [make_record("w/o MM", s, ((80 + s,), (14 + 2 * s, 30 + 2 * s))) for s in range(7)]
    return [*reversed(less), make_record("added later"), *full]


def test_it_reads_back_as_it_was_written(tmp_path: Path) -> None:
    write_about(tmp_path, ABOUT)
    assert read_about(tmp_path) == ABOUT


@pytest.mark.parametrize(
    "change",
    [
        {"about": 2},
        {"reference": 3},
        {"words": "encoders"},
        {"notes": [1]},
        {"paper": {"full": ["x"]}},
        {"paper": {"full": [float("nan")]}},
        {"paper": []},
    ],
)
def test_what_is_not_of_its_form_is_refused(tmp_path: Path, change: dict) -> None:
    write_about(tmp_path, ABOUT)
    path = tmp_path / FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match="not what an experiment says of itself") as caught:
        read_about(tmp_path)
    assert caught.value.path == path


def test_where_there_is_none_or_an_odd_file(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError):
        read_about(tmp_path)
    for content in ("", "[]", "[" * 100_000):
        (tmp_path / FILE).write_text(content)
        with pytest.raises(DataError):
            read_about(tmp_path)


def test_tables_say_it(records) -> None:
    tables = {measure: ABOUT.table(records, measure) for measure in ("A", "U", "forgetting")}
    for measure, table in tables.items():
        assert [row.system for row in table.rows] == ["full", "w/o MM", "added later"]
        assert "encoders minilm + vit-384, 5 epochs per task, images unknown" in table.setting
        assert table.footnotes[0].startswith("Compared with full, paired by seed")
        assert table.rows[0].paper == ((77.8, 60.0, 68.9) if measure == "A" else None)
        notes = [*(ABOUT.paper_notes if measure == "A" else ()), *ABOUT.notes]
        assert list(table.notes) == notes
        assert table.marks == ("SOURCE NOT RECORDED",)
    absent = dataclasses.replace(ABOUT, reference="MSPT").table(records, "A")
    assert absent.footnotes == ("Not compared: there is no run of MSPT.",)
    assert About().table(records, "A").footnotes == ()


def test_every_table_is_written_in_every_form(
    records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    for name in ("draw_curves", "draw_matrix"):
        monkeypatch.setattr(
            f"mkgc_cl.results.about.{name}", lambda _, stem, **__: drawn.append(stem.name)
        )
    made = write_results(tmp_path, records, ABOUT)
    assert made == ABOUT.table(records, "A")
    forms = {
        f"table-{measure}.{form}"
        for measure in ("A", "U", "forgetting")
        for form in ("txt", "md", "tex", "csv", "json")
    }
    assert {path.name for path in tmp_path.iterdir()} == forms | {FILE}
    assert read_table(tmp_path / "table-A.json").text() == made.text()
    assert drawn == ["A", "U", "matrix-full", "matrix-w-o-MM", "matrix-added-later"]
