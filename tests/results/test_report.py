"""The page of all results: whole, escaped, and true to the records."""

from __future__ import annotations

import dataclasses
import html
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mkgc_cl.errors import OutputError
from mkgc_cl.results import About, RunRecord, build_table, write_about, write_table
from mkgc_cl.results.__main__ import main
from mkgc_cl.results.marks import marks
from mkgc_cl.results.report import page, sections, write_html
from mkgc_cl.results.report.sections import Entry
from mkgc_cl.runs import Run, run_grid

NASTY = 'M-[R-Replay & EWC] <img src="x" onerror="alert(1)">'
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + (300).to_bytes(4, "big") * 2
STREAM = {"image_files": 10, "image_files_blank": 10, "fingerprint": "f00dfeed"}
MADE_BY = {
    "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False},
    "device": "cuda",
    "python": "3.11.7",
    "packages": {"torch": "2.14.1", "timm": None},
    "stream": STREAM,
}
CONFIG = {"lr": 0.1, "stream": {"merge": 1}}
WORDS = ("encoders minilm + vit-384",)


class Page(HTMLParser):
    """Texts, attributes and nesting of a page; fails where a tag is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No drawing; the figures have tests of their own."""

    def draw(_: object, stem: Path, **__: object) -> tuple[Path, Path]:
        Path(f"{stem}.png").write_bytes(PNG)
        return Path(f"{stem}.png"), Path(f"{stem}.pdf")

    monkeypatch.setattr(sections, "draw_curves", draw)
    monkeypatch.setattr(sections, "draw_matrix", draw)


@pytest.fixture
def fill(make_record):
    """A function that runs a grid of two systems and two seeds into a folder."""

    def fill_folder(
        runs: Path, name: str = "abl", *, failing=(), provenance=MADE_BY, config=CONFIG
    ):
        todo = [Run(s, "imner", "PER-LOC", n, config) for n in (0, 1) for s in ("full", NASTY)]

        def one(run: Run, _: object) -> RunRecord:
            if (run.system, run.seed) in failing:
                raise ValueError("</pre><script>alert('loss & all')</script> \x1b[0m\x00")
            rows = [[80 + run.seed], [60, 74 if run.system == "full" else 90]]
            return dataclasses.replace(
                make_record(run.system, run.seed, rows),
                scenario="imner",
                order="PER-LOC",
                config=config,
                provenance=provenance,
                seconds=1234.5 + run.seed,
                peak_memory_mb=2024.7,
            )

        folder = runs / name / todo[0].setting
        write_about(folder, About(words=WORDS, own=("options", "exemplars")))
        return folder, run_grid(todo, one, out=folder, quiet=True)

    return fill_folder


def made(runs: Path) -> Page:
    return Page(write_html(runs).read_text(encoding="utf-8"))


@pytest.mark.usefixtures("quick")
def test_every_number_of_the_records_is_on_the_page(fill, tmp_path: Path) -> None:
    folder, result = fill(tmp_path)
    page = made(tmp_path)
    # A of "full": (80, 67), (81, 67): mean 80.5, sample deviation sqrt(1/2) = 0.7.
    assert page.rows[:3] == [
        ["System", "T1", "T2", "AVG"],
        [NASTY, "80.5 ± 0.7", "75.0 ± 0.0", "77.8 ± 0.4"],
        ["full", "80.5 ± 0.7", "67.0 ± 0.0", "73.8 ± 0.4"],
    ]
    assert page.rows[5] == ["full", "80.5 ± 0.7", "74.0 ± 0.0", "77.2 ± 0.4"]
    # Both lost 20 and 21 of their first task.
    assert page.rows[8] == ["full", "20.5 ± 0.7", "-20.5 ± 0.7", "20.5 ± 0.7"]
    keys = sorted(p.name for p in folder.glob("records/*.json") if "traces" not in p.name)
    runs = {row[-1]: row for row in page.rows if row[-1].endswith(".json")}
    assert sorted(runs) == keys
    for record in result.records:
        key = Run(record.system, "imner", "PER-LOC", record.seed, CONFIG).key
        scores = [f"{record.A[-1]:.1f}", f"{sum(record.A) / 2:.1f}"]
        cost = [f"{record.seconds:,.1f}", "2,024.7"]
        assert runs[f"{key}.json"][:6] == [record.system, str(record.seed), *scores, *cost]
        assert runs[f"{key}.json"][6:11] == ["cuda", "images blank", "0123456789", "1", "f00dfeed"]
    assert "Python 3.11.7, torch 2.14.1" in page.text
    assert "encoders minilm + vit-384, images blank." in page.text


