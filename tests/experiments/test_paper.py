"""The paper's numbers as data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from mkgc_cl.config import resolve
from mkgc_cl.data import LabelSpace, TaskStream, VisualInput
from mkgc_cl.data.images import BLANK
from mkgc_cl.data.provenance import text_fingerprint
from mkgc_cl.data.streams_mner import imner_stream
from mkgc_cl.data.streams_mre import imre_stream
from mkgc_cl.experiments.ablation import ABLATION
from mkgc_cl.experiments.pipeline import paper_rows as paper
from mkgc_cl.experiments.pipeline.settings import Settings

TABLES = yaml.safe_load(
    (Path(__file__).resolve().parents[2] / "experiments" / "paper" / "tables.yaml").read_text()
)


def test_every_row_has_every_column() -> None:
    for name, table in TABLES.items():
        for system, row in table["rows"].items():
            assert len(row) == len(table["columns"]), (name, system)
            assert all(0 < value < 100 for value in row), (name, system)
        assert set(table["system_rows"].values()) <= table["rows"].keys()
    assert [len(table["rows"]) for table in TABLES.values()] == [14, 14, 14, 5]


def test_table_3_agrees_with_its_averages_and_the_gains_of_the_prose() -> None:
    rows = TABLES["table-3"]["rows"]
    for system in ("w/o MI", "w/o AD", "w/o GM", "w/o MM"):
        assert sum(rows[system][:4]) / 4 == pytest.approx(rows[system][4], abs=0.06)
    gains = {system: round(66.8 - row[4], 1) for system, row in rows.items()}
    assert gains == {"w/o MI": 5.7, "w/o AD": 10.4, "w/o GM": 22.2, "w/o MM": 28.5, "full": 0.0}
    # the inconsistency that the note speaks of
    assert sum(rows["full"][:4]) / 4 == pytest.approx(67.3)
    table_2 = TABLES["table-2-plom"]["rows"]["MSPT"]
    assert sum(table_2) / 4 == pytest.approx(66.8, abs=0.1)


def test_the_first_task_of_both_orders_is_the_same_and_some_rows_are_not() -> None:
    one, other = (TABLES[name]["rows"] for name in ("table-2-porg", "table-2-plom"))
    apart = {name: (row[0], other[name][0]) for name, row in one.items()}
    assert {name: pair for name, pair in apart.items() if abs(pair[0] - pair[1]) > 1} == {
        "ExtendNER": (50.7, 55.6),
        "MKGformer": (77.6, 74.5),
        "Joint Training": (77.6, 79.8),
        "MSPT": (79.8, 77.8),
    }


MADE = TaskStream("made", LabelSpace("re", ("r",), na="None"), (), {})


@pytest.mark.parametrize(
    ("overrides", "systems", "first"),
    [
        (["stream.scenario=imner"], {"w/o MI", "w/o AD", "w/o GM", "w/o MM", "full"}, 79.5),
        (["stream.scenario=imner", "stream.order=PER,ORG,LOC,MISC"], {"full"}, 79.8),
        (["stream.scenario=imner", "stream.order=LOC,ORG,PER,MISC"], set(), None),
        (["stream.scenario=imre"], {"full"}, 91.7),
        (["stream.scenario=imre", "stream.missing_images=blank"], {"full"}, 91.7),
        (["stream.scenario=imre", "stream.order=sep7"], set(), None),
        (["stream.scenario=imre", "stream.first=2"], set(), None),
        (["stream.scenario=imre", "stream.first=10"], set(), None),
        (["stream.scenario=imre", "stream.control=blank-images"], set(), None),
        (["stream.scenario=imre", "stream.control=shuffled-images"], set(), None),
        (["stream.scenario=demo"], set(), None),
        (["stream.scenario=demo", "stream.task=re", "stream.merge=2"], set(), None),
        (["stream.scenario=imner", "stream.split=valid"], set(), None),
    ],
)
def test_the_papers_rows_stand_only_beside_the_papers_setting(
    monkeypatch: pytest.MonkeyPatch, overrides: list[str], systems: set, first: float | None
) -> None:
    settings = resolve(Settings, overrides=overrides)
    monkeypatch.setattr(paper, "other_data", lambda *_: "")  # as if they were its own data
    rows, notes = paper.paper_of(settings, MADE).rows(ABLATION)
    assert rows.keys() == systems
    assert bool(notes) == bool(systems)
    if first is not None:
        assert rows["full"][0] == first
        monkeypatch.setattr(paper, "other_data", lambda *_: "7 samples")
        rows, notes = paper.paper_of(settings, MADE).rows(ABLATION)
        assert (rows, notes) == (
            {},
            ("No row of the paper: the data are not those of its benchmark (7 samples).",),
        )


def test_the_rows_of_a_table_of_systems() -> None:
    made = paper.Paper((TABLES["table-2-plom"], TABLES["table-3"]))
    rows, notes = made.rows(["Vanilla", "MSPT", "Frozen + Gaussian"])
    assert {name: row[0] for name, row in rows.items()} == {"Vanilla": 74.2, "MSPT": 77.8}
    assert notes == tuple(TABLES["table-2-plom"]["notes"])


def test_another_corpus_of_the_same_name_is_told_by_counts_words_and_labels(
    download: Path,
) -> None:
    settings = resolve(Settings, overrides=["stream.scenario=imner"])
    stream = imner_stream(download, order=settings.order.split("-"), missing_images="blank")
    made = paper.paper_of(settings, stream)
    assert made.tables == ()
    assert "train samples per task 1 2 1 1, not 943 487 909 642" in made.why_not

    own = {
        "train": [1, 2, 1, 1],
        "test": [6, 6, 6, 6],
        "text": text_fingerprint(stream),
    }
    assert paper.other_data(stream, own) == ""
    first, *others = stream.tasks
    (sample,) = first.train
    seen = replace(sample, visual=VisualInput(BLANK, (BLANK,)))
    same = replace(stream, tasks=(replace(first, train=(seen,)), *others))
    assert paper.other_data(same, own) == ""  # with whatever images
    for change in ({"tokens": ("Ann", *sample.tokens[1:])}, {"tags": ("O",) * 3}):
        task = replace(first, train=(replace(sample, **change),))
        other = replace(stream, tasks=(task, *others))
        assert paper.other_data(other, own) == "as many samples, but other words or labels"
    fewer = replace(stream, tasks=(replace(first, test=first.test[1:]), *others))
    assert paper.other_data(fewer, own) == "test samples per task 5 6 6 6, not 6 6 6 6"
    wider = replace(stream, tasks=(replace(first, classes=("PER", "X")), *others))
    assert paper.other_data(wider, own)


def test_every_table_has_its_benchmark() -> None:
    benchmarks = paper._read("benchmarks.yaml")
    assert {f"{t['scenario']}/{t['order']}" for t in TABLES.values()} <= benchmarks.keys()


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("scenario", ["imre", "imner"])
def test_the_benchmarks_own_data_are_known(data_root: Path, scenario: str) -> None:
    for name, benchmark in paper._read("benchmarks.yaml").items():
        known, _, order = name.partition("/")
        if known != scenario:
            continue
        if scenario == "imre":
            tasks = int(order.removeprefix("sep"))
            stream = imre_stream(data_root, tasks=tasks, missing_images="blank")
        else:
            stream = imner_stream(data_root, order=order.split("-"), missing_images="blank")
        assert paper.other_data(stream, benchmark) == ""
        order = ",".join(order.split("-"))
        settings = resolve(
            Settings, overrides=[f"stream.scenario={scenario}", f"stream.order={order}"]
        )
        made = paper.paper_of(settings, stream)
        assert ("full" in made.rows(["full"])[0]) == (order not in ("sep7", "sep5"))
        last = stream.tasks[-1]
        less = replace(stream, tasks=(*stream.tasks[:-1], replace(last, train=last.train[1:])))
        assert paper.paper_of(settings, less).tables == ()
