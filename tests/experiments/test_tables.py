"""The scripts of tables and figures from the command line to their files, training stood in for."""

from __future__ import annotations

import html
import importlib
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from mkgc_cl.data import LabelSpace, Task, TaskStream, VisualInput
from mkgc_cl.data import demo as demo_data
from mkgc_cl.data.images import BLANK
from mkgc_cl.errors import ConfigError
from mkgc_cl.experiments import (
    build_check,
    controls,
    experiment_run,
    imbalance,
    table_check,
    table_cli,
    table_plan,
    table_run,
)
from mkgc_cl.metrics import Counts, ResultMatrix
from mkgc_cl.results import RunRecord, read_table
from mkgc_cl.results.report import write_html
from mkgc_cl.scenarios import demo
from mkgc_cl.systems import SYSTEMS, systems_of

REAL = {"image_files": 9, "image_files_blank": 9}
MADE = TaskStream("made", LabelSpace("re", ("r",), na="None"), (), REAL)


@pytest.fixture
def ran(
    untrained: list[tuple[str, str, int]], monkeypatch: pytest.MonkeyPatch
) -> list[tuple[str, str, int]]:
    """Training stood in for, and nothing built before it either."""
    monkeypatch.setattr(table_check, "built", lambda *_, **__: None)
    return untrained


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int]]:
    """Replace training by numbers that depend on system, order, budget and seed."""
    done: list[tuple[str, str, int]] = []

    def make_run(self, run, progress) -> RunRecord:
        done.append((run.system, run.order, run.seed))
        if run.system == "EWC" and run.config["options"].get("weight") == -1:
            raise ValueError("weight=-1")
        tasks = {"sep10": 10, "sep7": 7, "sep5": 5}.get(run.order, 4)
        matrix = ResultMatrix(tasks)
        more = run.config["exemplars"] or 0
        for after in range(tasks):
            for on in range(after + 1):
                tp = 80 - 5 * (after - on) + len(run.system) % 7 + run.seed + more
                matrix.record("test", after=after, on=on, counts=Counts(tp, 100, 100))
        return RunRecord.from_matrix(
            matrix,
            system=run.system,
            scenario=run.scenario,
            order=run.order,
            seed=run.seed,
            tasks=[f"T{n + 1}" for n in range(tasks)],
            seconds=1.0,
            config=run.config,
            provenance={**self.made_by, "stream": REAL},
        )

    monkeypatch.setattr(table_run.RunMaker, "__call__", make_run)
    for module in (table_plan, controls):
        monkeypatch.setattr(module, "read_stream", lambda *_: MADE)
    monkeypatch.setattr("mkgc_cl.results.about.draw_matrix", lambda *_: None)
    monkeypatch.setattr(
        importlib.import_module("mkgc_cl.experiments.paper_rows"), "other_data", lambda *_: ""
    )
    return done


def run_script(name: str, *argv: str, out: Path) -> int:
    script = importlib.import_module(f"mkgc_cl.experiments.{name}")
    cli = table_cli
    runs = {
        "rehearsal_size": "run_sizes",
        "task_number": "run_numbers",
        "plasticity": "run_and_show",
        "controls": "run_controls",
    }
    how = getattr(script, runs[name]) if name in runs else cli.run_orders
    return int(cli.main(script.SCRIPT, [*argv, "--out", str(out), "--quiet"], run=how))


@pytest.mark.slow
def test_table_1_has_every_row_beside_the_papers(ran: list, tmp_path: Path, capsys) -> None:
    assert run_script("imre", "--data", "D", "--seeds", "0,1", out=tmp_path) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    for name in systems_of("re"):
        row = next(n for n, line in enumerate(lines) if line.startswith(f"{name}  "))
        theirs = lines[row + 1].split()
        if "Gaussian" in name:  # ours
            assert theirs[0] != "(paper)"
        else:
            assert (theirs[0], len(theirs)) == ("(paper)", 12)
    assert "(paper)  91.7  76.2" in " ".join(printed.out.split()).replace(" ", "  ")
    assert "Compared with MSPT, paired by seed" in " ".join(lines)
    assert len(ran) == 2 * len(systems_of("re"))
    assert {system for system, *_ in ran} == {n for n in SYSTEMS if n != "ExtendNER"}
    (out,) = (tmp_path / "imre").iterdir()
    assert out.name.startswith("sep10-")
    assert {"table-A.tex", "table-U.md", "results.json", "config.yaml", "env.json"} <= {
        path.name for path in out.iterdir()
    }
    assert {path.name for path in (out / "figures").iterdir()} == {
        f"{stem}.{suffix}" for stem in "AU" for suffix in ("png", "pdf")
    }