@pytest.mark.usefixtures("quick")
def test_the_best_mean_is_bold_and_the_papers_row_stands_below(fill, tmp_path: Path) -> None:
    folder, _ = fill(tmp_path)
    paper = {"full": [55.5, None, 55.5]}
    write_about(
        folder, About(systems=("full", NASTY), paper=paper, paper_notes=("A note & more.",))
    )
    text = write_html(tmp_path).read_text()
    page = Page(text)
    assert [row[0] for row in page.rows[:4]] == ["System", "full", "full (paper)", NASTY]
    assert page.rows[2][1:] == ["55.5", "-", "55.5"]
    assert page.text.count("A note & more.") == 1
    assert text.count("55.5") == 2  # in the table of A alone
    bold = re.findall(r"<td><b>([^<]*)</b></td>", text)
    assert bold[:4] == ["80.5 ± 0.7", "80.5 ± 0.7", "75.0 ± 0.0", "77.8 ± 0.4"]
    write_about(folder, About(paper={"full": [55.5]}))  # of other tasks
    assert "55.5" not in write_html(tmp_path).read_text()


@pytest.mark.usefixtures("quick")
def test_failures_and_damage_are_shown_and_nothing_is_injected(fill, tmp_path: Path) -> None:
    folder, result = fill(tmp_path, "a <b> & 'c'", failing=[(NASTY, 1)])
    paths = sorted(p for p in folder.glob("records/*.json") if "traces" not in p.name)
    paths[0].with_name("0.json.damaged").write_text("{")
    paths[1].write_text("<i>")
    (folder / "failed" / "list.json").write_text("[]")
    (folder / "config.yaml").write_text("name: <script>x</script>\n")
    text = write_html(tmp_path).read_text()
    page = Page(text)
    (failure,) = result.failures
    clean = re.sub("[\x00\x1b]", "\N{REPLACEMENT CHARACTER}", failure.traceback)
    assert clean in page.text
    assert f"{NASTY}, seed 1: ValueError: </pre><script>" in page.text
    for name in ("0.json.damaged", paths[1].name, "list.json", "expected a JSON object"):
        assert name in page.text
    assert "1 FAILED" in page.text
    assert "3 DAMAGED" in page.text
    assert page.text.count("a <b> & 'c'/PER-LOC-") == 2  # contents and heading
    assert "name: <script>x</script>" in page.text
    assert html.escape(NASTY).replace("&quot;", "&#34;") in text
    assert not {tag for tag, _ in page.tags} & {"script", "i", "link", "iframe", "object"}
    assert not [a for _, attrs in page.tags for a in attrs if a.startswith("on")]


@pytest.mark.usefixtures("quick")
def test_the_page_needs_nothing_but_itself(fill, tmp_path: Path) -> None:
    fill(tmp_path)
    text = write_html(tmp_path).read_text()
    page = Page(text)
    targets = [a[k] for _, a in page.tags for k in ("src", "href", "action") if k in a]
    ids = {f"#{a['id']}" for _, a in page.tags if "id" in a}
    assert targets
    assert all(t in ids or str(t).startswith("data:image/png;base64,") for t in targets)
    assert "http" not in text.replace("http-equiv", "")
    assert "url(" not in text
    assert "@import" not in text
    assert page.all("html") == [{"lang": "en"}]
    assert all(a.get("alt") for a in page.all("img"))
    assert all(a.get("scope") in ("col", "row") for a in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    assert write_html(tmp_path).read_text() == text


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("provenance", "config", "mark"),
    [
        ({**MADE_BY, "stream": {"synthetic stream": True}}, CONFIG, "SYNTHETIC DATA"),
        (MADE_BY | {"git": {"commit": "abc", "dirty": True}}, CONFIG, "UNCOMMITTED CHANGES"),
        (MADE_BY | {"git": None}, CONFIG, "SOURCE NOT RECORDED"),
        ({**MADE_BY, "stream": {**STREAM, "image_files_blank": 4}}, CONFIG, "4 OF 10 IMAGES BLANK"),
    ],
)
def test_what_is_no_result_is_marked(fill, tmp_path: Path, provenance, config, mark) -> None:
    real = {**MADE_BY, "stream": {**STREAM, "image_files_blank": 0}}
    fill(tmp_path / "plain", provenance=real)
    assert made(tmp_path / "plain").all("ul") == []
    fill(tmp_path / "marked", provenance=provenance, config=config)
    page = made(tmp_path / "marked")
    badges = page.text.count(mark)
    assert badges >= 2  # in the contents and below the heading
    assert len(page.all("ul")) == 2


