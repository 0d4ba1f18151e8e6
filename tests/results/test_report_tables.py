"""The tables of the report: compared and annotated as those in text, without their Markdown."""

from __future__ import annotations

import dataclasses
import html
import re
from pathlib import Path

import pytest

from mkgc_cl.results import Run, build_table, run_grid
from mkgc_cl.results.report_folder import read_experiment
from mkgc_cl.results.report_parts import numbers
from mkgc_cl.results.report_section import forgetting, scores, section
from mkgc_cl.results.tables import write_table

CONFIG = {
    "encoders": {"text": "minilm", "vision": "vit-384"},
    "training": {"epochs": 5},
    "exemplars": 6,
    "options": {},
}


@pytest.fixture
def records(make_record) -> list:
    """Seven seeds; of "w/o MM" the last task and AVG are always below those of "full"."""
    full = [make_record("full", s, ((80 + s,), (60, 70 + 2 * s))) for s in range(7)]
    less = [make_record("w/o MM", s, ((80 + s,), (14 + 2 * s, 30 + 2 * s))) for s in range(7)]
    options = {"w/o MM": {"weight": 7}}
    return [
        dataclasses.replace(r, config=CONFIG | {"options": options.get(r.system, {})})
        for r in (*less, *full)
    ]


@pytest.fixture
def folder(records, tmp_path: Path) -> Path:
    """An experiment's folder with the runs of these records, and nothing else."""
    made = {Run(r.system, r.scenario, r.order, r.seed, r.config).key: r for r in records}
    runs = [Run(r.system, r.scenario, r.order, r.seed, r.config) for r in records]
    run_grid(runs, lambda run, _: made[run.key], out=tmp_path, quiet=True)
    return tmp_path


def shown(folder: Path, measure="A") -> str:
    """The table as text: runs between bars, every other element on a line of its own."""
    return plain(scores(read_experiment(folder, "name"), measure))


def plain(markup: str) -> str:
    text = re.sub(r"</t[dh]>", "|", re.sub(r"</(tr|p|li|caption)>", "\n", markup))
    return html.unescape(re.sub(r"<[^>]+>", "", text))


@pytest.mark.parametrize(
    ("rows", "runs", "why"),
    [
        (
            ((60,), (80, None), (30, None, 90)),
            "full|50.0|-30.0|50.0|-|",
            "No positive test sample in T2: what cannot be measured there is shown as -",
        ),
        (((60,),), "full|-|-|", "There is no earlier task, so nothing to be forgotten: -."),
    ],
)
def test_forgetting_that_cannot_be_measured(make_record, tmp_path, rows, runs, why) -> None:
    record = make_record("full", 0, rows)
    run = Run("full", record.scenario, record.order, 0, record.config)
    run_grid([run], lambda *_: record, out=tmp_path, quiet=True)
    text = plain(forgetting(read_experiment(tmp_path, "name")))
    assert runs in lines(text)
    assert why in text


def test_what_cannot_be_measured_is_a_dash_beside_the_heat_map(make_record, tmp_path: Path) -> None:
    record = make_record("full", 0, ((None,), (None, 90)))
    run = Run("full", record.scenario, record.order, 0, record.config)
    run_grid([run], lambda *_: record, out=tmp_path)
    markup = section(read_experiment(tmp_path, "name"), anchor="a")
    assert "on each task; after T1: -; after T2: -, 90.0" in markup
    assert "|full|-|90.0|90.0|" in "|" + plain(markup).replace("\n", "|")


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


def test_marks_and_footnotes_are_those_of_the_text(records) -> None:
    table = build_table(records, reference="full", notes=["A *note*."])
    markup = numbers(table)
    assert '<td>28.0 ± 4.3<span class="mark">*</span></td>' in markup
    assert "<td><b>68.0 ± 2.2</b></td>" in markup
    assert "\\" not in markup
    below = html.unescape(markup.partition("</table></div>\n")[2])
    first, second = table.footnotes
    assert below == (
        f'<p class="notes">A *note*.</p>\n<p class="notes">{first}</p>\n'
        f'<ul class="notes"><li>{second.removeprefix("- ")}</li></ul>'
    )


@pytest.mark.parametrize("measure", ["A", "U"])
def test_the_reference_is_that_of_the_settings(folder: Path, measure) -> None:
    assert "Compared" not in shown(folder, measure)
    (folder / "config.yaml").write_text("name: n\nreference: w/o MM\n")
    text = shown(folder, measure)
    assert "Compared with w/o MM, paired by seed: mean difference" in text
    assert "* where the corrected p is below 0.05" in text
    assert "full|83.0 ± 2.2|" in text
    assert len(re.findall(r"±[^|]*\*\|", text)) == 2
    (folder / "config.yaml").write_text("name: n\nreference: MSPT\n")
    assert lines(shown(folder, measure))[-1] == "Not compared: there is no run of MSPT."


def test_without_a_setting_it_is_that_of_the_written_table(folder: Path, records) -> None:
    (folder / "config.yaml").write_text("name: n\nmodel: {text: tiny}\n")
    for reference in ("full", "all"):
        table = build_table(records[:10], reference=reference, notes=["One."])
        write_table(table, lambda name, text: (folder / name).write_text(text), stem="table-A")
        text = shown(folder)
        assert ("Compared with full, paired by seed" in text) == (reference == "full")
        assert ("Not compared: there is no run of all." in text) == (reference == "all")
        assert text.count("paired by seed") <= 1  # the written footnotes are not shown as well
        assert "One." in text
        assert "\\" not in text
    # the settings' word counts, as far as it can be read
    for config in ("reference: full\n", "reference: [", "reference: {a: b}\n", "- a\n"):
        (folder / "config.yaml").write_text(config)
        assert ("Compared with full" in shown(folder)) == (config == "reference: full\n")


def test_notes_stand_there_with_and_without_paper_rows(folder: Path, records) -> None:
    options = "Options set for single systems. w/o MM: weight 7."
    for measure in ("A", "U"):
        assert options in lines(shown(folder, measure))  # before any table is written
    written = ["What the paper means is inferred.", "Options set for single systems. EWC: old 1."]
    for paper in ({}, {"full": [77.8, 60.0]}):
        table = build_table(records, paper=paper, notes=written)
        write_table(table, lambda name, text: (folder / name).write_text(text), stem="table-A")
        text = shown(folder)
        assert ("full (paper)|77.8|60.0|68.9|" in text) == bool(paper)
        assert lines(text)[-2:] == [written[0], options]
        assert written[0] not in shown(folder, "U")


def test_the_caption_names_encoders_epochs_and_budget(folder: Path) -> None:
    words = "encoders minilm + vit-384, 5 epochs per task, 6 exemplars of every class and of N/A"
    for measure in ("A", "U"):
        assert f"n = 7, seeds 0 1 2 3 4 5 6, {words}, images" in shown(folder, measure)
