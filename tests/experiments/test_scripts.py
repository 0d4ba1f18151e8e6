"""The scripts from the command line to their files, training stood in for; one of each for real."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from mkgc_cl.data import LabelSpace, Task, TaskStream, VisualInput
from mkgc_cl.data.images import BLANK
from mkgc_cl.experiments import controls, imbalance
from mkgc_cl.experiments.pipeline import paper_rows, run
from mkgc_cl.experiments.pipeline.settings import StreamSettings
from mkgc_cl.results import RunRecord
from mkgc_cl.systems import systems_of


def runs(tmp_path: Path, name: str) -> list[dict]:
    (path,) = tmp_path.glob(f"{name}/*/results.json")
    found: list[dict] = json.loads(path.read_text())["records"]
    return found


@pytest.mark.slow
def test_table_1_has_every_row_beside_the_papers(ran: list, script, tmp_path: Path, capsys) -> None:
    assert script("imre", "--data", "D", "--seeds", "0,1") == 0
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
    assert "Compared with MSPT, paired by seed" in printed.out
    assert len(ran) == 2 * len(systems_of("re"))
    (out,) = (tmp_path / "imre").iterdir()
    files = {path.name for path in out.iterdir()}
    assert {"table-A.tex", "table-U.md", "results.json", "config.yaml", "env.json"} <= files
    command = json.loads((out / "env.json").read_text())["command"]
    assert command.startswith("python experiments/imre.py --data D")
    (made, *_) = runs(tmp_path, "imre")
    assert made["config"]["stream"]["order"] == "sep10"
    assert "data" not in made["config"]["stream"]
    assert len(made["config"]["stream_fingerprint"]) > 10


@pytest.mark.slow
def test_the_ablation_stands_beside_table_3(ran: list, script, tmp_path: Path, capsys) -> None:
    assert script("ablation", "--scenario", "imner", "--seeds", "0", "1") == 0
    lines = capsys.readouterr().out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("w/o MI"))
    names = [line[:9].strip() for line in lines[start : start + 10]]
    rows = ("w/o MI", "w/o AD", "w/o GM", "w/o MM", "full")
    assert names == [part for row in rows for part in (row, "(paper)")]
    assert lines[start + 1].split() == ["(paper)", "76.9", "71.1", "54.6", "41.9", "61.1"]
    below = " ".join(lines[start + 10 :])
    assert "is inferred" in below
    assert "w/o MI is MSPT with interaction self; w/o AD is MSPT with distillation false" in below
    assert "Compared with full, paired by seed" in below
    assert {system for system, *_ in ran} == {*rows, "fine-tuning"}


@pytest.mark.slow
def test_finished_runs_are_kept_and_others_join(ran: list, script, tmp_path: Path, capsys) -> None:
    assert script("imner", "--systems", "Vanilla,MSPT") == 0
    assert {order for _, order, _ in ran} == {"PER-ORG-LOC-MISC", "PER-LOC-ORG-MISC"}
    assert len(ran) == 4
    assert script("imner", "--systems", "Vanilla", "ExtendNER", "--seeds", "0", "1") == 0
    assert len(ran) == 4 + 2 * 3
    assert len([path for path in (tmp_path / "imner").iterdir() if path.is_dir()]) == 2
    assert "n differs" in capsys.readouterr().out


@pytest.mark.slow
def test_an_option_of_one_system_runs_that_system_again_and_shows_only_the_new(
    ran: list, script, tmp_path: Path, capsys
) -> None:
    common = ("imre", "--systems", "EWC,Vanilla,MSPT")
    script(*common)
    capsys.readouterr()
    assert script(*common, "EWC.weight=7") == 0
    assert [system for system, *_ in ran[3:]] == ["EWC"]
    printed = capsys.readouterr().out
    names = [line.split()[0] for line in printed.splitlines() if line[:3] in ("EWC", "Van", "MSP")]
    assert names == ["Vanilla", "EWC", "MSPT"]
    # a folder for each set of options, so that whoever reads one reads one configuration
    folders = list((tmp_path / "imre").iterdir())
    assert len(folders) == 2
    for folder in folders:
        found = json.loads((folder / "results.json").read_text())["records"]
        assert sorted(each["system"] for each in found) == ["EWC", "MSPT", "Vanilla"]


@pytest.mark.slow
def test_orders_together_are_pairs_enough_for_a_test(
    ran: list, script, tmp_path: Path, capsys
) -> None:
    """Three seeds in two orders: n = 6, whose smallest p of 2/64 two tests correct to 0.0625."""
    orders = "PER-ORG-LOC-MISC,PER-LOC-ORG-MISC"
    argv = ("imner", "--systems", "Vanilla,EWC,MSPT", "--orders", orders)
    assert script(*argv, "--seeds", "0,1,2") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "seeds 0 1 2 in each" in printed
    assert "Compared with MSPT, paired by order and seed:" in printed
    (path,) = (tmp_path / "imner").glob("orders-*.csv")
    script("imner", "--systems", "EMR", "--orders", "PER-ORG-LOC-MISC")
    script(*argv[:3], "--orders", "PER-LOC-ORG-MISC", "PER-ORG-LOC-MISC")
    # one order alone has none, and both are the same the other way round
    assert [*(tmp_path / "imner").glob("orders-*.csv")] == [path]
    assert script("ablation", "--scenario", "imre", "--orders", "sep5,sep7") == 0
    assert len(list((tmp_path / "ablation-imre").glob("orders-*.csv"))) == 1


@pytest.mark.slow
def test_over_orders_only_seeds_that_all_of_them_have(
    ran: list, script, tmp_path: Path, capsys
) -> None:
    orders = "PER-ORG-LOC-MISC,PER-LOC-ORG-MISC"
    script("imner", "--systems", "Vanilla", "--orders", orders[:16], "--seeds", "5")
    argv = ("--systems", "Vanilla,EWC,Joint Training", "EWC.weight=-1", "--seeds", "0,1")
    assert script("imner", *argv, "--orders", orders) == 1
    printed = capsys.readouterr()
    text = " ".join(printed.out.split())
    assert "No row, for want of a seed in every order: EWC." in text
    assert "Not compared: there is no run of MSPT in every order." in text
    # what failed is named, and the rest is shown
    assert "FAILED EWC, PER-ORG-LOC-MISC, seed 0: ValueError: weight=-1" in printed.err
    assert len(list((tmp_path / "imner").glob("*/failed/*.json"))) == 4


@pytest.mark.slow
def test_sizes_of_the_memory(ran: list, script, tmp_path: Path, capsys) -> None:
    script("imre", "--systems", "Vanilla,RP-CRE,MSPT", "--seeds", "0,1")
    (main_table,) = tmp_path.glob("imre/*/table-A.txt")
    before, done = main_table.read_text(), len(ran)
    argv = ("rehearsal_size", "--systems", "Vanilla,RP-CRE,MSPT", "--sizes", "10", "2")
    assert script(*argv, "--seeds", "0,1") == 0
    assert main_table.read_text() == before
    # what keeps none has its runs from the main table
    assert Counter(system for system, *_ in ran[done:]) == {"RP-CRE": 4, "MSPT": 4}
    printed = " ".join(capsys.readouterr().out.split())
    assert "against exemplars of every class. imre" in printed
    assert "The same runs in every column: Vanilla." in printed
    (path,) = (tmp_path / "imre").glob("rehearsal-size-sep10-*.csv")
    table = path.read_text().splitlines()
    assert [line.split(",")[:2] for line in table[1:]] == [
        ["Vanilla", "2"], ["Vanilla", "10"], ["RP-CRE", "2"], ["RP-CRE", "10"],
        ["MSPT", "2"], ["MSPT", "10"],
    ]  # fmt: skip
    # in this stand-in eight more exemplars are eight more right answers
    means = [float(line.split(",")[2]) for line in table[1:]]
    assert means[1] == means[0]
    assert means[3] - means[2] == pytest.approx(8)
    caption = printed.split("A after the last task")[-1]
    assert "exemplars of every class and of N/A" not in caption  # of one column only
    # a narrower call keeps what is there
    files = {path: path.read_bytes() for path in tmp_path.glob("imre/rehearsal-size-*.[ctm]*")}
    assert script(*argv[:2], "RP-CRE,Vanilla", *argv[3:], "--seeds", "1") == 0
    assert {path: path.read_bytes() for path in files} == files
    assert len(ran) == done + 8


@pytest.mark.slow
def test_numbers_of_tasks(ran: list, script, tmp_path: Path) -> None:
    argv = ("task_number", "--systems", "Vanilla,MSPT")
    assert script(*argv) == 0
    assert [order for _, order, _ in ran] == ["sep5"] * 2 + ["sep7"] * 2 + ["sep10"] * 2
    (path,) = (tmp_path / "imre").glob("task-number-*.csv")
    text = path.read_text()
    # other settings leave these files alone, the same write them again
    assert script(*argv, "--epochs", "1") == 0
    assert script(*argv) == 0
    assert len(list((tmp_path / "imre").glob("task-number-*.csv"))) == 2
    assert path.read_text() == text
    argv = ("task_number", "--quick", "--systems", "MSPT", "MSPT.alpha=0.1")
    assert script(*argv) == 0
    assert [order for _, order, _ in ran[-3:]] == [
        "default, 3 in one",
        "default, 2 in one",
        "default",
    ]


@pytest.mark.slow
def test_controls_are_compared_on_what_was_just_learnt(
    ran: list, script, tmp_path: Path, capsys
) -> None:
    assert script("controls", "--quick", "--systems", "UMT,MKGformer") == 0
    assert len(ran) == 8
    printed = " ".join(capsys.readouterr().out.split())
    assert "mean U over the tasks (%), micro-F1, against what is taken away. demo-re" in printed
    assert "CONTROL: blank text" in printed
    (path,) = (tmp_path / "imre-quick").glob("controls-*.csv")
    assert [line.split(",")[1] for line in path.read_text().splitlines()[1:5]] == [
        "none", "shuffled images", "blank images", "blank text"
    ]  # fmt: skip
    # of several orders a table each
    assert script("controls", "--quick", "--task", "ner", "--systems", "UMT") == 0
    captions = [p.read_text() for p in sorted((tmp_path / "imner-quick").glob("controls-*.md"))]
    assert ["order PER-LOC-ORG-MISC" in text for text in captions] == [True, False]


@pytest.mark.slow
def test_what_a_script_sets_itself_may_stand_in_a_file(ran: list, script, tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(
        "name: mine\nseeds: [0]\nexemplars: 9\nstream: {control: blank-text, task: re}\n"
    )
    argv = ("--config", str(config), "--systems", "EMR")
    assert script("rehearsal_size", *argv, "--sizes", "2") == 0
    assert script("controls", *argv) == 0
    assert len(ran) == 1 + 4


@pytest.mark.slow
def test_controls_want_images(ran: list, script, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (first, *_) = controls.read_stream(StreamSettings(), "image").tasks or (None,)
    assert first is None  # the stand-in has no sample, so none without an image
    from mkgc_cl.data.demo import demo_stream

    real = demo_stream("re", train_per_task=12, valid_per_task=10, test_size=20)
    seen, samples = controls.illustrated(real)
    assert 0 < seen <= samples
    task = real.tasks[0]
    blind = tuple(
        SimpleNamespace(uid=sample.uid, visual=VisualInput(BLANK)) for sample in task.train
    )
    labels = LabelSpace("re", ("r",), na="None")
    stream = TaskStream("blind", labels, (Task("T1", ("r",), blind, (), ()),), {})  # type: ignore[arg-type]
    monkeypatch.setattr(controls, "read_stream", lambda *_: stream)
    assert script("controls", "--systems", "UMT") == 2
    assert f"only 0 of {len(blind)} samples have an image" in capsys.readouterr().err
    assert script("controls", "--systems", "UMT", "--blank-anyway") == 0


def test_plasticity_prints_the_other_table(ran: list, script, capsys) -> None:
    assert script("plasticity", "--systems", "Vanilla,MSPT") == 0
    printed = capsys.readouterr().out
    assert "U_k, micro-F1 (%) on the task just learnt" in printed
    assert "figures/U.png" in printed


@pytest.mark.slow
def test_balance_is_told_of_every_order_when_it_is_done(
    ran: list, script, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    good = run.Runner.__call__

    def make_run(self: run.Runner, made: run.Run, progress: object) -> RunRecord:
        if made.order == "sep10":
            raise KeyboardInterrupt
        return good(self, made, progress)  # type: ignore[arg-type]

    argv = ("imbalance", "--scenario", "imre", "--seeds", "0", "--orders", "sep5")
    assert script(*argv) == 0
    assert ran == [("full", "sep5", 0), ("w/o GM", "sep5", 0)]
    # the runs are the ablation's
    assert script("ablation", *argv[1:], "--systems", "full") == 0
    assert len(ran) == 2
    monkeypatch.setattr(run.Runner, "__call__", make_run)
    capsys.readouterr()
    assert script(*argv, "sep10") == 130
    printed = capsys.readouterr()
    assert "imre, sep5\n" in printed.out
    assert "the same command goes on from here" in printed.err


def test_the_tables_hold_what_has_finished_before_an_interrupt(
    ran: list, script, monkeypatch: pytest.MonkeyPatch, capsys, tmp_path: Path
) -> None:
    good = run.Runner.__call__

    def make_run(self: run.Runner, made: run.Run, progress: object) -> RunRecord:
        if made.system == "MSPT":
            raise KeyboardInterrupt
        return good(self, made, progress)  # type: ignore[arg-type]

    monkeypatch.setattr(run.Runner, "__call__", make_run)
    assert script("imre", "--quick", "--systems", "Vanilla", "MSPT", "--seeds", "0") == 130
    assert re.search(r"^Vanilla .*\n(?!MSPT)", capsys.readouterr().out, re.MULTILINE)
    assert list(tmp_path.glob("*/*/table-*.json"))


@pytest.mark.parametrize("failing", [False, True])
def test_runs_of_another_process_are_told_and_change_the_exit_code(
    ran: list, script, monkeypatch: pytest.MonkeyPatch, capsys, failing: bool
) -> None:
    """Within its first run, the same command is given once more."""
    good, codes, told = run.Runner.__call__, [], []
    argv = ("imre", "--quick", "--systems", "Vanilla", "EWC", "--seeds", "0")
    argv += ("EWC.weight=-1",) if failing else ()

    def make_run(self: run.Runner, made: run.Run, progress: object) -> RunRecord:
        if made.system == "Vanilla":
            codes.append(script(*argv))
            told.append(capsys.readouterr().err)
        return good(self, made, progress)  # type: ignore[arg-type]

    monkeypatch.setattr(run.Runner, "__call__", make_run)
    assert script(*argv) == int(failing)
    assert codes == [1 if failing else 3]
    assert re.search(r"^IN PROGRESS ELSEWHERE Vanilla, .*: process \d+ on ", told[0], re.MULTILINE)
    assert [system for system, _, _ in ran] == ["EWC", "Vanilla"]  # each once


def test_balance_of_modalities() -> None:
    made = [
        SimpleNamespace(system="full", seed=0, traces={"gamma": [2.0, 0.5, float("inf")]}),
        SimpleNamespace(system="w/o GM", seed=0, traces={"gamma": [4.0, 4.0]}),
        SimpleNamespace(system="w/o AD", seed=0, traces={"gamma": [9.0]}),
    ]
    lines = imbalance.summary(made).splitlines()  # type: ignore[arg-type]
    assert lines[2].split() == ["full", "0", "1.00", "1.00"]  # 2 and 1/2: balanced in the mean
    assert lines[3].split() == ["w/o", "GM", "0", "4.00", "2.00"]
    assert len(lines) == 5


def test_another_corpus_has_no_row_of_the_paper_and_a_note(
    ran: list, script, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paper_rows, "other_data", lambda *_: "train samples per task 3, not 4")
    assert script("imre", "--systems", "Vanilla,MSPT") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "(paper)" not in printed
    assert "No row of the paper: the data are not those of its benchmark (train" in printed


def test_a_record_names_the_source_that_was_loaded_not_what_is_there_when_it_ends(
    ran: list, script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long grid may see its checkout move on."""
    states = iter(range(100))
    monkeypatch.setattr(run, "environment", lambda: {"git": {"commit": next(states)}})
    script("ablation", "--seeds", "0", "--systems", "w/o MM,full")
    assert [each["provenance"]["git"] for each in runs(tmp_path, "ablation-demo")] == [
        {"commit": 0}
    ] * 2