BADGE = "RUNS OF DIFFERENT CONFIGURATIONS"
TABLE = {"training": {"epochs": 3}, "options": {}, "exemplars": None}


@pytest.mark.parametrize(
    ("runs", "marked"),
    [
        # options are each system's own, and a budget only of those with a memory
        ([("EWC", {"options": {"weight": 7}}), ("MSPT", {"exemplars": 6}), ("Vanilla", {})], False),
        ([("EWC", {"options": {"weight": 7}}), ("EWC", {"options": {"weight": 7}})], False),
        # the same system with other options or another budget
        ([("EWC", {"options": {"weight": 7}}), ("EWC", {"options": {}})], True),
        ([("MSPT", {"exemplars": 6}), ("MSPT", {"exemplars": None})], True),
        # two systems that were trained otherwise, or compared at unlike budgets
        ([("EWC", {}), ("MSPT", {"training": {"epochs": 5}})], True),
        ([("EMR", {"exemplars": 6}), ("Vanilla", {}), ("MSPT", {"exemplars": 2})], True),
        ([("EWC", {}), ("MSPT", {"stream": {"split": "test"}})], True),
        ([], False),
    ],
)
def test_configurations_are_compared_in_what_systems_share(make_record, runs, marked: bool) -> None:
    records = [
        dataclasses.replace(make_record(system, n), config=TABLE | config)
        for n, (system, config) in enumerate(runs)
    ]
    assert (BADGE in marks(records, own=("options", "exemplars"))) == marked
    assert BADGE not in marks(records, vary=True)


def test_validation_samples_are_those_that_were_measured(make_record) -> None:
    record = make_record()
    counts = record.counts | {"streams": {"valid": record.counts["streams"]["test"]}}
    assert "VALIDATION SAMPLES" in marks([record, dataclasses.replace(record, counts=counts)])
    assert "VALIDATION SAMPLES" not in marks([record])


@pytest.mark.usefixtures("quick")
def test_folders_that_are_no_experiment_or_have_no_run(fill, tmp_path: Path, caplog) -> None:
    fill(tmp_path)
    (tmp_path / "stray" / "deep").mkdir(parents=True)
    (tmp_path / "void").mkdir()
    (tmp_path / "begun" / "x-1" / "records").mkdir(parents=True)
    page = made(tmp_path)
    for name in ("stray/deep", "void"):
        assert f"{name}: holds no experiment" in page.text
    assert "begun/x-1" in page.text
    assert "No run has finished." in page.text


@pytest.fixture
def swept(fill, make_record, tmp_path: Path) -> Path:
    """A folder of runs with an experiment and, of the same name, a sweep."""
    fill(tmp_path)
    table = build_table(
        [make_record(system, seed) for system in ("full", NASTY) for seed in (0, 1)],
        reference="full",
        remarks=["SYNTHETIC DATA"],
        marks=["SYNTHETIC DATA"],
    )
    table = dataclasses.replace(table, caption="A (%), against <b>.")
    stem = "sizes-1.5-0a1b"
    write_table(table, lambda name, text: (tmp_path / "abl" / name).write_text(text), stem=stem)
    (tmp_path / "abl" / f"{stem}.png").write_bytes(PNG)
    (tmp_path / "abl" / "mine.json").write_text('{"a": 1}')
    return tmp_path


