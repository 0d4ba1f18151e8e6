"""Tables against numbers worked by hand."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
from pathlib import Path

import pytest

from mkgc_cl.errors import DataError
from mkgc_cl.results import Stat, Table, build_table, read_table, write_table
from mkgc_cl.results.render import to_csv_table, to_latex_table, to_markdown_table

# Two systems, three seeds and one seed. A of "full": (80, 65), (82, 70), (84, 69): mean 82.0 and
# 68.0, sample deviation sqrt((4+0+4)/2) = 2.0 and sqrt((9+4+1)/2) = sqrt(7) = 2.65; AVG per seed
# 72.5, 76.0, 76.5: mean 75.0, sample deviation sqrt((6.25+1+2.25)/2) = sqrt(4.75) = 2.18.
FULL = (((80,), (60, 70)), ((82,), (70, 70)), ((84,), (66, 72)))
PAPER = {"full": [79.5, 62.6, 66.8], "w/o MM": [77.8, None]}


@pytest.fixture
def table(make_record) -> Table:
    records = [make_record("w/o MM", 0, ((75,), (0, 71)))]
    records += [make_record("full", seed, rows) for seed, rows in enumerate(FULL)]
    return build_table(
        records,
        paper=PAPER,
        remarks=["images drawn", "synthetic stream data"],
        notes=["full: Table 3 says 79.5, Table 2 says 77.8."],
    )


def test_text(table: Table) -> None:
    assert (
        table.text()
        == """\
A_k, micro-F1 (%) on all tasks seen so far, after each task; demo-ner, order PER-LOC. n
differs, seeds w/o MM: 0; full: 0 1 2, images drawn, synthetic stream data. Mean ±
sample standard deviation over seeds. (paper): the paper's numbers, one seed.
------------------------------------------------
                   T1           T2          AVG
------------------------------------------------
w/o MM           75.0         35.5         55.2
  (paper)        77.8            -            -
full       82.0 ± 2.0†  68.0 ± 2.6†  75.0 ± 2.2†
  (paper)        79.5         62.6         66.8
