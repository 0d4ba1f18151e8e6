"""Tables whose rows are compared with one of them, against numbers worked by hand."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mkgc_cl.results import Table, build_table
from mkgc_cl.results.render import to_csv_table, to_latex_table, to_markdown_table

# Seven seeds s = 0 .. 6. A of "full" is (80 + s, 65 + s), of "w/o MM" (80 + s, 42 + 2 s). T2
# differs by s - 23: mean -20, sample deviation sqrt(28 / 6) = 2.160, times t(0.975; 6) / sqrt(7) =
# 2.447 / 2.646 is 1.998. AVG differs by half of that. All seven differences have one sign: p = 2 /
# 128 for both, 4 / 128 = 0.03125 after Holm. "twin" has two of the seeds and one "full" lacks.


@pytest.fixture
def records(make_record) -> list:
    full = [make_record("full", s, ((80 + s,), (60, 70 + 2 * s))) for s in range(7)]
    less = [make_record("w/o MM", s, ((80 + s,), (14 + 2 * s, 70 + 2 * s))) for s in range(7)]
    twin = [make_record("twin", s, ((80 + s,), (60, 70 + 2 * s))) for s in (0, 1, 9)]
    return [*less, *twin, *full]


@pytest.fixture
def table(records) -> Table:
    return build_table(records, reference="full", paper={"full": [77.8, 60.0]}, notes=["A note."])


FOOTNOTES = [
    "Compared with full, paired by seed: mean difference [95 % interval, Student's t]; two-sided p "
    "of that mean (sign-flip permutation test, exact, all 2^7 patterns); p corrected after Holm "
    "for the 2 tests here; * where the corrected p is below 0.05; n too small: fewer than 3 pairs "
    "are not tested.",
    "- w/o MM (n = 7): T2 -20.0 [-22.0, -18.0], p = 0.0156, corrected 0.0312; AVG -10.0 "
    "[-11.0, -9.0], p = 0.0156, corrected 0.0312.",
    "- twin (n = 2, 6 without partner): T2 +0.0 [+0.0, +0.0], n too small; AVG +0.0 [+0.0, +0.0], "
    "n too small.",
]


def test_footnotes(table: Table) -> None:
    assert list(table.footnotes) == FOOTNOTES


def test_text(table: Table) -> None:
    lines = table.text().splitlines()
    rule = next(number for number, line in enumerate(lines) if line.startswith("---"))
    assert lines[rule : rule + 10] == [
        "------------------------------------------------",
        "                   T1           T2          AVG",
        "------------------------------------------------",
        "w/o MM     83.0 ± 2.2   48.0 ± 4.3*  65.5 ± 3.2*",
        "twin       83.3 ± 4.9†  68.3 ± 4.9†  75.8 ± 4.9†",
        "full       83.0 ± 2.2   68.0 ± 2.2   75.5 ± 2.2",
        "  (paper)        77.8         60.0         68.9",
        "------------------------------------------------",
        "† best of its column.",
        "A note.",
    ]
    assert " ".join(lines[rule + 10 :]) == " ".join(FOOTNOTES)
    assert max(map(len, lines)) <= 88


def test_markdown_escapes_the_star(table: Table) -> None:
    lines = to_markdown_table(table).splitlines()
    assert r"| w/o MM | 83.0 ± 2.2 | 48.0 ± 4.3\* | 65.5 ± 3.2\* |" in lines
    assert r"| twin | **83.3 ± 4.9** | **68.3 ± 4.9** | **75.8 ± 4.9** |" in lines
    assert lines[-6:] == [
        "", FOOTNOTES[0].replace("; * ", r"; \* "), "", FOOTNOTES[1], "", FOOTNOTES[2]
    ]  # fmt: skip


def test_a_best_mean_may_carry_a_mark(make_record, records) -> None:
    best = [make_record("best", s, ((90,), (90, 90))) for s in range(8)]
    full = [record for record in records if record.system == "full"]
    table = build_table([*full, *best], reference="full")
    assert r"| best | **90.0 ± 0.0** | **90.0 ± 0.0**\* | **90.0 ± 0.0**\* |" in to_markdown_table(
        table
    )
    assert r"\textbf{90.0 $\pm$ 0.0}\rlap{$^{*}$}" in to_latex_table(table, label="t")


def test_latex_has_the_notes_below_the_table(table: Table) -> None:
    lines = to_latex_table(table, label="t").splitlines()
    star = r"\rlap{$^{*}$}"
    assert rf"w/o MM & 83.0 $\pm$ 2.2 & 48.0 $\pm$ 4.3{star} & 65.5 $\pm$ 3.2{star} \\" in lines
    end = lines.index(r"\end{tabular}}")
    assert lines[end + 1 : end + 4] == ["", r"\smallskip", r"\parbox{\linewidth}{\footnotesize"]
    assert lines[-2:] == ["}", r"\end{table}"]
    notes = lines[end + 4 : -2]
    assert [note[:6] for note in notes] == ["n diff", "A note", "Compar", "- w/o ", "- twin"]
    assert all(note.endswith(r"\par") for note in notes)
    assert "all $2^{7}$ patterns" in notes[2]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles_by_its_own_comment(make_record, tmp_path: Path) -> None:
    """A table that is wider than the page, of all groups, and one of names that could hurt."""
    names = ["Vanilla", "MSPT", "Joint Training", "M-[R-Replay & EWC]", r"50 % \x{$#}~^_<|>"]
    rows = [[50 + k] * k for k in range(1, 11)]
    records = [make_record(name, seed, rows) for name in names for seed in range(6)]
    for measure in ("A", "forgetting"):
        made = build_table(records, measure=measure, reference="MSPT", remarks=["A_k of 5 %"])
        text = to_latex_table(made, label=made.label)
        preamble = "\n".join(re.findall(r"^% (\\usepackage.*)$", text, re.MULTILINE))
        (tmp_path / "t.tex").write_text(
            f"\\documentclass{{article}}\n{preamble}\n\\begin{{document}}\n"
            f"{text}\\end{{document}}\n"
        )
        done = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"],  # noqa: S607
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout
        assert "Overfull" not in done.stdout


def test_csv(table: Table) -> None:
    rows = {(r["system"], r["column"]): r for r in csv.DictReader(io.StringIO(to_csv_table(table)))}
    marked = rows["w/o MM", "AVG"]
    assert list(marked)[8:] == [
        "reference", "pairs", "left_out", "difference", "difference_low", "difference_high", "p",
        "p_corrected", "mark",
    ]  # fmt: skip
    assert list(marked.values())[8:] == [
        "full", "7", "0", "-10.0", "-10.9989", "-9.0011", "0.015625", "0.03125", "*"
    ]  # fmt: skip
    small = rows["twin", "T2"]
    assert list(small.values())[8:] == ["full", "2", "6", "0.0", "0.0", "0.0", "", "", ""]
    for uncompared in (rows["w/o MM", "T1"], rows["full", "AVG"]):
        assert list(uncompared.values())[8:] == [""] * 9


def test_without_reference_or_with_it_alone_nothing_is_compared(records) -> None:
    plain = build_table(records)
    assert plain.footnotes == ()
    assert "reference" not in to_csv_table(plain)
    alone = [record for record in records if record.system == "full"]
    assert build_table(alone, reference="full") == build_table(alone)


def test_comparing_changes_no_mean(records, table: Table) -> None:
    plain = build_table(records)
    assert [row.stats for row in plain.rows] == [row.stats for row in table.rows]


def test_few_pairs_are_said_to_show_nothing(make_record) -> None:
    records = [
        make_record(system, seed, ((value,), (value, value)))
        for system, value in (("full", 10), ("other", 90))
        for seed in range(5)
    ]
    table = build_table(records, reference="full")
    assert table.footnotes[-1] == (
        "With n = 5 no p can be below 2/2^n = 0.0625, no corrected p below 0.125: nothing can be "
        "marked, however large a difference; that takes 7 pairs."
    )
    assert "*" not in table.text().split("Compared")[0]


def test_a_row_of_few_pairs_among_others_is_said_to_show_nothing(make_record, records) -> None:
    few = [make_record("few", seed, ((1,), (1, 1))) for seed in range(5)]
    table = build_table([*few, *records], reference="full")
    # The least p, 2/128, is corrected for 4 comparisons: 0.0625 is above 0.05.
    assert (
        "With n = 7 no p can be below 2/2^n = 0.0156, no corrected p below 0.0625"
        in (table.footnotes[-1])
    )
    more = [
        make_record(system, 10 + seed, ((value,), (value, value)))
        for system, value in (("full", 90), ("w/o MM", 10))
        for seed in range(2)
    ]
    table = build_table([*few, *records, *more], reference="full")
    assert table.footnotes[-1] == (
        "With n < 6 no p can be below 2/2^n > 0.05: such rows cannot be marked."
    )
    marks = {row.system: [row.mark(column) for column in range(3)] for row in table.rows}
    assert marks == {
        "few": [""] * 3, "w/o MM": ["", "*", "*"], "twin": [""] * 3, "full": [""] * 3
    }  # fmt: skip


def test_no_seed_in_common(make_record) -> None:
    table = build_table([make_record("a", 0), make_record("b", 1)], reference="a")
    assert table.footnotes[1:] == (
        "- b (n = 0, 2 without partner): T2 n too small; AVG n too small.",
    )


def test_the_average_of_one_task_is_compared_once(make_record) -> None:
    records = [
        make_record(system, seed, ((value,),))
        for system, value in (("a", 10), ("b", 90))
        for seed in range(6)
    ]
    (other,) = [row for row in build_table(records, reference="a").rows if row.comparisons]
    assert list(other.comparisons) == [1]
    assert other.comparisons[1].p_corrected == other.comparisons[1].p == 2 / 64
    assert other.mark(1) == "*"


def test_plasticity_is_compared_as_shown(make_record) -> None:
    records = [make_record("a"), make_record("b", rows=((80,), (0, 76)))]
    table = build_table(records, measure="U", reference="a")
    assert [made.difference for made in table.rows[1].comparisons.values()] == [6.0, 3.0]


def test_a_reference_without_a_row_is_said_to_be_missing(records) -> None:
    table = build_table(records, reference="all")
    assert table.footnotes == ("Not compared: there is no run of all.",)
    assert table.text().endswith("\nNot compared: there is no run of all.\n")
    assert build_table(records[:7], reference="all").footnotes == ()  # one row has no other