@pytest.mark.usefixtures("quick")
def test_sweeps_stand_before_the_experiments_of_their_name(swept: Path, capsys) -> None:
    (experiment,) = (path.name for path in (swept / "abl").iterdir() if path.is_dir())
    assert main(["report", str(swept)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["abl: 1 sweep", f"abl/{experiment}: 4 finished"]
    page = Page((swept / "report.html").read_text())
    links = [attributes["href"] for attributes in page.all("a")]
    assert links == ["#section-1", "#section-2"]
    assert [a.get("id") for a in page.all("h2")] == [None, "section-1", "section-2"]
    assert page.text.count("abl, sweeps") == 2
    assert page.text.count("1 table on several settings or orders: sizes-1.5-0a1b.") == 2
    assert page.text.count("SYNTHETIC DATA") == 3  # twice a mark, and in the caption
    assert page.rows[:3] == [
        ["System", "T1", "T2", "AVG"],
        ["full", "80.0 ± 0.0", "65.0 ± 0.0", "72.5 ± 0.0"],
        [NASTY, "80.0 ± 0.0", "65.0 ± 0.0", "72.5 ± 0.0"],
    ]
    assert "Compared with full, paired by seed" in page.text
    assert page.all("img")[0]["alt"] == "Line chart: A (%), against <b>. Numbers as in the table."
    assert "mine" not in page.text
    # the folder of the one name does as well
    assert page.rows == made(swept / "abl").rows


@pytest.mark.usefixtures("quick")
def test_a_sweep_that_cannot_be_read_says_so_and_the_rest_stays(swept: Path, caplog) -> None:
    name = swept / "abl"
    (name / "sizes-1.5-0a1b.png").write_bytes(b"GIF89a")
    (name / "other-0a1b.json").write_text('{\n "table": 1,\n "caption": "cut o')
    (swept / "lone").mkdir()
    (name / "other-0a1b.json").replace(swept / "lone" / "other-0a1b.json")
    page = made(swept)
    assert "Cannot be shown: ValueError: sizes-1.5-0a1b.png is not a PNG image" in page.text
    assert "Cannot be shown: DataError" in page.text
    assert "lone/other-0a1b.json: no table of mkgc_cl" in page.text
    assert "lone: holds no experiment" not in page.text
    assert len(page.all("img")) == 4  # those of the experiment
    (name / "sizes-1.5-0a1b.png").unlink()
    assert made(swept).rows[1][0] == "full"


@pytest.mark.usefixtures("quick")
def test_a_part_that_cannot_be_built_says_so_and_the_rest_stays(
    fill, tmp_path: Path, caplog
) -> None:
    folder, _ = fill(tmp_path)
    paths = sorted(p for p in folder.glob("records/*.json") if "traces" not in p.name)
    for path in paths[0], paths[0].with_name(f"{paths[0].stem}.traces.json"):
        path.with_name("copy" + path.name).write_bytes(path.read_bytes())
    (folder / "records" / f"{paths[1].stem}.traces.json").write_text("[]")
    page = made(tmp_path)
    assert "Cannot be shown: DataError: two records of" in page.text
    assert "two records of" in caplog.text
    assert f"copy{paths[0].name}" in [row[-1] for row in page.rows]
    assert f"records/{paths[1].name}: left out of the results" in page.text


@pytest.mark.usefixtures("quick")
@pytest.mark.timeout(60)
def test_odd_files_are_named_and_cost_the_others_nothing(fill, tmp_path: Path) -> None:
    folder, _ = fill(tmp_path)
    paths = sorted(p for p in folder.glob("records/*.json") if "traces" not in p.name)
    paths[0].with_name(f"{paths[0].stem}.traces.json").write_text('{"gamma": 5}')
    paths[1].write_text("[" * 100_000)
    (folder / "failed").mkdir()
    (folder / "failed" / "deep.json").write_text("[" * 100_000)
    (folder / "config.yaml").write_text("name: !!timestamp 2020-13-45\n")  # shown, not read
    (folder / "about.json").unlink()
    for name in ("about.json", "failed/fifo.json", "records/fifo.json"):
        os.mkfifo(folder / name)
    (folder / "figures").mkdir()
    os.mkfifo(tmp_path / "abl" / "sweep.json")
    page = made(tmp_path)
    assert "6 DAMAGED" in page.text
    for said in (
        f"records/{paths[0].name}: left out of the results: {paths[0].stem}.traces.json holds no",
        f"records/{paths[1].name}: left out of the results: lists within lists",
        "failed/deep.json: a run failed here, but: lists within lists",
        "found a named pipe",
        "about.json: left aside: expected a regular file",
        "name: !!timestamp 2020-13-45",
    ):
        assert said in page.text
    assert [row[0] for row in page.rows[:2]] == ["System", NASTY]


@pytest.mark.usefixtures("quick")
def test_a_folder_that_cannot_be_shown_says_so_and_the_rest_stays(
    fill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    fill(tmp_path, "a")
    fill(tmp_path, "b")

    read = sections.read_experiment

    def fail(folder: Path) -> object:
        if folder.parent.name == "a":
            raise KeyError("odd")
        return read(folder)

    monkeypatch.setattr(sections, "read_experiment", fail)
    page = made(tmp_path)
    assert page.text.count("cannot be shown: KeyError: 'odd'") == 2  # in the contents, too
    assert page.rows[1][0] == NASTY


@pytest.mark.slow
def test_figures_are_drawn_from_the_runs_with_their_numbers_in_words(fill, tmp_path: Path) -> None:
    folder, _ = fill(tmp_path, failing=[("full", 0), ("full", 1)])
    (folder / "figures").mkdir()
    (folder / "figures" / "gamma.png").write_bytes(PNG)
    page = made(folder)  # the folder of one experiment does as well
    images = page.all("img")
    assert len(images) == 4
    assert images[2]["width"] == str(300 * 96 // 150)
    assert images[3]["alt"] == (
        f"Heat map of {NASTY}, micro-F1 in per cent on each task; after T1: 80.5; "
        "after T2: 60.0, 90.0"
    )


def test_a_folder_without_results_is_an_error(tmp_path: Path, capsys) -> None:
    assert main(["report", str(tmp_path / "none")]) == 2
    assert "none: no such folder; give the one that" in capsys.readouterr().err
    assert main(["report", str(tmp_path)]) == 2
    assert f"{tmp_path}: no experiment here, expected <name>/" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_the_command(fill, tmp_path: Path, capsys) -> None:
    runs = tmp_path / "runs"
    folder, _ = fill(runs, failing=[("full", 1)])
    out = tmp_path / "new" / "page.html"
    assert main(["report", str(runs), "--out", str(out)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"abl/{folder.name}: 3 finished, 1 failed",
        f"written to {out}",
    ]
    assert [p.name for p in out.parent.iterdir()] == ["page.html"]
    assert main(["report", str(runs), "--out", str(tmp_path)]) == 2
    assert "this is a folder; name a file" in capsys.readouterr().err
    with pytest.raises(OutputError, match=r"results cannot be kept there \(Not a directory\)"):
        write_html(runs, out / "below-a-file.html")


ODD_TEXT = json.loads('"\\ud800\\u0000<a href=\\"x\\">&{{ 7 * 7 }}{% raw %}"')


def test_text_is_escaped_and_kept_writable() -> None:
    part = {"heading": ODD_TEXT, "kind": "settings_file", "words": ODD_TEXT, "text": ODD_TEXT}
    image = {"png": PNG, "alt": '" onload="x', "caption": "<b>", "width": 1}
    figures = {"heading": "f", "kind": "figures", "curves": [image], "maps": []}
    entry = Entry(ODD_TEXT, ODD_TEXT, "", ((ODD_TEXT, "warn"),), (part, figures))
    text = page(ODD_TEXT, [entry], [ODD_TEXT])
    escaped = "\ufffd\ufffd&lt;a href=&#34;x&#34;&gt;&amp;{{ 7 * 7 }}{% raw %}"
    assert text.encode("utf-8").decode().count(escaped) == 12
    found = Page(text)
    assert {tuple(a) for a in found.all("a")} == {("href",)}
    assert found.all("img")[0]["alt"] == '" onload="x'


@pytest.mark.usefixtures("quick")
def test_settings_that_differ_stand_before_the_folders(fill, tmp_path: Path, capsys) -> None:
    first, _ = fill(tmp_path)
    other, _ = fill(tmp_path, config={"lr": 0.2, "stream": {"merge": 1, "<i>": "</b>"}})
    titles = sorted((first.name, other.name))
    page = made(tmp_path)
    assert page.rows[0] == ["Setting", *titles]
    by_folder = {first.name: ("0.1", "-"), other.name: ("0.2", "</b>")}
    assert page.rows[1:3] == [
        ["lr", *(by_folder[name][0] for name in titles)],
        ["stream.<i>", *(by_folder[name][1] for name in titles)],
    ]
    assert page.text.count("abl, settings that differ") == 2
    assert main(["report", "--diff", str(first), str(other)]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["setting", first.name, other.name], ["lr", "0.1", "0.2"], ["stream.<i>", "-", "</b>"],
    ]  # fmt: skip
    assert main(["report", "--diff", str(first), str(first)]) == 0
    assert capsys.readouterr().out == "no setting differs\n"
    assert main(["report", "--diff", str(first), str(tmp_path / "none")]) == 2
    assert "none: no finished run here" in capsys.readouterr().err