------------------------------------------------
† best of its column.
full: Table 3 says 79.5, Table 2 says 77.8.
"""
    )


def test_markdown(table: Table) -> None:
    assert to_markdown_table(table).splitlines()[2:] == [
        "| System | T1 | T2 | AVG |",
        "|:--|--:|--:|--:|",
        "| w/o MM | 75.0 | 35.5 | 55.2 |",
        "| *(paper)* | 77.8 | - | - |",
        "| full | **82.0 ± 2.0** | **68.0 ± 2.6** | **75.0 ± 2.2** |",
        "| *(paper)* | 79.5 | 62.6 | 66.8 |",
        "",
        "full: Table 3 says 79.5, Table 2 says 77.8.",
    ]


def test_latex(table: Table) -> None:
    lines = to_latex_table(table, label="t").splitlines()
    assert lines[5:7] == [
        r"\caption{$A_k$, micro-F1 (\%) on all tasks seen so far, after each task; demo-ner, order "
        r"PER-LOC.}",
        r"\label{tab:t}",
    ]
    first = lines.index(r"\midrule") + 1
    assert lines[first - 3 :][:12] == [
        r"\toprule",
        r"System & T1 & T2 & AVG \\",
        r"\midrule",
        r"w/o MM & 75.0 & 35.5 & 55.2 \\",
        r"\quad\textit{(paper)} & \textit{77.8} & \textit{-} & \textit{-} \\",
        r"full & \textbf{82.0 $\pm$ 2.0} & \textbf{68.0 $\pm$ 2.6} & \textbf{75.0 $\pm$ 2.2} \\",
        r"\quad\textit{(paper)} & \textit{79.5} & \textit{62.6} & \textit{66.8} \\",
        r"\bottomrule",
        r"\end{tabular}}",
        "",
        r"\smallskip",
        r"\parbox{\linewidth}{\footnotesize",
    ]
    below = lines[lines.index(r"\end{tabular}}") :]
    assert any("images drawn, synthetic" in line and r"Mean $\pm$ sample" in line for line in below)


def test_latex_rows_stand_in_groups(make_record) -> None:
    """Registered systems by what they look at, the upper bound last, whatever the order."""
    names = ("Joint Training", "MSPT", "own", "Vanilla", "UMT")
    lines = to_latex_table(build_table([make_record(n) for n in names]), label="t").splitlines()
    rows = lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]
    shown = [re.sub(r".*textit\{(\w[\w ]*)\}\}.*", r"[\1]", row).partition(" &")[0] for row in rows]
    assert shown == [
        "[Text]", "Vanilla", r"\addlinespace", "[Multimodal]", "MSPT", "UMT", r"\addlinespace",
        "[Other]", "own", r"\addlinespace", "[Upper bound]", "Joint Training",
    ]  # fmt: skip


def test_every_table_has_a_label_of_its_own(make_record) -> None:
    labels = [build_table([make_record()], measure=m).label for m in ("A", "U", "forgetting")]
    assert labels == ["demo-ner-PER-LOC-A", "demo-ner-PER-LOC-U", "demo-ner-PER-LOC-forgetting"]


def test_latex_prints_every_name_as_it_is(make_record) -> None:
    records = [make_record(name) for name in ("[R & D]_1", r"50 % \x{$#}", "a~b^c<d>|e")]
    text = to_latex_table(build_table(records, remarks=["100 % of my_images"]), label="t")
    assert r"100 \% of my\_images" in text
    lines = text.partition("\\midrule\n")[2].splitlines()[:3]
    assert [line.partition(" & 80.0")[0].partition(r" & \text")[0] for line in lines] == [
        r"{[}R \& D]\_1",
        r"50 \% \textbackslash{}x\{\$\#\}",
        r"a\textasciitilde{}b\textasciicircum{}c\textless{}d\textgreater{}\textbar{}e",
    ]


NASTY = ("=cmd|' /C calc'!A0", "*a* [x](y) <b>", "`@` | $x$ _y_", "--a\nb\x1b[2J", "-1.5")


@pytest.fixture
def nasty(make_record) -> Table:
    return build_table([make_record(name) for name in NASTY], remarks=["*x*", "<i>y"])


def test_no_name_is_a_formula_of_a_spreadsheet(nasty: Table) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv_table(nasty))))
    assert [row["system"] for row in rows[::3]] == [
        "'=cmd|' /C calc'!A0",
        "*a* [x](y) <b>",
        "`@` | $x$ _y_",
        "'--a b\N{REPLACEMENT CHARACTER}[2J",
        "-1.5",
    ]
    assert {row["mean"] for row in rows} == {"80.0", "65.0", "72.5"}


def test_no_name_is_markup_of_markdown(nasty: Table) -> None:
    lines = to_markdown_table(nasty).splitlines()
    assert [line.partition(" | **")[0] for line in lines[4:9]] == [
        r"| =cmd\|' /C calc'!A0",
        r"| \*a\* [x\](y) \<b>",
        r"| \`@\` \| \$x\$ \_y\_",
        "| --a b\N{REPLACEMENT CHARACTER}[2J",
        "| -1.5",
    ]
    assert lines[0].startswith("A_k, micro-F1 (%)")
    assert r", \*x\*, \<i>y." in lines[0]


def _rows(table: Table) -> list[str]:
    """Rows of the LaTeX form."""
    return to_latex_table(table, label="t").partition("\\midrule\n")[2].splitlines()[:5]


def test_no_name_is_a_command_of_latex_or_of_a_terminal(nasty: Table) -> None:
    names = [line.partition(r" & \textbf{8")[0] for line in _rows(nasty)]
    assert names == [
        r"=cmd\textbar{}' /C calc'!A0",
        r"{*}a* {[}x](y) \textless{}b\textgreater{}",
        r"`@` \textbar{} \$x\$ \_y\_",
        "-{}-a b?{[}2J",
        "-1.5",
    ]
    assert "\x1b" not in nasty.text()
    assert "--a b\N{REPLACEMENT CHARACTER}[2J" in nasty.text()


def test_csv(table: Table) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv_table(table))))
    assert rows[0] == {
        "system": "w/o MM", "column": "T1", "mean": "75.0", "sd": "", "low": "", "high": "",
        "n": "1", "paper": "77.8"
    }  # fmt: skip
    # t(0.975; 2) = 4.30265 times sqrt(7 / 3) is 6.5724.
    assert rows[4] == {
        "system": "full", "column": "T2", "mean": "68.0", "sd": "2.6458", "low": "61.4276",
        "high": "74.5724", "n": "3", "paper": "62.6"
    }  # fmt: skip
    assert (rows[5]["column"], rows[5]["mean"], rows[5]["sd"]) == ("AVG", "75.0", "2.1794")


def test_plasticity_and_the_papers_average(make_record) -> None:
    table = build_table([make_record()], measure="U", paper={"full": [70.0, 50.0]})
    assert [stat.mean for stat in table.rows[0].stats] == [80.0, 70.0, 75.0]
    assert table.rows[0].paper == (70.0, 50.0, 60.0)
    assert table.caption.startswith("U_k, micro-F1 (%) on the task just learnt")
    assert table.setting == "n = 1, seed 0. (paper): the paper's numbers, one seed."


def test_one_seed_has_no_deviation_and_one_row_no_best(make_record) -> None:
    table = build_table([make_record()])
    assert table.rows[0].stats[0] == Stat(80.0, None, 1)
    assert "±" not in table.text()
    assert "**" not in to_markdown_table(table)
    assert "paper" not in table.text()


def test_ties_as_shown_are_all_best(make_record) -> None:
    table = build_table([make_record("a"), make_record("b")])
    assert to_markdown_table(table).count("**80.0**") == 2


@pytest.mark.parametrize(("value", "shown"), [(-0.04, "0.0"), (12.34, "12.3"), (99.96, "100.0")])
def test_one_decimal_without_minus_zero(value: float, shown: str) -> None:
    assert Stat(value, None, 1).text() == shown


def test_what_makes_no_table_is_refused(make_record) -> None:
    with pytest.raises(DataError, match="no run has finished"):
        build_table([])
    with pytest.raises(DataError, match="one scenario and one order"):
        build_table([make_record(), make_record(rows=((80,),))])
    with pytest.raises(DataError, match="'full' has 4 numbers for 2 tasks"):
        build_table([make_record()], paper={"full": [1.0, 2.0, 3.0, 4.0]})


def test_every_form_is_written(table: Table) -> None:
    written: dict[str, str] = {}
    write_table(table, written.__setitem__, stem="ablation")
    assert {name: text[:3] for name, text in written.items()} == {
        "ablation.txt": "A_k",
        "ablation.md": "A_k",
        "ablation.tex": "% i",
        "ablation.csv": "sys",
        "ablation.json": "{\n ",
    }


def test_two_configurations_are_no_seeds(make_record) -> None:
    with pytest.raises(DataError, match=r"two records of 'full' with seed 0; .* one configuration"):
        build_table([make_record("full", 0), make_record("full", 0, ((70,), (50, 60)))])


def test_an_upper_bound_is_not_best(make_record) -> None:
    """PAPER: "the best performance results other than the upper bound model" (Table 1)."""
    names = {"Joint Training": 90, "one": 50, "two": 60}
    table = build_table([make_record(name, 0, ((value,),)) for name, value in names.items()])
    assert table.best() == {("two", 0), ("two", 1)}
    assert "| Joint Training | 90.0 | 90.0 |" in to_markdown_table(table)
    assert "Joint Training is an upper bound and not marked as best." in to_markdown_table(table)
    assert build_table([make_record("one", 0, ((50,),))]).notes == ()
    alone = build_table([make_record(name, 0, ((50,),)) for name in ("Joint Training", "one")])
    assert alone.best() == set()


def test_plain_text_marks_the_best_and_stays_aligned(make_record) -> None:
    table = build_table([make_record("one", 0, ((50,),)), make_record("two", 0, ((60,),))])
    lines = table.text().splitlines()
    one, two = (next(line for line in lines if line.startswith(name)) for name in ("one", "two"))
    assert two == "two  60.0†  60.0†"
    assert one == "one  50.0   50.0"
    assert "† best of its column." in lines


def test_json_holds_what_csv_holds(make_record) -> None:
    ours = [make_record("one", seed, ((50 + seed,),)) for seed in range(3)]
    theirs = [make_record("full", seed, ((40,),)) for seed in range(3)]
    table = build_table([*theirs, *ours], reference="full", notes=("a note",))
    made = json.loads(table.to_json())
    assert made["caption"] == table.caption
    assert made["notes"] == ["a note"]
    assert made["footnotes"] == list(table.footnotes)
    read = list(csv.DictReader(io.StringIO(to_csv_table(table))))
    assert [
        {key: "" if value is None else str(value) for key, value in run.items()}
        for run in made["cells"]
    ] == read
    assert {run["p"] for run in made["cells"]} == {None, 0.25}


# Two systems on a stream whose second task has no positive to find, two seeds of one of them. A_2
# pools T1 alone. U of "full": 60 and 64, nothing, 90 and 80: AVG 75 and 72, deviation sqrt(4.5).
GAP = (((60,), (80, None), (30, None, 90)), ((64,), (80, None), (30, None, 80)))


@pytest.fixture
def gap(make_record) -> list:
    records = [make_record("full", seed, rows) for seed, rows in enumerate(GAP)]
    return [*records, make_record("none", 0, ((0,), (0, None), (0, None, 0)))]


def test_what_cannot_be_measured_is_a_dash_in_every_form(gap: list, tmp_path: Path) -> None:
    table = build_table(gap, measure="U", reference="full")
    why = (
        "No positive test sample in T2: what cannot be measured there is shown as - and left out "
        "of means."
    )
    assert table.setting.endswith(f"over seeds. {why}")
    shown = (line.split() for line in table.text().splitlines())
    assert ["none", "0.0", "-", "0.0", "0.0"] in list(shown)
    assert "| full | **62.0 ± 2.8** | - | **85.0 ± 7.1** | **73.5 ± 2.1** |" in to_markdown_table(
        table
    )
    assert r"none & 0.0 & - & 0.0 & 0.0 \\" in to_latex_table(table, label="t")
    row = next(
        row for row in csv.DictReader(io.StringIO(to_csv_table(table))) if row["column"] == "T2"
    )
    assert [row[key] for key in ("mean", "sd", "low", "high", "n")] == ["", "", "", "", "0"]
    run = json.loads(table.to_json())["cells"][1]
    assert (run["column"], run["mean"], run["n"]) == ("T2", None, 0)
    assert [cell.text for cell in [*table.lines()][-1].cells] == ["0.0", "-", "0.0", "0.0"]
    write_table(table, lambda name, text: (tmp_path / name).write_text(text), stem="t")
    again = read_table(tmp_path / "t.json")
    assert (again.text(), again.rows[0].stats[1]) == (table.text(), Stat(None, None, 0))


def test_a_mean_skips_what_is_undefined(gap: list) -> None:
    table = build_table(gap, measure="U")
    assert table.rows[0].stats[3] == Stat(73.5, pytest.approx(4.5**0.5), 2)
    assert [stat.mean for stat in build_table(gap).rows[0].stats] == [62.0, 80.0, 57.5, 66.5]


def test_where_nothing_is_above_zero_none_is_best(make_record) -> None:
    zeros = [make_record(name, 0, ((50,), (0, 0))) for name in ("a", "b")]
    table = build_table(zeros, measure="U")
    assert table.best() == {("a", 0), ("b", 0), ("a", 2), ("b", 2)}
    nothing = [make_record(name, 0, ((None,),)) for name in ("a", "b")]
    table = build_table(nothing, reference="a")
    assert table.best() == set()
    assert "†" not in table.text()
    assert table.footnotes == ()


def test_the_caption_names_the_split_that_was_measured(gap: list) -> None:
    counts = gap[0].counts | {"streams": {"valid": gap[0].counts["streams"]["test"]}}
    record = dataclasses.replace(gap[0], counts=counts)
    assert "No positive validation sample in T2: " in build_table([record]).setting


def test_forgetting_by_hand(make_record) -> None:
    """F1 of T1 falls from 80 and 90 to 65, of T2 from 70 to 40: 15 and 25, 30 twice."""
    records = [
        make_record("a", 0, ((80,), (60, 70), (65, 40, 90))),
        make_record("a", 1, ((90,), (60, 70), (65, 40, 90))),
        make_record("b", 0, ((80,), (80, 70), (80, 70, 90))),
    ]
    table = build_table(records, measure="forgetting", reference="b", paper=None)
    assert table.columns == ("Forgetting", "Backward transfer", "T1", "T2")
    means = [[stat.mean for stat in row.stats] for row in table.rows]
    assert means == [[25.0, -25.0, 20.0, 30.0], [0.0, 0.0, 0.0, 0.0]]
    assert [made.difference for made in table.rows[0].comparisons.values()] == [22.5, -22.5]
    assert table.best() == set()  # who learns nothing forgets nothing


@pytest.mark.parametrize(
    ("rows", "means", "why"),
    [
        (((60,), (80, None), (30, None, 90)), [50.0, -30.0, 50.0, None], "sample in T2"),
        (((60,),), [None, None], "nothing to be forgotten: -."),
    ],
)
def test_forgetting_that_cannot_be_measured(make_record, rows, means, why) -> None:
    table = build_table(
        [make_record("a", 0, rows), make_record("b", 0, rows)], measure="forgetting", reference="a"
    )
    assert [stat.mean for stat in table.rows[0].stats] == means
    assert why in table.setting