@pytest.mark.slow
def test_an_option_that_is_a_list_makes_no_other_run_of_it(
    ran: list, script, tmp_path: Path, capsys
) -> None:
    """JSON has no tuples: a finished run must know itself again."""
    argv = ("imre", "--systems", "Frozen + Gaussian", "Frozen + Gaussian.layers=[1, 2]")
    assert script(*argv) == 0
    assert "no run has finished" not in capsys.readouterr().out
    done = len(ran)
    assert script(*argv) == 0
    assert len(ran) == done


@pytest.mark.slow
def test_a_small_ablation_runs_for_real(tmp_path: Path, script, capsys) -> None:
    rows = ("w/o GM (same rates)", "full")
    argv = ["--seeds", "0", "--systems", *rows, "--epochs", "1", "--split", "valid"]
    argv += ["stream.first=2", "stream.train_per_task=12", "stream.test_size=24"]
    assert script("ablation", *argv) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for word in ("VALIDATION SAMPLES", "SYNTHETIC DATA", "1 epoch per task", "images drawn"):
        assert word in printed
    found = {each["system"]: each for each in runs(tmp_path, "ablation-demo")}
    assert found.keys() == {*rows}
    for each in found.values():
        assert len(each["A"]) == len(each["U"]) == len(each["tasks"]) == 2
        assert each["provenance"]["stream"]["synthetic stream"] is True
        assert each["provenance"]["reads_images"] is True
        assert each["peak_memory_mb"] > 0
        assert set(each["counts"]["streams"]) == {"valid"}
    (out,) = (tmp_path / "ablation-demo").iterdir()
    figures = {path.stem for path in (out / "figures").iterdir()}
    assert figures == {
        "A",
        "U",
        "gamma",
        "matrix-full",
        "matrix-w-o-GM-same-rates",
    }
    # the same command again trains nothing
    before = (out / "results.json").read_bytes()
    assert script("ablation", *argv) == 0
    assert (out / "results.json").read_bytes() == before


@pytest.mark.slow
def test_an_image_that_is_broken_in_the_last_task_is_told_before_the_first(
    download: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script, capsys
) -> None:
    images = download / "MNER/data/twitter2017_images"
    images.mkdir()
    (images / "train_3.jpg").write_bytes(b"\xff\xd8\xff")  # of a MISC sample, which come last
    monkeypatch.setattr(run.Runner, "__call__", lambda *_: pytest.fail("a run was run"))
    argv = ["--scenario", "imner", "--data", str(download), "--text-encoder", "tiny"]
    argv += ["--vision-encoder", "tiny", "--systems", "full", "fine-tuning", "--seeds", "0"]
    assert script("ablation", *argv) == 2
    assert f"{images}/train_3.jpg: expected an image" in capsys.readouterr().err
    assert not list(tmp_path.glob("ablation*"))