@pytest.mark.slow
def test_another_corpus_has_no_row_of_the_paper_and_a_note(
    ran: list, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    paper = importlib.import_module("mkgc_cl.experiments.paper_rows")
    monkeypatch.setattr(paper, "other_data", lambda *_: "train samples per task 3, not 4")
    assert run_script("imre", "--systems", "Vanilla,MSPT", out=tmp_path) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "(paper)" not in printed
    assert "91.7" not in printed
    assert "No row of the paper: the data are not those of its benchmark (train" in printed


@pytest.mark.slow
def test_table_2_has_both_orders_and_finished_runs_are_kept(ran: list, tmp_path: Path) -> None:
    assert run_script("imner", "--systems", "Vanilla,MSPT", out=tmp_path) == 0
    assert {order for _, order, _ in ran} == {"PER-ORG-LOC-MISC", "PER-LOC-ORG-MISC"}
    assert len(ran) == 4
    assert run_script("imner", "--systems", "Vanilla,ExtendNER", out=tmp_path) == 0
    assert len(ran) == 6
    assert len([path for path in (tmp_path / "imner").iterdir() if path.is_dir()]) == 2


@pytest.mark.slow
def test_quick_has_both_orders_of_table_2(ran: list, tmp_path: Path) -> None:
    assert run_script("imner", "--quick", "--systems", "MSPT", out=tmp_path) == 0
    assert ran == [("MSPT", "PER-ORG-LOC-MISC", 0), ("MSPT", "PER-LOC-ORG-MISC", 0)]


@pytest.mark.slow
def test_orders_together_are_pairs_enough_for_a_test(ran: list, tmp_path: Path, capsys) -> None:
    """Three seeds in two orders: n = 6, whose smallest p of 2/64 two tests correct to 0.0625."""
    argv = ("--systems", "Vanilla,EWC,MSPT", "--orders", "PER-ORG-LOC-MISC,PER-LOC-ORG-MISC")
    assert run_script("imner", *argv, "--seeds", "0,1,2", out=tmp_path) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "seeds 0 1 2 in each" in printed
    assert "Compared with MSPT, paired by order and seed:" in printed
    (path,) = (tmp_path / "imner").glob("orders-*.json")
    runs = {(c["system"], c["column"]): c for c in json.loads(path.read_text())["cells"]}
    # of a hundred, 80 + seed + length of the name mod 7; 5 less for every task since
    vanilla, mspt = runs["Vanilla", "AVG"], runs["MSPT", "AVG"]
    assert (vanilla["n"], vanilla["pairs"], mspt["pairs"]) == (6, 6, None)
    assert vanilla["difference"] == pytest.approx(vanilla["mean"] - mspt["mean"], abs=1e-3)
    assert vanilla["difference"] == pytest.approx(0 - 4, abs=0.5)
    assert vanilla["p"] == 2 / 2**6
    run_script("imner", "--systems", "EMR", "--orders", "PER-ORG-LOC-MISC", out=tmp_path)
    run_script("imner", *argv[:2], "--orders", "PER-LOC-ORG-MISC,PER-ORG-LOC-MISC", out=tmp_path)
    # one order alone has none, and both are the same the other way round
    assert len(list((tmp_path / "imner").glob("orders-*.json"))) == 1


@pytest.mark.slow
def test_over_orders_only_seeds_that_all_of_them_have(ran: list, tmp_path: Path, capsys) -> None:
    orders = "PER-ORG-LOC-MISC,PER-LOC-ORG-MISC"
    run_script(
        "imner", "--systems", "Vanilla", "--orders", orders[:16], "--seeds", "5", out=tmp_path
    )
    argv = ("--systems", "Vanilla,EWC,Joint Training", "options={EWC: {weight: -1}}")
    assert run_script("imner", *argv, "--orders", orders, "--seeds", "0,1", out=tmp_path) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "No row, for want of a seed in every order: EWC." in printed
    (path,) = (tmp_path / "imner").glob("orders-*.json")
    made = read_table(path)
    assert [row.system for row in made.rows] == ["Vanilla", "Joint Training"]
    assert {stat.n for row in made.rows for stat in row.stats} == {4}
    assert made.footnotes == ("Not compared: there is no run of MSPT in every order.",)
    assert "Joint Training is an upper bound and not marked as best." in made.notes
    page = write_html(tmp_path).read_text()
    assert "seeds 0 1 in each" in page
    # once below each table: that over the orders, and A and U of both
    assert page.count("Joint Training is an upper bound") == 1 + 2 * 2


@pytest.mark.slow
def test_an_option_of_one_system_runs_that_system_again_and_shows_only_the_new(
    ran: list, tmp_path: Path, capsys
) -> None:
    common = ("--systems", "EWC,Vanilla,MSPT")
    run_script("imre", *common, out=tmp_path)
    capsys.readouterr()
    assert run_script("imre", *common, "options={EWC: {weight: 7}}", out=tmp_path) == 0
    assert [system for system, *_ in ran[3:]] == ["EWC"]
    printed = capsys.readouterr().out
    names = [line.split()[0] for line in printed.splitlines() if line[:3] in ("EWC", "Van", "MSP")]
    assert names == ["Vanilla", "EWC", "MSPT"]
    # a folder for each set of options, so that whoever reads one reads one configuration
    folders = list((tmp_path / "imre").iterdir())
    assert len(folders) == 2
    for folder in folders:
        runs = json.loads((folder / "results.json").read_text())["records"]
        assert sorted(run["system"] for run in runs) == ["EWC", "MSPT", "Vanilla"]


@pytest.mark.slow
def test_the_budget_is_shared_by_those_that_keep_exemplars(ran: list, tmp_path: Path) -> None:
    assert run_script("imre", "--systems", "Vanilla,RP-CRE", out=tmp_path) == 0
    assert run_script("imre", "--systems", "Vanilla,RP-CRE", "--exemplars", "6", out=tmp_path) == 0
    assert [system for system, *_ in ran] == ["Vanilla", "RP-CRE", "RP-CRE"]
    assert len(list((tmp_path / "imre").iterdir())) == 2


@pytest.mark.slow
def test_sizes_leave_the_main_table_alone_and_the_report_can_read_all(
    ran: list, tmp_path: Path
) -> None:
    from mkgc_cl.results.__main__ import main as results

    run_script("imre", "--systems", "Vanilla,RP-CRE,MSPT", out=tmp_path)
    (main_table,) = tmp_path.glob("imre/*/table-A.txt")
    before = main_table.read_text()
    run_script("rehearsal_size", "--systems", "RP-CRE,MSPT", "--sizes", "2,4", out=tmp_path)
    assert main_table.read_text() == before
    assert results(["report", str(tmp_path)]) == 0
    assert "Cannot be shown" not in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_a_failed_run_is_named_and_the_rest_is_shown(ran: list, tmp_path: Path, capsys) -> None:
    options = "options={EWC: {weight: -1}}"
    assert run_script("imre", "--systems", "EWC,Vanilla", options, out=tmp_path) == 1
    printed = capsys.readouterr()
    assert "FAILED EWC, sep10, seed 0: ValueError: weight=-1" in printed.err
    assert "Vanilla" in printed.out


@pytest.mark.slow
def test_sizes_of_the_memory(ran: list, tmp_path: Path, capsys) -> None:
    argv = ("--systems", "Vanilla,RP-CRE,MSPT", "--sizes", "10,2", "--seeds", "0,1")
    assert run_script("rehearsal_size", *argv, out=tmp_path) == 0
    assert {system for system, *_ in ran} == {"RP-CRE", "MSPT"}
    assert len(ran) == 8
    printed = " ".join(capsys.readouterr().out.split())
    assert "against exemplars of every class; imre" in printed
    (figure,) = (tmp_path / "imre").glob("rehearsal-size-sep10-*.png")
    table = figure.with_suffix(".csv").read_text().splitlines()
    assert table[0].startswith("system,column,mean")
    assert [line.split(",")[:2] for line in table[1:]] == [
        ["RP-CRE", "2"], ["RP-CRE", "10"], ["MSPT", "2"], ["MSPT", "10"]
    ]  # fmt: skip
    # in this stand-in eight more exemplars are eight more right answers
    means = [float(line.split(",")[2]) for line in table[1:]]
    assert means[1] - means[0] == pytest.approx(8)
    caption = printed.split("A after the last task")[-1]
    assert "exemplars of every class, images" not in caption  # of one column only
    for wrong in ("2,x", "-1"):
        with pytest.raises(SystemExit):
            run_script("rehearsal_size", f"--sizes={wrong}", out=tmp_path)
        assert f"invalid numbers value: '{wrong}'" in capsys.readouterr().err
    assert run_script("rehearsal_size", "--systems", "Vanilla", out=tmp_path) == 2
    assert "none of ['Vanilla'] keeps exemplars" in capsys.readouterr().err


@pytest.mark.slow
def test_numbers_of_tasks(ran: list, tmp_path: Path, capsys) -> None:
    assert run_script("task_number", "--systems", "Vanilla,MSPT", out=tmp_path) == 0
    assert [order for _, order, _ in ran] == ["sep5"] * 2 + ["sep7"] * 2 + ["sep10"] * 2
    (path,) = (tmp_path / "imre").glob("task-number-*.csv")
    csv = path.read_text().splitlines()
    assert [line.split(",")[1] for line in csv[1:4]] == ["5", "7", "10"]
    assert path.with_suffix(".pdf").exists()
    # other settings leave these files alone, the same write them again
    assert (
        run_script("task_number", "--systems", "Vanilla,MSPT", "--epochs", "1", out=tmp_path) == 0
    )
    assert run_script("task_number", "--systems", "Vanilla,MSPT", out=tmp_path) == 0
    assert len(list((tmp_path / "imre").glob("task-number-*.csv"))) == 2
    assert path.read_text().splitlines() == csv


@pytest.mark.slow
def test_controls_are_compared_on_what_was_just_learnt(ran: list, tmp_path: Path, capsys) -> None:
    assert run_script("controls", "--quick", "--systems", "UMT,MKGformer", out=tmp_path) == 0
    assert len(ran) == 8
    printed = " ".join(capsys.readouterr().out.split())
    assert "mean U over the tasks (%), micro-F1, against what is taken away; demo-re" in printed
    assert "CONTROL: blank text" in printed
    (path,) = (tmp_path / "imre-quick").glob("controls-*.csv")
    csv = path.read_text().splitlines()
    assert [line.split(",")[1] for line in csv[1:5]] == [
        "none", "shuffled images", "blank images", "blank text"
    ]  # fmt: skip
    assert len(list((tmp_path / "imre-quick").glob("default-*"))) == 4


@pytest.mark.slow
def test_controls_of_several_orders_are_a_table_each(ran: list, tmp_path: Path) -> None:
    argv = ("--quick", "--task", "ner", "--config", "table-imner-quick", "--systems", "UMT")
    assert run_script("controls", *argv, out=tmp_path) == 0
    assert len(ran) == 8
    captions = [p.read_text() for p in sorted((tmp_path / "imner-quick").glob("controls-*.md"))]
    assert ["order PER-LOC-ORG-MISC" in text for text in captions] == [True, False]
    assert ["order PER-ORG-LOC-MISC" in text for text in captions] == [False, True]


@pytest.mark.slow
def test_what_a_script_sets_itself_may_stand_in_a_file(ran: list, tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(
        "name: mine\nstream: {scenario: demo, task: re, merge: 2, control: blank-text}"
    )
    argv = ("--config", str(config), "--systems", "UMT", "--seeds", "0")
    assert run_script("controls", *argv, out=tmp_path) == 0
    assert run_script("task_number", *argv, "stream.control=none", out=tmp_path) == 0
    orders = [order for _, order, _ in ran]
    assert orders == ["default, 2 in one"] * 4 + ["default, 3 in one", "default"]


@pytest.mark.slow
def test_an_order_of_classes_is_the_demonstrations_own(ran: list, tmp_path: Path) -> None:
    order = "PER-MISC-LOC-ORG"
    argv = ("--quick", "--systems", "MSPT", "--orders", order)
    assert run_script("imner", *argv, out=tmp_path) == 0
    assert ran == [("MSPT", order, 0)]


@pytest.mark.slow
def test_a_budget_of_its_own_is_good_where_there_is_none_of_all(ran: list, tmp_path: Path) -> None:
    own = ("--quick", "options={EMR: {exemplars: 2}}")
    assert run_script("imre", *own, "--systems", "EMR,MSPT", out=tmp_path) == 0
    assert run_script("imre", *own, "--systems", "MSPT", "--exemplars", "3", out=tmp_path) == 0
    assert [system for system, *_ in ran] == ["EMR", "MSPT", "MSPT"]


def blank_but(images: int, samples: int) -> TaskStream:
    """A stream of relations in which so many samples of so many have an image."""
    drawn = demo("re", train_per_task=samples).stream.tasks[0].train
    shown = [
        sample if number < images else replace(sample, visual=VisualInput(BLANK))
        for number, sample in enumerate(drawn[:samples])
    ]
    task = Task("T1", ("r",), tuple(shown), (), ())
    return TaskStream("made", LabelSpace("re", ("r",), na="None"), (task,), REAL)


@pytest.mark.slow
def test_controls_of_blank_images_are_asked_for_by_name(
    ran: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(controls, "read_stream", lambda *_: blank_but(4, 10))
    assert run_script("controls", "--systems", "UMT", out=tmp_path) == 2
    assert "only 4 of 10 samples have an image" in capsys.readouterr().err
    assert ran == []
    assert list(tmp_path.iterdir()) == []
    assert run_script("controls", "--systems", "UMT", "--blank-anyway", out=tmp_path) == 0
    monkeypatch.setattr(controls, "read_stream", lambda *_: blank_but(5, 10))
    assert run_script("controls", "--systems", "UMT", "--epochs", "1", out=tmp_path) == 0
    assert len(ran) == 8


def test_crops_are_images_too() -> None:
    stream = blank_but(3, 4)
    samples = stream.tasks[0].train
    whole = samples[0].visual.image
    shown = (
        VisualInput(None, (BLANK, whole), (BLANK,)),
        VisualInput(None, (BLANK,), (BLANK, BLANK)),
        VisualInput(None),
        VisualInput(whole),
    )
    made = tuple(replace(p, visual=v) for p, v in zip(samples, shown, strict=True))
    task = replace(stream.tasks[0], train=made, valid=made[:2])  # a sample counts once
    assert controls.illustrated(replace(stream, tasks=(task,))) == (2, 4)


@pytest.mark.slow
def test_every_stream_of_a_sweep_is_built_once(
    untrained: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_stream, stream_of = experiment_run.read_stream, experiment_run.stream_of
    stand_in, real, read = table_run.RunMaker.__call__, demo_data.demo_stream, []

    def make_run(self, run, progress) -> RunRecord:
        assert stream_of(self.settings.stream, self.settings.encoders.images).stream.tasks
        return stand_in(self, run, progress)

    monkeypatch.setattr(table_run.RunMaker, "__call__", make_run)
    for module in (table_plan, controls):
        monkeypatch.setattr(module, "read_stream", read_stream)
    monkeypatch.setattr(demo_data, "demo_stream", lambda *a, **k: read.append(a) or real(*a, **k))
    read_stream.cache_clear()
    stream_of.cache_clear()
    monkeypatch.setattr(table_check, "built", lambda *_, **__: None)
    argv = ("--systems", "UMT", "--seeds", "0,1", "stream.train_per_task=12", "stream.test_size=20")
    assert run_script("controls", "--quick", *argv, out=tmp_path) == 0
    assert len(untrained) == 8
    assert stream_of.cache_info().misses == 4  # one a control
    assert len(read) == 1  # of which three are made from the first


@pytest.mark.slow
def test_plasticity_prints_the_other_table(ran: list, tmp_path: Path, capsys) -> None:
    assert run_script("plasticity", "--systems", "Vanilla,MSPT", out=tmp_path) == 0
    printed = capsys.readouterr().out
    assert "U_k, micro-F1 (%) on the task just learnt" in printed
    assert "figures/U.png" in printed


@pytest.mark.slow
def test_both_tables_are_compared_and_say_which_options_were_set(
    ran: list, tmp_path: Path, capsys
) -> None:
    argv = ("--systems", "EWC,Vanilla,MSPT", "--seeds", "0,1,2", "options={EWC: {weight: 7}}")
    assert run_script("plasticity", *argv, out=tmp_path) == 0
    (folder,) = (tmp_path / "imre").iterdir()
    texts = {m: " ".join((folder / f"table-{m}.txt").read_text().split()) for m in "AU"}
    for text in texts.values():
        assert "Options set for single systems. EWC: weight 7.0; MSPT: alpha" in text
        assert "Compared with MSPT, paired by seed" in text
        assert "- EWC (n = 3): T10 " in text
    # a note on the paper's numbers stands where these are
    assert ["The paper gives no AVG" in text for text in texts.values()] == [True, False]


@pytest.mark.slow
def test_a_reference_that_did_not_run_is_said_to_be_missing(
    ran: list, tmp_path: Path, capsys
) -> None:
    missing = "Not compared: there is no run of MSPT."
    assert run_script("imre", "--systems", "EWC,Vanilla", out=tmp_path) == 0
    assert missing in capsys.readouterr().out
    for stem in ("table-A", "table-U"):
        for path in tmp_path.glob(f"imre/*/{stem}.[mt]?*"):
            assert missing in path.read_text()
    assert run_script("imre", "--systems", "MSPT", out=tmp_path) == 0
    assert "Not compared" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_narrower_call_keeps_the_rows_and_seeds_of_a_sweep(ran: list, tmp_path: Path) -> None:
    sizes = ("--sizes", "2,4")
    run_script("rehearsal_size", "--systems", "EMR,MSPT", "--seeds", "0,1,2", *sizes, out=tmp_path)
    files = {p: p.read_bytes() for p in tmp_path.glob("imre/rehearsal-size-*.[ctm]*")}
    assert len(files) == 4
    assert (
        run_script("rehearsal_size", "--systems", "EMR", "--seeds", "1", *sizes, out=tmp_path) == 0
    )
    assert {p: p.read_bytes() for p in tmp_path.glob("imre/rehearsal-size-*.[ctm]*")} == files
    assert len(ran) == 12


@pytest.mark.slow
def test_the_report_shows_the_sweep_as_it_is_written(ran: list, tmp_path: Path) -> None:
    from mkgc_cl.results.__main__ import main as results

    argv = ("--systems", "EMR,MSPT", "--seeds", "0,1,2", "--sizes", "2,4")
    run_script("rehearsal_size", *argv, out=tmp_path)
    assert results(["report", str(tmp_path)]) == 0
    page = html.unescape((tmp_path / "report.html").read_text())
    (path,) = tmp_path.glob("imre/rehearsal-size-*.csv")
    assert f"<h3>{path.stem}</h3>" in page
    for line in path.with_suffix(".md").read_text().splitlines():
        if line and not line.startswith("|"):
            assert line.removeprefix("- ").replace(r"\*", "*") in page
    assert "Cannot be shown" not in page


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "argv", "said"),
    [
        ("imre", ["--systems", "Vanila"], "did you mean 'Vanilla'?"),
        ("imre", ["--systems", "ExtendNER"], "no version for this task (re)"),
        ("imner", ["--systems", "RP-CRE"], "no version for this task (ner)"),
        ("imre", ["--orders", "sep9"], "must be sep10, sep7 or sep5"),
        ("imre", ["--seeds", "0,0"], "must name each once"),
        (
            "imre",
            ["--reference", "MSTP"],
            "'reference' names no system 'MSTP'; did you mean 'MSPT'",
        ),
        ("imre", ["options={MSPTT: {alpha: 1}}"], "names no system 'MSPTT'; did you mean 'MSPT'?"),
        ("imre", ["--quick", "--data", "D"], "'stream.data' is not read by the synthetic stream"),
        (
            "imre",
            ["options={MSPT: {aplha: 1}}"],
            "no option 'aplha'; did you mean 'alpha'",
        ),
        ("imre", ["options={EWC: {weight: heavy}}"], "EWC: 'weight' must be a number, got 'heavy'"),
        ("imner", ["stream.merge=2"], "'stream.merge' is for the relation synthetic stream"),
        ("imre", ["--systems", ""], "--systems is empty; give a value, or leave the flag out"),
        ("imre", ["--seeds", ",", "--orders", " "], "2 mistake(s)"),
        ("task_number", ["--scenario", "imner"], "for streams of relations only"),
        ("task_number", ["--quick", "--task", "ner"], "relations only"),
        ("task_number", ["--orders", "sep5"], "it runs them all: sep5, sep7 and sep10"),
        ("rehearsal_size", ["--exemplars", "6"], "give the sizes as in --sizes 2,6,10"),
        ("rehearsal_size", ["exemplars=6"], "'exemplars' is set by rehearsal_size.py itself"),
        ("imre", ["--device", "tpu"], "'device' must be one that works here, got 'tpu'"),
        ("imre", ["--device", "meta"], "give one of cpu"),
        ("imre", ["--quick", "encoders.images=crops"], "has whole images only (image)"),
        ("imre", ["--quick", "--scenario", "imre"], "--quick is the synthetic stream, and"),
        ("imre", ["--quick", "stream.scenario=imner"], "leave out --quick to run on imner"),
        ("imner", ["--quick", "--config", "table-imner"], "leave out --quick to run on imner"),
        ("imre", ["--quick", "--scenario", "imre", "--epochs", "0"], "2 mistake(s)"),
        (
            "imre",
            ["stream.order=sep7"],
            "'stream.order' gives way to 'orders', sep10; give orders=",
        ),
        (
            "controls",
            ["stream.control=blank-text"],
            "'stream.control' is set by controls.py itself",
        ),
        ("task_number", ["--quick", "stream.merge=2"], "'stream.merge' is set by task_number.py"),
        ("task_number", ["stream.order=sep7"], "it runs them all: sep5, sep7, sep10"),
        ("task_number", ["--quick", "stream.first=2"], "every column the same number of tasks"),
        ("task_number", ["--scenario", "imner", "stream.first=2"], "2 mistake(s)"),
        (
            "rehearsal_size",
            ["--quick", "--systems", "EMR", "--sizes", "1,3", "options={EMR: {exemplars: 2}}"],
            "'options' gives EMR 'exemplars' of its own, and --sizes are the budgets of all",
        ),
        (
            "imre",
            ["--quick", "--exemplars", "3", "options={EMR: {exemplars: 2}}"],
            "'options' gives EMR 'exemplars' of its own, and 'exemplars' is the budget of all",
        ),
        ("rehearsal_size", ["--systems", "Vanilla", "--orders", "sep5,sep7"], "2 mistake(s)"),
    ],
)
def test_mistakes_are_named_before_anything_runs(
    ran: list, tmp_path: Path, capsys, name: str, argv: list[str], said: str
) -> None:
    assert run_script(name, *argv, out=tmp_path) == 2
    assert said in capsys.readouterr().err
    assert ran == []
    assert list(tmp_path.iterdir()) == []


WRONG = "options={EWC: {weight: -3}, EMR: {exemplars: -1}, Vanilla: {}}"
SOME = ("--quick", "--systems", "Vanilla,EWC,EMR,UMGF,MEGA")


@pytest.mark.slow
def test_every_mistake_that_a_build_shows_is_told_before_the_first_run(
    untrained: list, tmp_path: Path, capsys
) -> None:
    vision = ("--vision-encoder", "nosuch")
    assert run_script("imre", *SOME, WRONG, *vision, "--device", "tpu", out=tmp_path) == 2
    told = capsys.readouterr().err
    assert untrained == []
    assert list(tmp_path.iterdir()) == []
    assert told.count("got 'tpu'") == 1
    assert "EWC: weight=-3.0; give 0 or more" in told
    assert "EMR: size=-1" in told
    assert "UMGF, MEGA: vision encoder 'nosuch' cannot be loaded" in told
    assert told.count("\n") == 5  # the heading and these four


@pytest.mark.slow
def test_samples_that_no_model_can_read_are_told_before_the_first_run(
    untrained: list, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = demo("re", train_per_task=12, valid_per_task=10, test_size=20)
    monkeypatch.setattr(table_plan, "read_stream", lambda *_: small.stream)
    argv = ("--quick", "--systems", "Vanilla,UMT", "encoders.max_text_length=8", "--seeds", "0,1")
    assert run_script("imre", *argv, out=tmp_path) == 2
    told = capsys.readouterr().err
    samples = {s.uid for t in small.stream.tasks for s in (*t.train, *t.valid, *t.test)}
    assert told.startswith(f"{len(samples)} mistakes in the data:")  # each once for both systems
    assert "tokens, but the model takes 8\n" in told
    assert untrained == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_every_size_is_checked_before_the_first_is_run(
    ran: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def built(settings, run, labels, *, device):
        if settings.exemplars == 0:
            raise ConfigError(["a memory of nothing"])

    monkeypatch.setattr(table_check, "built", built)
    argv = ("--systems", "EMR,MSPT", "--sizes", "2,0")
    assert run_script("rehearsal_size", *argv, out=tmp_path) == 2
    assert "EMR, MSPT: a memory of nothing" in capsys.readouterr().err
    assert ran == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_only_systems_with_a_run_to_run_are_built(
    ran: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[tuple[str, int]] = []
    monkeypatch.setattr(
        table_check,
        "built",
        lambda settings, run, labels, *, device: built.append((run.system, run.seed)),
    )
    run_script("imre", "--systems", "Vanilla,MSPT", "--seeds", "0,1", out=tmp_path)
    assert built == [("Vanilla", 0), ("MSPT", 0)]
    run_script("imre", "--systems", "Vanilla,EWC", "--seeds", "0,1", out=tmp_path)
    assert built[2:] == [("EWC", 0)]
    assert run_script("imre", "--systems", "Vanilla,MSPT,EWC", "--seeds", "0,1", out=tmp_path) == 0
    # the others are finished, in the folder of other options
    options = "options={EWC: {weight: 7}}"
    run_script("imre", "--systems", "Vanilla,MSPT,EWC", options, out=tmp_path)
    assert built[3:] == [("EWC", 0)]


@pytest.mark.slow
def test_a_finished_table_is_shown_where_its_device_is_not(
    ran: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = build_check
    there = check.device_of
    argv = ("--systems", "Vanilla", "--device", "cuda:77")
    monkeypatch.setattr(check, "device_of", lambda name: name)
    assert run_script("imre", *argv, out=tmp_path) == 0
    monkeypatch.setattr(check, "device_of", there)
    assert run_script("imre", *argv, out=tmp_path) == 0
    assert run_script("imre", *argv, "--seeds", "0,1", out=tmp_path) == 2
    assert len(ran) == 1


@pytest.mark.slow
def test_a_build_that_fails_otherwise_is_the_runs_own_failure(
    untrained: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    from mkgc_cl.strategies import catalogue

    build_system, stand_in = catalogue.build_system, table_run.RunMaker.__call__

    def offline(name: str, *rest, **options):
        if name == "EWC":
            raise OSError("no network")
        return build_system(name, *rest, **options)

    def make_run(self, run, progress) -> RunRecord:
        table_run.built(self.settings, run, MADE.labels, device="cpu")
        return stand_in(self, run, progress)

    monkeypatch.setattr(catalogue, "build_system", offline)
    monkeypatch.setattr(table_run.RunMaker, "__call__", make_run)
    assert run_script("imre", "--quick", "--systems", "EWC,Vanilla", out=tmp_path) == 1
    assert "FAILED EWC, default, seed 0: OSError: no network" in capsys.readouterr().err
    assert untrained == [("Vanilla", "default", 0)]
    (failed,) = tmp_path.glob("imre-quick/*/failed/*.json")
    assert "no network" in failed.read_text()


def test_balance_of_modalities(make_gamma) -> None:
    text = imbalance.summary(make_gamma)
    lines = text.splitlines()
    assert lines[2].split() == ["full", "0", "1.00", "1.00"]  # 2 and 1/2: balanced in the mean
    assert lines[3].split() == ["w/o", "GM", "0", "4.00", "2.00"]


@pytest.fixture
def make_gamma() -> list[SimpleNamespace]:
    return [
        SimpleNamespace(system="full", seed=0, traces={"gamma": [2.0, 0.5, float("inf")]}),
        SimpleNamespace(system="w/o GM", seed=0, traces={"gamma": [4.0, 4.0]}),
        SimpleNamespace(system="w/o AD", seed=0, traces={"gamma": [9.0]}),
    ]


@pytest.mark.slow
def test_every_run_of_a_folder_says_what_made_it(ran: list, tmp_path: Path) -> None:
    run_script("imre", "--systems", "Vanilla", out=tmp_path)
    (path,) = tmp_path.glob("imre/*/results.json")
    (run,) = json.loads(path.read_text())["records"]
    assert run["config"]["options"] == {}
    assert run["config"]["stream"]["order"] == "sep10"
    assert "data" not in run["config"]["stream"]
    assert len(run["config"]["stream_fingerprint"]) > 10


@pytest.mark.slow
def test_a_small_table_runs_for_real_and_again_for_nothing(tmp_path: Path, capsys) -> None:
    argv = ["--quick", "--systems", "Vanilla,RP-CRE", "--epochs", "1", "--exemplars", "2"]
    argv += ["stream.train_per_task=12", "stream.test_size=20"]
    argv += ["options={RP-CRE: {memory_epochs: 1}}"]
    assert run_script("imre", *argv, out=tmp_path) == 0
    first = capsys.readouterr().out
    (path,) = tmp_path.glob("imre-quick/*/results.json")
    runs = {c["system"]: c for c in json.loads(path.read_text())["records"]}
    assert list(runs) == ["RP-CRE", "Vanilla"]
    assert all(len(run["A"]) == 5 and run["seconds"] > 0 for run in runs.values())
    assert runs["RP-CRE"]["config"]["exemplars"] == 2
    assert runs["Vanilla"]["config"]["exemplars"] is None
    assert runs["Vanilla"]["provenance"]["stream"]["synthetic stream"]
    assert run_script("imre", *argv, out=tmp_path) == 0
    assert capsys.readouterr().out == first


def test_the_commands_in_the_readme_give_the_row_they_stand_in() -> None:
    cli = table_cli
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    lines = re.findall(r"^\| ([^|]+) \|.*`python experiments/(\w+)\.py (.+)` \|$", readme, re.M)
    assert [name for name, *_ in lines] == list(SYSTEMS)
    for name, script, argv in lines:
        made = importlib.import_module(f"mkgc_cl.experiments.{script}").SCRIPT
        assert cli.settings_of(made, cli.parse(made, shlex.split(argv))).rows == (name,)
